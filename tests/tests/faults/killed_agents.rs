//! kill -9 of agents: their ranks end with them.

use firn_tests::{
    chance::Chance,
    cluster::Cluster,
    jobs,
    submission::{Submission, measured},
};
use tempfile::TempDir;

use super::at_most_an_epoch_was_lost;

#[tokio::test]
async fn an_agent_is_killed_the_others_go_on_and_it_is_taken_in_again_when_it_is_back() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "agent-killed";
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::long_fault_job(name, (1, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;
    let worker = job.worker_of(&mut cluster, 0).await?;
    let ranks = job.ranks_on(&cluster, worker);
    let killed = std::time::SystemTime::now();
    cluster.workers()[worker].kill()?;
    let after = job.goes_on_after(&cluster, before.generation).await?;
    measured(name, killed, &after);
    assert_eq!(after.ranks.iter().filter(|rank| rank.state == "Joined").count(), 1);
    let left: Vec<_> = job.ranks().into_iter().filter(|pid| ranks.contains(pid)).collect();
    assert_eq!(left, [], "a rank never outlives its agent");

    cluster.restart_worker(worker)?;
    let grown = |status: &firn_proto::v1alpha1::JobStatus| {
        status.generation > after.generation && status.ranks.iter().filter(|rank| rank.state == "Joined").count() == 2
    };
    job.until(&cluster, grown).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0, "the survivor had them all");
    assert_eq!(ended.status.losses.len(), 1);
    Ok(())
}

#[tokio::test]
async fn all_agents_are_killed_and_the_job_goes_on_from_its_newest_checkpoint_when_they_are_back() -> anyhow::Result<()>
{
    let folder = TempDir::new()?;
    let name = "all-agents-killed";
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::fault_job(name, 12, (2, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(5, 24)).await?;
    let killed = std::time::SystemTime::now();
    for worker in cluster.workers() {
        worker.kill()?;
    }
    for worker in 0..2 {
        cluster.restart_worker(worker)?;
    }
    let after = job.goes_on_after(&cluster, before.generation).await?;
    measured(name, killed, &after);
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    at_most_an_epoch_was_lost(name, &ended);
    Ok(())
}

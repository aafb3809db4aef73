//! Workers come and go: a gang grows to its most, and waits warm below its fewest.

use firn_proto::v1alpha1 as wire;
use firn_tests::{
    cluster::Cluster,
    jobs,
    submission::{Submission, step},
};
use tempfile::TempDir;

use super::waits_for_workers;

/// Ranks that have joined.
fn joined(status: &wire::JobStatus) -> usize {
    status.ranks.iter().filter(|rank| rank.state == "Joined").count()
}

#[tokio::test]
async fn a_gang_grows_to_its_most_workers_at_a_step_boundary_in_the_same_processes() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 1)?;
    let job = Submission::new(&cluster, &jobs::long_fault_job("grows", (1, 3))?)?;
    job.reaches_step(&cluster, 2).await?;
    let first = job.rank(&mut cluster, 0).await?;
    for ranks in [2, 3] {
        cluster.add_worker()?;
        job.until(&cluster, |status| {
            joined(status) == ranks && status.summary == "Running"
        })
        .await?;
    }
    cluster.add_worker()?;
    assert!(job.ranks().contains(&first), "it works in the same process");
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(
        joined(&ended.status).max(ended.status.ranks.len()),
        3,
        "three are the most"
    );
    assert_eq!((ended.status.losses.len(), ended.receipt.steps_taken_back()), (0, 0));
    Ok(())
}

#[tokio::test]
async fn below_its_fewest_workers_a_job_waits_warm_and_says_so_and_goes_on_when_a_worker_comes() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job("waits-warm", 12, (2, 2))?)?;
    job.reaches_step(&cluster, 6).await?;
    let lost = job.worker_of(&mut cluster, 1).await?;
    let survivor = job.rank(&mut cluster, 0).await?;
    cluster.workers()[lost].kill()?;
    let waiting = job.until(&cluster, waits_for_workers).await?;
    let running = waiting
        .conditions
        .iter()
        .find(|condition| condition.r#type == "Running");
    let message = running.map(|condition| condition.message.as_str()).unwrap_or_default();
    assert!(message.contains("the ranks that are left stay warm"), "{message}");
    assert_eq!(job.ranks(), [survivor], "it is kept");

    cluster.add_worker()?;
    job.until(&cluster, |status| step(status) > step(&waiting)).await?;
    assert!(job.ranks().contains(&survivor), "it goes on in the same process");
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    Ok(())
}

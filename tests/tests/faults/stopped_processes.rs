//! Processes that stand still (SIGSTOP) and come back (SIGCONT): what they were away from has gone on without them.

use firn_proto::v1alpha1 as wire;
use firn_tests::{
    chance::Chance,
    cluster::{BETWEEN_LOOKS, Cluster, Serving},
    jobs,
    submission::{self, Submission, has_lost, measured},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Why the newest rank or worker was lost.
fn newest_loss(status: &wire::JobStatus) -> String {
    let failure = status.losses.last().and_then(|loss| loss.failure.clone());
    failure.unwrap_or_default().message
}

/// Stops a rank for longer than its lease, and lets it go on when the gang has.
async fn stop_a_rank(name: &str, rank: u32) -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start_with(folder.path(), 2, Serving::with_short_times())?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (1, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;
    let worker = job.worker_of(&mut cluster, rank).await?;
    let victim = job.rank(&mut cluster, rank).await?;
    let stopped = submission::send(victim, Signal::SIGSTOP)?;
    let after = job.goes_on_after(&cluster, before.generation).await?;
    measured(name, stopped, &after);
    let reason = newest_loss(&after);
    assert!(reason.contains(&format!("rank {rank} on ")), "{reason}");
    // Its agent was told to kill it, and may have done so.
    let _ = submission::send(victim, Signal::SIGCONT);

    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert!(
        !cluster.ranks_on(worker).contains(&victim),
        "it has ended itself, or was killed"
    );
    assert_eq!(ended.receipt.steps_taken_back(), 0, "it could change nothing");
    Ok(())
}

#[tokio::test]
async fn a_rank_that_was_stopped_beyond_its_lease_can_change_nothing_and_ends() -> anyhow::Result<()> {
    stop_a_rank("rank-1-stopped", 1).await
}

#[tokio::test]
async fn rank_0_that_was_stopped_beyond_its_lease_can_commit_nothing_and_ends() -> anyhow::Result<()> {
    stop_a_rank("rank-0-stopped", 0).await
}

#[tokio::test]
async fn an_agent_and_its_rank_that_were_stopped_beyond_their_leases_come_back_to_a_gang_that_has_gone_on()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "agent-and-rank-stopped";
    let mut cluster = Cluster::start_with(folder.path(), 2, Serving::with_short_times())?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (1, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;
    let worker = job.worker_of(&mut cluster, 0).await?;
    let (agent, rank) = (cluster.workers()[worker].pid(), job.rank(&mut cluster, 0).await?);
    submission::send(agent, Signal::SIGSTOP)?;
    let stopped = submission::send(rank, Signal::SIGSTOP)?;
    let after = job.goes_on_after(&cluster, before.generation).await?;
    measured(name, stopped, &after);
    // Nobody kills it: it hears from the coordinator that the gang has gone on, and ends itself.
    submission::send(rank, Signal::SIGCONT)?;
    while cluster.ranks_on(worker).contains(&rank) {
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    submission::send(agent, Signal::SIGCONT)?;

    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert!(
        !cluster.ranks_on(worker).contains(&rank),
        "it has ended itself, or was killed"
    );
    assert_eq!(ended.receipt.steps_taken_back(), 0, "it could change nothing");
    Ok(())
}

#[tokio::test]
async fn an_agent_that_was_stopped_alone_loses_its_worker_and_its_rank_and_comes_back() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "agent-stopped";
    let mut cluster = Cluster::start_with(folder.path(), 2, Serving::with_short_times())?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 400, (1, 2))?)?;
    let before = job.reaches_step(&cluster, 2).await?;
    let worker = job.worker_of(&mut cluster, 1).await?;
    let (agent, rank) = (cluster.workers()[worker].pid(), job.rank(&mut cluster, 1).await?);
    let stopped = submission::send(agent, Signal::SIGSTOP)?;
    let after = job
        .until(&cluster, |status| has_lost(status, before.generation))
        .await?;
    measured(name, stopped, &after);
    assert!(
        newest_loss(&after).contains("sent no heartbeat"),
        "{}",
        newest_loss(&after)
    );
    // Its rank hears from the coordinator that it is no longer wanted, and ends without its agent.
    job.goes_on_after(&cluster, before.generation).await?;
    submission::send(agent, Signal::SIGCONT)?;
    let replaced = |status: &wire::JobStatus| {
        status.summary == "Running" && status.ranks.iter().filter(|rank| rank.state == "Joined").count() == 2
    };
    job.until(&cluster, replaced).await?;
    assert!(!job.ranks().contains(&rank), "the rank is another process");
    let cancelled = cluster.firn(&["cancel", job.id()]).output()?;
    anyhow::ensure!(cancelled.status.success());
    job.ends(&cluster).await?;
    job.proof(&cluster)?;
    Ok(())
}

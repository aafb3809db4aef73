//! Workers that a queue has charged to one job, as pods are: they serve no other, are replaced under their names, and end when it is over.

use std::fs;

use firn_proto::v1alpha1 as wire;
use firn_tests::{
    chance::Chance,
    cluster::{Cluster, worker_name},
    jobs,
    submission::Submission,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Told to stop before its job was over.
const INTERRUPTED: Option<i32> = Some(75);

fn joined(status: &wire::JobStatus) -> usize {
    status.ranks.iter().filter(|rank| rank.state == "Joined").count()
}

/// A cluster with agents of these jobs, in their order.
fn cluster_of(folder: &TempDir, jobs: &[&str]) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::start(folder.path(), 0)?;
    let address = cluster.address().to_owned();
    for job in jobs {
        cluster.add_worker_through(&address, None, &["--for-job", job])?;
    }
    Ok(cluster)
}

/// An agent has started ranks of its job, and of no other.
fn served_only(folder: &TempDir, worker: usize, job: &str) -> anyhow::Result<()> {
    let log = fs::read_to_string(folder.path().join(format!("{}.log", worker_name(worker))))?;
    let starts: Vec<&str> = log.lines().filter(|line| line.contains("starting a rank")).collect();
    anyhow::ensure!(!starts.is_empty(), "worker {worker} served nobody:\n{log}");
    let foreign = starts
        .iter()
        .find(|line| !line.contains(&format!("job=\"jobs/{job}\"")));
    anyhow::ensure!(foreign.is_none(), "worker {worker} is there for {job}: {foreign:?}");
    Ok(())
}

#[tokio::test]
async fn workers_of_two_jobs_serve_one_each_and_one_that_is_told_to_stop_is_replaced_under_its_name()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (two, one) = ("dedicated-two", "dedicated-one");
    let mut cluster = cluster_of(&folder, &[two, two, one])?;
    let job = Submission::new(&cluster, &jobs::long_fault_job(two, (1, 2))?)?;
    let other = Submission::new(&cluster, &jobs::strict_fault_job(one, 12, (1, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(two).between(1, 12)).await?;
    anyhow::ensure!(joined(&before) == 2, "expected a gang of two, found {before:#?}");

    let stopped = job.worker_of(&mut cluster, 1).await?;
    cluster.workers()[stopped].signal(Signal::SIGTERM)?;
    assert_eq!(cluster.workers()[stopped].wait()?, INTERRUPTED);
    cluster.restart_worker_with(stopped, &["--for-job", two])?;
    let is_whole = |status: &wire::JobStatus| {
        status.generation > before.generation && status.summary == "Running" && joined(status) == 2
    };
    job.until(&cluster, is_whole).await?;

    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    assert_eq!(ended.status.losses, [], "leaving on purpose is no loss");
    other.ends_as_if_nothing_had_happened(&cluster).await?;
    for (worker, job) in [two, two, one].into_iter().enumerate() {
        assert_eq!(cluster.workers()[worker].wait()?, Some(0), "its job is over");
        served_only(&folder, worker, job)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_of_a_job_that_is_killed_is_replaced_under_its_name_before_its_lease_ends_and_counts_once()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "dedicated-killed";
    let mut cluster = cluster_of(&folder, &[name, name])?;
    let job = Submission::new(&cluster, &jobs::long_fault_job(name, (1, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 12)).await?;
    let killed = job.worker_of(&mut cluster, 1).await?;
    cluster.workers()[killed].kill()?;
    // A pod in its place has nothing of the folder.
    fs::remove_dir_all(folder.path().join(worker_name(killed)))?;
    cluster.restart_worker_with(killed, &["--for-job", name])?;
    let is_whole = |status: &wire::JobStatus| {
        status.generation > before.generation && status.summary == "Running" && joined(status) == 2
    };
    job.until(&cluster, is_whole).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.status.losses.len(), 1, "a loss counts once");
    for worker in cluster.workers() {
        assert_eq!(worker.wait()?, Some(0), "its job is over");
    }
    Ok(())
}

#[tokio::test]
async fn workers_of_a_job_that_is_cancelled_end_by_themselves_also_if_the_coordinator_was_killed() -> anyhow::Result<()>
{
    let folder = TempDir::new()?;
    let name = "dedicated-cancelled";
    let mut cluster = cluster_of(&folder, &[name])?;
    let job = Submission::new(&cluster, &jobs::long_fault_job(name, (1, 1))?)?;
    job.reaches_step(&cluster, 1).await?;
    let cancelled = cluster.firn(&["cancel", name]).output()?;
    anyhow::ensure!(
        cancelled.status.success(),
        "{}",
        String::from_utf8_lossy(&cancelled.stderr)
    );
    cluster.kill_coordinator()?;
    cluster.restart_coordinator()?;
    assert_eq!(cluster.workers()[0].wait()?, Some(0), "its job is over");
    Ok(())
}

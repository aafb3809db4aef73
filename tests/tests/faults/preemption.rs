//! Workers that are told to leave: by SIGTERM, as a cloud does before it takes a machine back, and by `firn drain`.

use std::time::{Duration, SystemTime};

use firn_proto::v1alpha1 as wire;
use firn_tests::{
    chance::Chance,
    cluster::{Cluster, worker_name},
    jobs,
    submission::{Ended, Submission, measured},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::waits_for_workers;

/// Nothing was lost, and nothing counts as a failure.
fn nothing_was_lost(ended: &Ended) {
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    assert_eq!(ended.status.losses, [], "leaving on purpose is no loss");
}

/// Tells the worker of rank 0 to end, with a grace; the other one takes over.
async fn preempt_one_of_two(seconds: u64) -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = format!("preempted-{seconds}s");
    let mut cluster = Cluster::start(folder.path(), 0)?;
    let (address, grace) = (cluster.address().to_owned(), format!("{seconds}s"));
    for _ in 0..2 {
        cluster.add_worker_through(&address, None, &["--grace", &grace])?;
    }
    let job = Submission::new(&cluster, &jobs::strict_fault_job(&name, 12, (1, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(&name).between(1, 24)).await?;
    let worker = job.worker_of(&mut cluster, 0).await?;
    let told = SystemTime::now();
    cluster.workers()[worker].signal(Signal::SIGTERM)?;
    let status = cluster.workers()[worker].wait()?;
    let took = told.elapsed()?;
    println!(
        "measured: {name}: the worker has left after {:.2} s",
        took.as_secs_f64()
    );
    assert_eq!(status, Some(0), "no rank had to be killed");
    assert!(took < Duration::from_secs(seconds) + Duration::from_secs(5));
    let after = job.goes_on_after(&cluster, before.generation).await?;
    measured(&name, told, &after);
    nothing_was_lost(&job.ends_as_if_nothing_had_happened(&cluster).await?);
    Ok(())
}

#[tokio::test]
async fn a_worker_with_1_s_of_grace_hands_over_without_losing_a_step() -> anyhow::Result<()> {
    preempt_one_of_two(1).await
}

#[tokio::test]
async fn a_worker_with_5_s_of_grace_hands_over_without_losing_a_step() -> anyhow::Result<()> {
    preempt_one_of_two(5).await
}

#[tokio::test]
async fn a_worker_with_30_s_of_grace_hands_over_without_losing_a_step_and_does_not_wait_for_its_end()
-> anyhow::Result<()> {
    preempt_one_of_two(30).await
}

#[tokio::test]
async fn the_only_worker_stores_a_checkpoint_before_it_leaves_and_another_goes_on_from_it() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "preempted-alone";
    let mut cluster = Cluster::start(folder.path(), 1)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (1, 1))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;
    let told = SystemTime::now();
    cluster.workers()[0].signal(Signal::SIGTERM)?;
    assert_eq!(cluster.workers()[0].wait()?, Some(0), "no rank had to be killed");
    cluster.add_worker()?;
    let after = job.goes_on_after(&cluster, before.generation).await?;
    measured(name, told, &after);
    nothing_was_lost(&job.ends_as_if_nothing_had_happened(&cluster).await?);
    Ok(())
}

#[tokio::test]
async fn the_last_worker_of_a_job_that_waits_for_others_stores_its_steps_before_it_leaves() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "preempted-while-it-waits";
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (2, 2))?)?;
    job.reaches_step(&cluster, Chance::new(name).between(5, 24)).await?;
    let lost = job.worker_of(&mut cluster, 1).await?;
    cluster.workers()[lost].kill()?;
    let waiting = job.until(&cluster, waits_for_workers).await?;
    let left = 1 - lost;
    let told = SystemTime::now();
    cluster.workers()[left].signal(Signal::SIGTERM)?;
    assert_eq!(cluster.workers()[left].wait()?, Some(0), "no rank had to be killed");
    println!(
        "measured: {name}: the worker has left after {:.2} s",
        told.elapsed()?.as_secs_f64()
    );
    for worker in [lost, left] {
        cluster.restart_worker(worker)?;
    }
    job.goes_on_after(&cluster, waiting.generation).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    assert_eq!(ended.status.losses.len(), 1, "only the worker that was killed");
    Ok(())
}

/// `firn drain`, with what it is given.
fn drain(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<()> {
    let output = cluster.firn(&[&["drain"], arguments].concat()).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn a_drained_worker_hands_over_gets_nothing_new_and_is_taken_in_again() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "drained";
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::long_fault_job(name, (1, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;
    let worker = job.worker_of(&mut cluster, 0).await?;
    let told = SystemTime::now();
    let drained = worker_name(worker);
    drain(&cluster, &[&drained, "--wait"])?;
    println!(
        "measured: {name}: the worker is empty after {:.2} s",
        told.elapsed()?.as_secs_f64()
    );
    assert_eq!(cluster.ranks_on(worker), []);
    let after = job.goes_on_after(&cluster, before.generation).await?;
    assert_eq!(after.ranks.len(), 1);
    drain(&cluster, &[&drained, "--undo"])?;
    let back = |status: &wire::JobStatus| {
        status.ranks.iter().filter(|rank| rank.state == "Joined").count() == 2 && status.summary == "Running"
    };
    job.until(&cluster, back).await?;
    nothing_was_lost(&job.ends_as_if_nothing_had_happened(&cluster).await?);
    Ok(())
}

//! kill -9 of the coordinator: at random, and at each of its fail points. Ranks train on, and nothing acknowledged is lost.

use std::time::SystemTime;

use firn_tests::{
    chance::Chance,
    cluster::{Cluster, Serving},
    jobs,
    submission::{self, Submission, step},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::at_most_an_epoch_was_lost;

#[tokio::test]
async fn the_coordinator_is_killed_at_random_steps_and_training_goes_on_meanwhile() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "coordinator-killed";
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::fault_job(name, 12, (2, 2))?)?;
    let mut chance = Chance::new(name);
    let mut at = 0;
    for _ in 0..3 {
        at = chance.between(at + 1, at + 10);
        let before = job.reaches_step(&cluster, at).await?;
        cluster.kill_coordinator()?;
        let began = SystemTime::now();
        cluster.restart_coordinator()?;
        let after = job.status(&cluster).await?;
        println!(
            "measured: {name}: serving again after {:.2} s",
            began.elapsed()?.as_secs_f64()
        );
        assert!(step(&after) >= step(&before), "what was acknowledged is there");
        at = step(&after);
    }
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.status.generation, 1, "{:?}", ended.status.losses);
    assert_eq!((ended.status.losses.len(), ended.receipt.steps_taken_back()), (0, 0));
    Ok(())
}

#[tokio::test]
async fn a_waiting_job_survives_the_coordinator_and_runs_when_a_worker_comes() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 0)?;
    let job = Submission::new(&cluster, &jobs::fault_job("waits", 1, (1, 1))?)?;
    let waiting = cluster
        .watch_until(&job.name, |status| status.summary == "Queued")
        .await?;

    cluster.kill_coordinator()?;
    cluster.restart_coordinator()?;
    let after = cluster
        .watch_until(&job.name, |status| status.summary == "Queued")
        .await?;
    assert_eq!(waiting.spec, after.spec);
    assert_eq!(waiting.metadata, after.metadata);

    cluster.add_worker()?;
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    Ok(())
}

#[tokio::test]
async fn everything_is_killed_and_the_job_goes_on_from_its_newest_checkpoint() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "everything-killed";
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (2, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(5, 24)).await?;
    cluster.kill_coordinator()?;
    for victim in job.ranks() {
        submission::send(victim, Signal::SIGKILL)?;
    }
    for worker in cluster.workers() {
        worker.kill()?;
    }
    cluster.restart_coordinator()?;
    for worker in 0..2 {
        cluster.restart_worker(worker)?;
    }
    job.goes_on_after(&cluster, before.generation).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    at_most_an_epoch_was_lost(name, &ended);
    Ok(())
}

#[tokio::test]
async fn a_rank_is_killed_while_the_coordinator_is_away_and_is_replaced_when_it_is_back() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let name = "rank-killed-meanwhile";
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job(name, 12, (1, 2))?)?;
    let before = job.reaches_step(&cluster, Chance::new(name).between(1, 24)).await?;
    let victim = job.rank(&mut cluster, 0).await?;
    cluster.kill_coordinator()?;
    submission::send(victim, Signal::SIGKILL)?;
    cluster.restart_coordinator()?;
    job.goes_on_after(&cluster, before.generation).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    println!(
        "measured: {name}: {} steps taken back",
        ended.receipt.steps_taken_back()
    );
    assert_eq!(ended.receipt.steps_taken_back(), 0);
    Ok(())
}

/// Places at which a coordinator kills itself, with the pass at which it does. Some lie in its own start, some among the steps of a job.
const FAIL_POINTS: [&str; 9] = [
    "journal-before-write:30",
    "journal-before-sync:2",
    "journal-before-sync:41",
    "journal-after-sync:3",
    "journal-after-sync:24",
    "commit-before-effects:6",
    "commit-before-reply:15",
    "commit-after-reply:8",
    "upload-before-record:1",
];

#[tokio::test]
async fn the_coordinator_is_killed_at_each_of_its_fail_points_during_one_job() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let serving = Serving::default;
    let mut cluster = Cluster::start_with(folder.path(), 2, serving())?;
    let job = Submission::new(&cluster, &jobs::long_fault_job("fail-points", (2, 2))?)?;
    job.reaches_step(&cluster, 2).await?;
    cluster.kill_coordinator()?;
    for point in FAIL_POINTS {
        // It may come to the point before it is ready.
        if cluster
            .restart_coordinator_with(serving().with_variable("FIRN_FAIL_POINT", point))
            .is_ok()
        {
            assert_eq!(cluster.coordinator().wait()?, None, "{point}: a signal has ended it");
        }
    }
    cluster.restart_coordinator_with(serving())?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.status.generation, 1, "{:?}", ended.status.losses);
    assert_eq!((ended.status.losses.len(), ended.receipt.steps_taken_back()), (0, 0));
    Ok(())
}

#[tokio::test]
async fn a_second_coordinator_on_the_same_folder_does_not_start_and_disturbs_nobody() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let cluster = Cluster::start(folder.path(), 1)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job("second-coordinator", 12, (1, 1))?)?;
    job.reaches_step(&cluster, 2).await?;
    let mut second = cluster.firn(&["serve", "--listen", "127.0.0.1:0"]);
    let second = second.arg("--data-dir").arg(cluster.data_folder()).output()?;
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("is held by another coordinator"), "{said}");
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.status.generation, 1);
    Ok(())
}

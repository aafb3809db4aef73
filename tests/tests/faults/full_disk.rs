//! Disks that are full, for a while: small file systems in memory here.

use firn_tests::{
    cluster::{Cluster, Serving},
    disk::SmallDisk,
    jobs,
    submission::Submission,
};
use tempfile::TempDir;

const SIZE: u64 = 24 << 20;

#[tokio::test]
async fn the_coordinators_disk_is_full_new_jobs_are_refused_and_the_running_one_goes_on_when_there_is_room()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), SIZE)? else {
        return Ok(());
    };
    let serving = Serving::default().with_data(disk.folder());
    let mut cluster = Cluster::start_with(folder.path(), 2, serving)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job("full-disk", 12, (2, 2))?)?;
    job.reaches_step(&cluster, 4).await?;
    disk.fill(0)?;
    let refused = Submission::new(&cluster, &jobs::fault_job("one-too-many", 1, (1, 1))?);
    let refused = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(refused.contains("nearly full"), "{refused}");
    let shown = cluster.firn(&["get", job.id()]).output()?;
    assert!(shown.status.success(), "questions are answered");
    assert!(!cluster.coordinator().has_ended()?);
    disk.free()?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(
        (ended.status.generation, ended.status.losses.len()),
        (1, 0),
        "the ranks waited"
    );
    Ok(())
}

#[tokio::test]
async fn a_workers_disk_is_full_training_goes_on_and_another_worker_leaves_the_artifacts() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("worker-0"), SIZE)? else {
        return Ok(());
    };
    let mut cluster = Cluster::start(folder.path(), 1)?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job("full-worker", 12, (1, 1))?)?;
    job.reaches_step(&cluster, 2).await?;
    disk.fill(0)?;
    cluster.add_worker()?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(
        ended.receipt.steps_taken_back(),
        0,
        "the checkpoints lie at the coordinator"
    );
    for loss in &ended.status.losses {
        let message = loss.failure.clone().unwrap_or_default().message;
        assert!(message.contains("No space left on device"), "{message}");
    }
    let last = ended.status.ranks.iter().map(|rank| rank.worker.as_str());
    assert_eq!(
        last.collect::<Vec<_>>(),
        ["worker-1"],
        "a worker that failed three times is set aside"
    );
    Ok(())
}

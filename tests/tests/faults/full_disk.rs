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
    let serving = Serving::with_short_times().with_data(disk.folder());
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
async fn a_workers_disk_is_full_and_training_goes_on_without_its_logs() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("worker-0"), SIZE)? else {
        return Ok(());
    };
    let cluster = Cluster::start_with(folder.path(), 1, Serving::with_short_times())?;
    let job = Submission::new(&cluster, &jobs::strict_fault_job("full-worker", 12, (1, 1))?)?;
    job.reaches_step(&cluster, 2).await?;
    disk.fill(0)?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!((ended.status.generation, ended.status.losses.len()), (1, 0));
    Ok(())
}

//! What is drawn for an image is drawn alike by whoever takes its step again.

use firn_tests::{
    cluster::Cluster,
    jobs,
    submission::{self, Submission},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

#[tokio::test]
async fn augmented_images_are_the_same_to_the_ranks_that_are_left_when_one_is_killed() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::augmented_fault_job("augmented-killed", 5, (1, 2))?)?;
    let before = job.reaches_step(&cluster, 6).await?;
    let victim = job.rank(&mut cluster, 0).await?;
    submission::send(victim, Signal::SIGKILL)?;
    job.goes_on_after(&cluster, before.generation).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.outcome.steps.len(), 20);
    assert_eq!(ended.receipt.steps_taken_back(), 0, "the survivor had them all");
    Ok(())
}

#[tokio::test]
async fn augmented_images_are_the_same_to_those_that_go_on_from_a_checkpoint() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::augmented_fault_job("augmented-rewound", 5, (2, 2))?)?;
    let before = job.reaches_step(&cluster, 9).await?;
    for victim in job.ranks() {
        submission::send(victim, Signal::SIGKILL)?;
    }
    job.goes_on_after(&cluster, before.generation).await?;
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    Ok(())
}

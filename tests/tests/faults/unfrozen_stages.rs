//! What trains in which epoch is the same for whoever comes later.

use firn_tests::{
    cluster::Cluster,
    jobs,
    submission::{self, Submission},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

#[tokio::test]
async fn a_rank_that_is_killed_after_stages_were_unfrozen_is_replaced_by_one_that_has_them_unfrozen()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::unfreezing_fault_job("unfrozen-killed", 6, (1, 2))?)?;
    // In the second epoch, and in the fourth.
    for at in [6, 14] {
        let before = job.reaches_step(&cluster, at).await?;
        let victim = job.rank(&mut cluster, 0).await?;
        submission::send(victim, Signal::SIGKILL)?;
        job.goes_on_after(&cluster, before.generation).await?;
    }
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.outcome.steps.len(), 24);
    assert_eq!(ended.receipt.steps_taken_back(), 0, "the survivor had them all");
    Ok(())
}

#[tokio::test]
async fn whoever_goes_on_from_a_checkpoint_unfreezes_what_was_unfrozen_then() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::unfreezing_fault_job("unfrozen-rewound", 6, (2, 2))?)?;
    // The checkpoints before are of the epoch in which the first stage trains, and of the one in which the second does.
    for at in [9, 18] {
        let before = job.reaches_step(&cluster, at).await?;
        for victim in job.ranks() {
            submission::send(victim, Signal::SIGKILL)?;
        }
        job.goes_on_after(&cluster, before.generation).await?;
    }
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    Ok(())
}

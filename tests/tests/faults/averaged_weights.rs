//! The average of the trained weights is part of what survives, and draws with replacement are the same for whoever comes later.

use firn_tests::{
    cluster::Cluster,
    jobs,
    submission::{self, Submission},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

#[tokio::test]
async fn an_average_of_drawn_samples_goes_on_where_a_rank_was_killed_and_where_all_were() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::averaged_fault_job("averaged", 5, (1, 2))?)?;
    // The survivor hands its average to a recruit.
    let before = job.reaches_step(&cluster, 6).await?;
    let victim = job.rank(&mut cluster, 0).await?;
    submission::send(victim, Signal::SIGKILL)?;
    job.goes_on_after(&cluster, before.generation).await?;
    // Nobody survives: that of the newest checkpoint counts.
    let before = job.reaches_step(&cluster, 14).await?;
    for victim in job.ranks() {
        submission::send(victim, Signal::SIGKILL)?;
    }
    job.goes_on_after(&cluster, before.generation).await?;
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    Ok(())
}

//! Whatever a job is asked for, it comes to the same where ranks are killed: a row of [`firn_tests::options`] each.
//!
//! A gang of three loses rank 0 and goes on as two until a recruit is ready. Later all ranks are killed at once, and what comes after them goes on
//! from the newest checkpoint. The outcome is that of an undisturbed run on one rank: in strict mode, which all rows but one are in, to the last bit.

use firn_tests::{
    cluster::Cluster,
    options,
    submission::{self, Submission},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Kills rank 0 of three, and later all ranks.
async fn survives(row: &str, epochs: u32) -> anyhow::Result<()> {
    let spec = options::job(row, epochs, (1, 3))?;
    if !options::is_possible(&spec) {
        return Ok(());
    }
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 3)?;
    let job = Submission::new(&cluster, &spec)?;
    // In the second epoch or later: what begins in it has begun.
    let before = job.reaches_step(&cluster, 6).await?;
    let victim = job.rank(&mut cluster, 0).await?;
    submission::send(victim, Signal::SIGKILL)?;
    let after = job.goes_on_after(&cluster, before.generation).await?;
    // In the fourth epoch or later.
    let next = 14.max(submission::step(&after) + 4);
    let before = job.reaches_step(&cluster, next).await?;
    for victim in job.ranks() {
        submission::send(victim, Signal::SIGKILL)?;
    }
    job.goes_on_after(&cluster, before.generation).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    super::at_most_an_epoch_was_lost(row, &ended);
    Ok(())
}

/// A test for each row: its name, and how many epochs leave time for both faults.
macro_rules! rows {
    ($($(#[$mark:meta])* fn $row:ident() in $epochs:literal epochs;)*) => {$(
        $(#[$mark])*
        #[tokio::test]
        async fn $row() -> anyhow::Result<()> {
            survives(stringify!($row), $epochs).await
        }
    )*};
}

rows! {
    fn augmentation() in 8 epochs;
    fn averaging() in 8 epochs;
    fn adapters() in 16 epochs;
    fn shared_statistics() in 8 epochs;
    fn statistics_of_slices() in 8 epochs;
    fn labels_of_pairs() in 40 epochs;
    fn tags() in 16 epochs;
    fn bfloat16_and_unfreezing() in 8 epochs;
    #[ignore = "one option by itself: make faults"]
    fn unfreezing() in 8 epochs;
    #[ignore = "one option by itself: make faults"]
    fn dropout() in 16 epochs;
    #[ignore = "one option by itself: make faults"]
    fn multi_label() in 40 epochs;
    #[ignore = "one option by itself: make faults"]
    fn mlp() in 40 epochs;
    #[ignore = "one option by itself: make faults"]
    fn cosine() in 40 epochs;
    fn ordinal() in 40 epochs;
    #[ignore = "one option by itself: make faults"]
    fn attention() in 40 epochs;
    #[ignore = "one option by itself: make faults"]
    fn pairs() in 40 epochs;
    #[ignore = "one option by itself: make faults"]
    fn bfloat16() in 40 epochs;
    #[ignore = "one option by itself: make faults"]
    fn focal() in 40 epochs;
    #[ignore = "one option by itself: make faults"]
    fn sigmoid_focal() in 40 epochs;
    #[ignore = "one option by itself: make faults"]
    fn plateau() in 40 epochs;
}

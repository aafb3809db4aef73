//! What trains inside a network goes on as if nothing had happened: adapters, dropout, and BatchNorm whose statistics the ranks share.

use firn_tests::{
    cluster::Cluster,
    jobs,
    submission::{self, Ended, Submission},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Kills a rank of two after so many steps; the other goes on, and a replacement comes.
async fn lose_a_rank(spec: &Value, at: u64) -> anyhow::Result<Ended> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, spec)?;
    let before = job.reaches_step(&cluster, at).await?;
    let victim = job.rank(&mut cluster, 1).await?;
    submission::send(victim, Signal::SIGKILL)?;
    job.goes_on_after(&cluster, before.generation).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.receipt.steps_taken_back(), 0, "the survivor had them all");
    Ok(ended)
}

#[tokio::test]
async fn adapters_and_dropout_go_on_bit_by_bit_when_a_rank_is_killed() -> anyhow::Result<()> {
    let ended = lose_a_rank(&jobs::adapters_fault_job("adapters-killed", 10, (1, 2))?, 8).await?;
    assert_eq!(ended.outcome.steps.len(), 30);
    Ok(())
}

#[tokio::test]
async fn adapters_go_on_from_their_checkpoint_when_all_ranks_are_killed() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::adapters_fault_job("adapters-rewound", 10, (2, 2))?)?;
    let before = job.reaches_step(&cluster, 8).await?;
    for victim in job.ranks() {
        submission::send(victim, Signal::SIGKILL)?;
    }
    job.goes_on_after(&cluster, before.generation).await?;
    job.ends_as_if_nothing_had_happened(&cluster).await?;
    Ok(())
}

#[tokio::test]
async fn statistics_that_ranks_share_go_on_when_one_of_them_is_killed_in_the_middle_of_its_layers() -> anyhow::Result<()>
{
    let ended = lose_a_rank(&jobs::shared_batches_fault_job("shared-killed", 5, (1, 2))?, 6).await?;
    assert_eq!(ended.outcome.steps.len(), 20);
    Ok(())
}

#[tokio::test]
async fn statistics_of_slices_go_on_bit_by_bit_when_a_rank_is_killed_in_the_middle_of_its_layers() -> anyhow::Result<()>
{
    let mut spec = jobs::shared_batches_fault_job("slices-killed", 5, (1, 2))?;
    spec["spec"]["training"]["determinism"] = json!("strict");
    let ended = lose_a_rank(&spec, 6).await?;
    assert_eq!(ended.outcome.steps.len(), 20);
    Ok(())
}

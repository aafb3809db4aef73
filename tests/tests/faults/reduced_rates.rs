//! What the coordinator has decided stays decided: a learning rate that was reduced on a plateau.

use firn_tests::{
    cluster::Cluster,
    jobs,
    outcome::Outcome,
    submission::{self, Submission},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// 3 warm-up steps, 4 steps an epoch, 0.001 at first, and half of it from each epoch to the next, from the third on.
fn rates_are_halved(outcome: &Outcome) {
    for (step, record) in outcome.steps.iter().enumerate() {
        let halvings = (step / 4).saturating_sub(1) as i32;
        let expected = match step {
            0..3 => 0.001 * (step as f64 / 3.0),
            _ => 0.001 * 0.5f64.powi(halvings),
        };
        assert_eq!(record["learningRate"].as_f64(), Some(expected), "step {step}");
    }
}

#[tokio::test]
async fn a_rate_that_was_reduced_stays_so_when_a_rank_and_then_the_coordinator_are_killed() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::plateau_fault_job("plateau-killed", 8, (1, 2))?)?;
    let before = job.reaches_step(&cluster, 13).await?;
    let victim = job.rank(&mut cluster, 0).await?;
    submission::send(victim, Signal::SIGKILL)?;
    let after = job.goes_on_after(&cluster, before.generation).await?;
    job.reaches_step(&cluster, submission::step(&after) + 2).await?;
    cluster.kill_coordinator()?;
    cluster.restart_coordinator()?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    assert_eq!(ended.outcome.steps.len(), 32);
    rates_are_halved(&ended.outcome);
    Ok(())
}

#[tokio::test]
async fn whoever_goes_on_from_a_checkpoint_goes_on_with_the_rate_that_belonged_to_it() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let cluster = Cluster::start(folder.path(), 2)?;
    let job = Submission::new(&cluster, &jobs::plateau_fault_job("plateau-rewound", 8, (2, 2))?)?;
    let before = job.reaches_step(&cluster, 14).await?;
    for victim in job.ranks() {
        submission::send(victim, Signal::SIGKILL)?;
    }
    job.goes_on_after(&cluster, before.generation).await?;
    let ended = job.ends_as_if_nothing_had_happened(&cluster).await?;
    super::at_most_an_epoch_was_lost("plateau-rewound", &ended);
    rates_are_halved(&ended.outcome);
    Ok(())
}

//! What the coordinator believes is what is so outside.

use firn_core::identifiers::JobId;
use firn_core::state::*;

use super::super::outside::{Outside, Rank, STEPS, agree, zone};
use super::{Verdict, Witness, hold};

pub(super) fn check(outside: &Outside) -> Verdict {
    let twice = outside.slots_with_two_processes();
    hold(twice.is_none(), "no slot runs two processes", || format!("{twice:?}"))?;
    for rank in outside.ranks.values() {
        a_process_runs_where_its_job_is_served(outside, rank)?;
        a_rank_trains_with_the_state_of_the_ledger(outside, rank)?;
    }
    for (id, job) in &outside.core.state.jobs {
        checkpoints_are_what_the_ledger_says(outside, id, job)?;
    }
    Ok(())
}

fn a_process_runs_where_its_job_is_served(outside: &Outside, rank: &Rank) -> Verdict {
    let serves = &outside.machines[rank.machine].serves;
    let zone = zone(rank.machine).to_string();
    let job = outside.core.state.job(&rank.job);
    let selected = job.and_then(|job| job.spec.scheduling.worker_selector.get("zone"));
    let is_served =
        serves.as_ref().is_none_or(|only| *only == rank.job) && selected.is_none_or(|wanted| *wanted == zone);
    hold(
        is_served,
        "no process of a job runs on a worker that does not serve it",
        || {
            format!(
                "{} on machine {} in zone {zone}, which serves {serves:?}",
                rank.process, rank.machine
            )
        },
    )
}

/// The hash after each step of the ledger.
fn ledger(job: &Job) -> Vec<u64> {
    job.run
        .ledger
        .from_step(0)
        .map(|committed| committed.step.loss as u64)
        .collect()
}

fn a_rank_trains_with_the_state_of_the_ledger(outside: &Outside, rank: &Rank) -> Verdict {
    let Some(job) = outside.core.state.job(&rank.job) else {
        return Ok(());
    };
    let Phase::Running(running) = &job.phase else {
        return Ok(());
    };
    // In the stages after training the ranks hold what the directive names.
    let is_training = job.run.training_end.is_none();
    if rank.generation != job.generation || !rank.has_adopted() || !is_training {
        return Ok(());
    }
    let ledger = ledger(job);
    let chain = rank.learned.chain();
    let differs = ledger.iter().zip(chain).position(|(ledger, own)| !agree(*ledger, *own));
    hold(
        differs.is_none(),
        "the state that a rank trains with is the one of the ledger",
        || {
            format!(
                "{} in generation {} (from {:?}): step {differs:?} of {ledger:x?} is not that of {chain:x?}",
                rank.process, rank.generation, running.origin
            )
        },
    )
}

fn checkpoints_are_what_the_ledger_says(outside: &Outside, id: &JobId, job: &Job) -> Verdict {
    if job.outcome().is_some() {
        return Ok(());
    }
    let ledger = ledger(job);
    for checkpoint in &job.run.checkpoints {
        let file = outside.files.get(&(id.clone(), checkpoint.sha256.clone()));
        hold(file.is_some(), "a checkpoint that exists has a file", || {
            format!("{checkpoint:?} of {id}")
        })?;
        let Some(file) = file else { continue };
        let steps = checkpoint.steps_done as usize;
        let last = ledger.get(steps.wrapping_sub(1));
        let agrees = steps == 0 || last.is_some_and(|last| agree(*last, file.learned.now()));
        hold(
            agrees && file.learned.steps() == checkpoint.steps_done,
            "a checkpoint is the state that the ledger says",
            || format!("{checkpoint:?} of {id}: {:x?} beside {ledger:x?}", file.learned.chain()),
        )?;
    }
    Ok(())
}

impl Witness {
    /// An evaluation was made with the state that it is of.
    pub(super) fn evaluations_are_of_their_states(&self, outside: &Outside) -> Verdict {
        for (id, job) in &outside.core.state.jobs {
            let ledger = ledger(job);
            for evaluation in &job.run.evaluations {
                let (split, epoch) = (evaluation.split, evaluation.epoch);
                let Some(scored) = self.state_that_scored(id, Pass::Evaluate { split, epoch }) else {
                    continue;
                };
                let steps = STEPS as usize * (epoch as usize + 1);
                let Some(state) = ledger.get(steps - 1) else { continue };
                hold(
                    agree(*state, scored),
                    "an evaluation is of the state after its epoch",
                    || format!("{split} after epoch {epoch} of {id}: scored {scored:x}, the ledger has {state:x}"),
                )?;
            }
        }
        Ok(())
    }
}

//! One epoch: steps in the order of the seed, then a checkpoint.

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Instant};

use firn_core::{
    order::{self, SampleOrder},
    schedule,
    state::rank_activity,
};
use firn_data::{Batch, Loader, LoaderOptions};
use firn_proto::v1alpha1::{QuarantinedSample, Step};
use tonic::Code;
use tracing::warn;

use super::{
    checkpoints,
    coordinator::Coordinator,
    failure::RankFailure,
    guard::Verdict,
    halt::{Halt, Interruption},
    session::Session,
    step::{self, Learner},
    units::{self, Unit},
};

/// Micro-batches that are decoded ahead of the one that is computed.
pub(super) const BATCHES_AHEAD: usize = 3;

/// Trains epoch `epoch` (from 0), from the step that the session has reached, and stores the checkpoint after it.
///
/// # Errors
/// [`Interruption::RolledBack`] on all ranks alike, when training must go on from an older state.
pub(super) fn train_epoch(session: &mut Session, epoch: u32) -> Result<(), Halt> {
    let steps_per_epoch = session.steps_per_epoch();
    let first = session.steps_done.saturating_sub(u64::from(epoch) * steps_per_epoch);
    let mut loader = start_loader(session, epoch, first..steps_per_epoch);

    session.coordinator.vitals().begin(rank_activity::TRAINING);
    for step_in_epoch in first..steps_per_epoch {
        session.check_boundary()?;
        let began = Instant::now();
        let position = step::Position {
            epoch,
            step: session.steps_done,
            learning_rate: schedule::learning_rate(
                &session.spec.training.schedule,
                session.spec.training.optimizer.learning_rate(),
                session.steps_done,
                u64::from(session.spec.training.epochs) * steps_per_epoch,
            ),
        };
        let outcome = one_step(session, position, step_in_epoch, &mut loader)?;
        let global = global_batch(session, step_in_epoch);
        session.note_step(Step {
            first_position: global.start,
            end_position: global.end,
            ..outcome.into_record(position, began.elapsed())
        })?;
        if outcome.skipped {
            let (quantity, value) = outcome.offender();
            warn!(step = position.step, "the {quantity} is {value}: the step is skipped");
        }
        let verdict = session.guard.observe(outcome.skipped);
        if verdict != Verdict::Proceed {
            let (quantity, value) = outcome.offender();
            return Err(broken(session, verdict, quantity.to_owned(), value));
        }
        if step_in_epoch + 1 < steps_per_epoch {
            checkpoints::store_if_due(session)?;
        }
    }
    drop(loader);
    session.check_boundary()?;
    store_checkpoint(session)
}

fn one_step(
    session: &mut Session,
    position: step::Position,
    step_in_epoch: u64,
    loader: &mut Loader,
) -> Result<step::Outcome, Halt> {
    let units: Vec<usize> = units_of(session, step_in_epoch).iter().map(Vec::len).collect();
    let (coordinator, quarantined) = (session.coordinator, &mut session.quarantined);
    let batches = loader.take(units.iter().sum()).map(|batch| {
        coordinator.vitals().tick();
        coordinator.vitals().check_urgent()?;
        set_aside(coordinator, quarantined, "train", &batch)?;
        Ok(batch)
    });
    let mut learner = Learner {
        model: &session.model,
        loss: &session.loss,
        optimizer: &mut session.optimizer,
        training: &session.spec.training,
        gang: &mut session.gang,
    };
    step::run(&mut learner, position, &units, batches)
}

/// What follows when the numbers are broken. The ledger shall tell of the steps that led to it, as far as the coordinator still takes them.
fn broken(session: &mut Session, verdict: Verdict, quantity: String, value: f64) -> Halt {
    if let Some(committer) = &mut session.committer
        && let Err(halt) = committer.flush(session.coordinator)
    {
        warn!("the last steps are not in the ledger: {halt}");
    }
    let step = session.steps_done.saturating_sub(1);
    if verdict != Verdict::Fail {
        let reason = format!("step {step}: the {quantity} is {value}, and skipping steps does not help");
        match session.coordinator.request_rollback(&reason) {
            Ok(()) => return Interruption::RolledBack(reason).into(),
            // The job has gone back before; this process may not have been there.
            Err(Halt::Failed(RankFailure::Call { status, .. })) if status.code() == Code::FailedPrecondition => {}
            Err(halt) => return halt,
        }
    }
    RankFailure::NotFinite { step, quantity, value }.into()
}

/// Reports the corrupt samples of a batch, and never touches them again.
fn set_aside(
    coordinator: &Coordinator,
    quarantined: &mut BTreeSet<(String, u64)>,
    split: &str,
    batch: &Batch,
) -> Result<(), Halt> {
    for corrupt in &batch.corrupt {
        let sample = (split.to_owned(), corrupt.index);
        if quarantined.contains(&sample) {
            continue;
        }
        warn!(
            split,
            sample = corrupt.id,
            reason = corrupt.reason,
            "a corrupt sample is set aside"
        );
        coordinator.quarantine(QuarantinedSample {
            split: split.to_owned(),
            index: corrupt.index,
            sample: corrupt.id.clone(),
            reason: corrupt.reason.clone(),
        })?;
        // Only now: a rank that is interrupted here meets the sample again, and reports it then.
        quarantined.insert(sample);
    }
    Ok(())
}

/// What this rank computes in a step of an epoch.
fn units_of(session: &Session, step_in_epoch: u64) -> Vec<Unit> {
    let place = (session.gang.rank, session.gang.world_size);
    let global = global_batch(session, step_in_epoch);
    units::of_rank(&session.spec.training, session.micro_batch(), place, global)
}

/// The samples of a step over all ranks, as places in the epoch's order.
fn global_batch(session: &Session, step_in_epoch: u64) -> Range<u64> {
    let samples = session.dataset.train.samples.len() as u64;
    order::global_batch(step_in_epoch, session.spec.training.batch_size, samples)
}

fn start_loader(session: &Session, epoch: u32, steps: Range<u64>) -> Loader {
    let split = Arc::clone(&session.dataset.train);
    let order = SampleOrder::new(session.spec.training.seed, epoch, split.samples.len() as u64);
    let quarantined = session.quarantined.clone();
    let ranges: Vec<Range<u64>> = steps.flat_map(|step| units_of(session, step)).flatten().collect();
    let plan = ranges.into_iter().map(move |range| {
        let samples = range.map(|position| order.position(position));
        samples
            .filter(|sample| !quarantined.contains(&("train".to_owned(), *sample)))
            .collect()
    });
    Loader::start(split, Arc::clone(&session.preprocessor), plan, loader_options(session))
}

/// As many threads decode as compute: on a node without GPUs they share the same cores.
pub(super) fn loader_options(session: &Session) -> LoaderOptions {
    LoaderOptions {
        threads: usize::try_from(session.arguments.threads).unwrap_or(1).max(1),
        batches_ahead: BATCHES_AHEAD,
    }
}

/// Rank 0 stores what has been learned; every rank proves that nothing frozen has moved, and that there is something to go back to.
fn store_checkpoint(session: &mut Session) -> Result<(), Halt> {
    session.coordinator.vitals().begin(rank_activity::STORING);
    session.model.verify_frozen()?;
    if let Some((name, value)) = session.model.not_finite()? {
        let verdict = session.guard.give_up();
        return Err(broken(session, verdict, format!("trained tensor `{name}`"), value));
    }
    match session.committer {
        Some(_) => checkpoints::store(session),
        None => Ok(()),
    }
}

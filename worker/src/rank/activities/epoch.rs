//! One epoch: steps in the order of the seed, then a checkpoint.

use std::{ops::Range, sync::Arc, time::Instant};

use firn_core::{
    order::SampleOrder,
    spec::{Sampling, TrainingSpec},
    state::rank_activity,
};
use firn_data::{Batch, Loader, Split, TrainingEpoch};
use firn_proto::v1alpha1::{EpochTerms, Step};
use tonic::Code;
use tracing::warn;

use super::{departure, step};
use crate::rank::{
    coordinator::Coordinator,
    failure::RankFailure,
    job_data::{self, JobData},
    learner::{
        mixing::Places,
        non_finite::Verdict,
        outcome::{Outcome, Position},
    },
    session::Session,
    stop_reason::{Interruption, StopReason},
};

/// Steps between two hashes of the trained state, which the coordinator compares over the ranks. One more is told
/// whenever a state was taken over.
const HASH_EVERY: u64 = 100;

/// Trains epoch `epoch` (from 0), from the step that the learner has reached, and stores the checkpoint after it. `terms`: what the
/// coordinator has decided for it.
///
/// # Errors
/// [`Interruption::RolledBack`] on all ranks alike, when training must go on from an older state.
pub(crate) fn train(session: &mut Session<'_>, epoch: u32, terms: &EpochTerms) -> Result<(), StopReason> {
    session.learner.enter_epoch(epoch)?;
    let steps_per_epoch = session.learner.steps_per_epoch();
    let first = session
        .learner
        .steps_done()
        .saturating_sub(u64::from(epoch) * steps_per_epoch);
    let order = Arc::new(order_of(&session.spec.training, epoch, &session.data.dataset.train));
    let mut loader = start_loader(session, epoch, &order, first..steps_per_epoch);

    session
        .membership
        .coordinator
        .heartbeat()
        .begin(rank_activity::TRAINING);
    for step_in_epoch in first..steps_per_epoch {
        departure::check(session)?;
        let began = Instant::now();
        let position = session.learner.position(epoch, terms.peak_learning_rate);
        let outcome = loop {
            match one_step(session, position, step_in_epoch, (&order, &mut loader)) {
                Err(StopReason::Failed(failure)) if session.learner.make_do(&failure) => {
                    let micro_batch = session.learner.micro_batch();
                    warn!(%failure, micro_batch, "the step is taken again in smaller micro-batches");
                    loader = start_loader(session, epoch, &order, step_in_epoch..steps_per_epoch);
                }
                outcome => break outcome?,
            }
        };
        let global = session.learner.global_batch(step_in_epoch);
        tell(
            session,
            Step {
                first_position: global.start,
                end_position: global.end,
                ..outcome.into_record(position, began.elapsed())
            },
        )?;
        if outcome.skipped {
            let (quantity, value) = outcome.offender();
            warn!(step = position.step, "the {quantity} is {value}: the step is skipped");
        }
        let verdict = session.learner.non_finite().observe(outcome.skipped);
        if verdict != Verdict::Proceed {
            let (quantity, value) = outcome.offender();
            return Err(broken(session, verdict, quantity.to_owned(), value));
        }
        if step_in_epoch + 1 < steps_per_epoch {
            session
                .checkpoints
                .store_if_due(&session.learner, &session.membership)?;
        }
    }
    drop(loader);
    departure::check(session)?;
    store_checkpoint(session)
}

fn one_step(
    session: &mut Session<'_>,
    position: Position,
    step_in_epoch: u64,
    (order, loader): (&SampleOrder, &mut Loader),
) -> Result<Outcome, StopReason> {
    let membership = &mut session.membership;
    let summands = session.learner.micro_batch_plan(membership.place(), step_in_epoch);
    let lengths: Vec<usize> = summands.iter().map(Vec::len).collect();
    let micro_batches = summands.into_iter().flatten();
    let places: Vec<Places> = micro_batches
        .map(|range| session.learner.places(step_in_epoch, range))
        .collect();
    let (coordinator, data) = (membership.coordinator, &mut session.data);
    let batches = loader.take(places.len()).zip(places).map(|(batch, places)| {
        coordinator.heartbeat().tick();
        coordinator.heartbeat().check_urgent()?;
        set_aside(coordinator, data, "train", &batch)?;
        Ok(places.lesson(batch, |place| order.turn(place)))
    });
    step::run(&mut session.learner, &mut membership.gang, position, &lengths, batches)
}

/// A step was applied: the ledger and, now and then, the comparison of states hear of it.
fn tell(session: &mut Session<'_>, record: Step) -> Result<(), StopReason> {
    session.membership.record(record)?;
    let steps_done = session.learner.steps_done();
    if steps_done.is_multiple_of(HASH_EVERY) {
        session.membership.show_hash(steps_done, session.learner.hash()?);
    }
    Ok(())
}

/// What follows when the numbers are broken. The ledger shall tell of the steps that led to it, as far as the coordinator still takes them.
fn broken(session: &mut Session<'_>, verdict: Verdict, quantity: String, value: f64) -> StopReason {
    if let Err(reason) = session.membership.flush_ledger() {
        warn!("the last steps are not in the ledger: {reason}");
    }
    let step = session.learner.steps_done().saturating_sub(1);
    if verdict != Verdict::Fail {
        let reason = format!("step {step}: the {quantity} is {value}, and skipping steps does not help");
        match session.membership.coordinator.request_rollback(&reason) {
            Ok(()) => return Interruption::RolledBack(reason).into(),
            // The job has gone back before; this process may not have been there.
            Err(StopReason::Failed(RankFailure::Call { status, .. })) if status.code() == Code::FailedPrecondition => {}
            Err(reason) => return reason,
        }
    }
    RankFailure::NotFinite { step, quantity, value }.into()
}

/// Reports the corrupt samples of a batch, and never touches them again.
fn set_aside(coordinator: &Coordinator<'_>, data: &mut JobData, split: &str, batch: &Batch) -> Result<(), StopReason> {
    for corrupt in &batch.corrupt {
        if data.quarantined().contains(split, corrupt.index) {
            continue;
        }
        warn!(
            split,
            sample = corrupt.id,
            reason = corrupt.reason,
            "a corrupt sample is set aside"
        );
        let sample = job_data::to_wire(split, corrupt);
        coordinator.quarantine(sample.clone())?;
        // Only now: a rank that is interrupted here meets the sample again, and reports it then.
        data.set_aside([sample]);
    }
    Ok(())
}

fn start_loader(session: &Session<'_>, epoch: u32, order: &Arc<SampleOrder>, steps: Range<u64>) -> Loader {
    let (data, learner) = (&session.data, &session.learner);
    let split = &data.dataset.train;
    let seed = session.spec.training.seed;
    let place = session.membership.place();
    let of_step = |step| {
        let micro_batches = learner.micro_batch_plan(place, step).into_iter().flatten();
        micro_batches.map(move |range| learner.places(step, range))
    };
    let planned: Vec<Places> = steps.flat_map(of_step).collect();
    let order = Arc::clone(order);
    let plan = planned.into_iter().map(move |places| {
        let order = Arc::clone(&order);
        places.loaded().map(move |place| order.turn(place))
    });
    data.load(split, plan, Some(TrainingEpoch { seed, epoch }))
}

/// The samples at the places of an epoch.
fn order_of(training: &TrainingSpec, epoch: u32, split: &Split) -> SampleOrder {
    match training.sampling {
        Sampling::Shuffle => SampleOrder::new(training.seed, epoch, split.samples.len() as u64),
        Sampling::Balanced => SampleOrder::balanced(training.seed, epoch, &split.classes()),
    }
}

/// Rank 0 stores what has been learned; every rank proves that nothing frozen has moved, and that there is something to go back to. What
/// takes long goes on while the epoch is evaluated.
fn store_checkpoint(session: &mut Session<'_>) -> Result<(), StopReason> {
    session.membership.coordinator.heartbeat().begin(rank_activity::STORING);
    if let Some((name, value)) = session.learner.model().not_finite()? {
        let verdict = session.learner.non_finite().give_up();
        return Err(broken(session, verdict, format!("trained tensor `{name}`"), value));
    }
    session
        .checkpoints
        .store_epoch(&session.learner, &mut session.membership)
}

//! From where a rank goes on when a new gang is complete: a checkpoint, the state of another rank, or the beginning.
//!
//! What a rank hands over is its checkpoint, as it would be stored, and what the ledger may not know yet: the records of its newest steps. It
//! travels as bit patterns, so the others hold the same numbers to the last bit; ranks that believe to have them already take them over all
//! the same.

use std::time::Duration;

use firn_proto::v1alpha1::{self as wire, directive::Next};
use prost::Message as _;
use tracing::{info, warn};

use crate::rank::checkpoints;
use crate::rank::{
    coordinator::Coordinator,
    failure::RankFailure,
    learner::non_finite::NonFinitePolicy,
    membership::uncommitted_steps::UncommittedSteps,
    session::Session,
    stop_reason::{Interruption, StopReason},
};

/// Pauses before a checkpoint that could not be read is read again.
const READ_AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// A rank's state on its way to the others.
#[derive(Clone, PartialEq, prost::Message)]
struct StateTransfer {
    /// The file of a checkpoint.
    #[prost(bytes = "vec", tag = "1")]
    checkpoint: Vec<u8>,
    /// Steps that may not be in the ledger yet.
    #[prost(message, repeated, tag = "2")]
    records: Vec<wire::Step>,
    /// Samples that were set aside, without their reasons.
    #[prost(message, repeated, tag = "3")]
    quarantined: Vec<wire::QuarantinedSample>,
    /// The counts of the policy for what is not finite.
    #[prost(uint32, tag = "4")]
    skipped_in_a_row: u32,
    #[prost(bool, tag = "5")]
    rolled_back: bool,
}

/// Takes over the state that the gang goes on from.
pub(crate) fn take_over(session: &mut Session<'_>, world: &wire::World) -> Result<(), StopReason> {
    if let Some(reference) = &world.resume {
        restore(session, reference)?;
        info!(
            epochs = reference.epochs_done,
            steps = reference.steps_done,
            "going on from a checkpoint"
        );
    } else if let Some(root) = world.state_root {
        share(session, root)?;
    } else if trains_from_the_beginning(world) {
        start_over(session)?;
    } else {
        // In the stages after training the directive names the state.
        return Ok(());
    }
    let steps_done = session.learner.steps_done();
    if steps_done != world.steps_done {
        return Err(RankFailure::StateOutOfStep {
            expected: world.steps_done,
            found: steps_done,
        }
        .into());
    }
    let hash = session.learner.hash()?;
    session.membership.adopted(world.generation, steps_done, hash);
    Ok(())
}

fn trains_from_the_beginning(world: &wire::World) -> bool {
    let next = world.next.as_ref().and_then(|directive| directive.next.as_ref());
    world.steps_done == 0 && !matches!(next, Some(Next::LoadBest(_) | Next::Finish(_)))
}

/// Loads a committed checkpoint. One that cannot be used is rejected, so that the gang goes back to the one before.
pub(crate) fn restore(session: &mut Session<'_>, reference: &wire::CheckpointRef) -> Result<(), StopReason> {
    let coordinator = session.membership.coordinator;
    let loaded = fetch(coordinator, reference)
        .and_then(|bytes| Ok(session.learner.load(&bytes, Some(reference.sha256.as_str()))?));
    let unusable = match loaded {
        Ok(()) => {
            session.learner.non_finite().begin_anew();
            session.membership.uncommitted.clear();
            session.membership.set_steps_done(session.learner.steps_done());
            session.checkpoints.is_stored();
            return Ok(());
        }
        Err(StopReason::Failed(failure)) if failure.is_of_the_checkpoint() => failure,
        Err(reason) => return Err(reason),
    };
    let reason = unusable.to_string();
    coordinator.reject_checkpoint(&reference.sha256, &reason)?;
    Err(Interruption::CheckpointRejected {
        steps_done: reference.steps_done,
        reason,
    }
    .into())
}

/// The bytes of a committed checkpoint. A disk or a coordinator in passing trouble must not have a good one rejected.
fn fetch(coordinator: &Coordinator<'_>, reference: &wire::CheckpointRef) -> Result<Vec<u8>, StopReason> {
    for pause in READ_AGAIN {
        match checkpoints::fetch(coordinator, reference) {
            Err(StopReason::Failed(failure)) if failure.may_pass() => {
                warn!(%failure, "the checkpoint could not be read; trying again in {pause:?}");
            }
            fetched => return fetched,
        }
        coordinator.wait(async {
            tokio::time::sleep(pause).await;
            Ok(())
        })?;
    }
    checkpoints::fetch(coordinator, reference)
}

/// Takes the root's state, or gives it.
fn share(session: &mut Session<'_>, root: u32) -> Result<(), StopReason> {
    let is_root = session.membership.gang.rank == root;
    let mine = match is_root {
        true => pack(session)?.encode_to_vec(),
        false => Vec::new(),
    };
    let bytes = session.membership.gang.broadcast(mine, root)?;
    if is_root {
        return Ok(());
    }
    let transfer = StateTransfer::decode(bytes.as_slice())
        .map_err(|error| RankFailure::Internal(format!("the state of rank {root} cannot be read: {error}")))?;
    session.learner.load(&transfer.checkpoint, None)?;
    *session.learner.non_finite() = NonFinitePolicy::of(transfer.skipped_in_a_row, transfer.rolled_back);
    session.membership.uncommitted = UncommittedSteps::taken_over(transfer.records);
    session.membership.set_steps_done(session.learner.steps_done());
    session.data.set_aside(transfer.quarantined);
    info!(
        root,
        steps = session.learner.steps_done(),
        "took the state of another rank over"
    );
    Ok(())
}

fn pack(session: &mut Session<'_>) -> Result<StateTransfer, RankFailure> {
    let (skipped_in_a_row, rolled_back) = session.learner.non_finite().counts();
    Ok(StateTransfer {
        skipped_in_a_row,
        rolled_back,
        checkpoint: session.learner.encode()?,
        records: session.membership.uncommitted.to_vec(),
        quarantined: session.data.quarantined().to_wire(),
    })
}

/// Goes back to the state before the first step.
fn start_over(session: &mut Session<'_>) -> Result<(), StopReason> {
    if session.learner.is_at_the_beginning() {
        return Ok(());
    }
    session.learner.start_over()?;
    session.membership.uncommitted.clear();
    session.membership.set_steps_done(0);
    info!("starting over from the first step");
    Ok(())
}

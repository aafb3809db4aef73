//! From where a rank goes on when a new gang is complete: a checkpoint, the state of another rank, or the beginning.
//!
//! What a rank hands over is its checkpoint, as it would be stored, and what the ledger may not know yet: the records of its newest steps. It
//! travels as bit patterns, so the others hold the same numbers to the last bit; ranks that believe to have them already take them over all
//! the same.

use std::time::{Duration, Instant};

use firn_models::{
    Optimizer,
    checkpoint::{self, Checkpoint},
};
use firn_proto::v1alpha1::{self as wire, directive::Next};
use prost::Message as _;
use tracing::{info, warn};

use super::{
    checkpoints,
    failure::RankFailure,
    guard::Guard,
    halt::{Halt, Interruption},
    records::Records,
    session::Session,
};

/// Pauses before a checkpoint that could not be read is read again.
const READ_AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// A rank's state on its way to the others.
#[derive(Clone, PartialEq, prost::Message)]
struct Handover {
    /// The file of a checkpoint.
    #[prost(bytes = "vec", tag = "1")]
    checkpoint: Vec<u8>,
    /// Steps that may not be in the ledger yet.
    #[prost(message, repeated, tag = "2")]
    records: Vec<wire::Step>,
    /// Samples that were set aside, without their reasons.
    #[prost(message, repeated, tag = "3")]
    quarantined: Vec<wire::QuarantinedSample>,
    /// The guard's counts.
    #[prost(uint32, tag = "4")]
    skipped_in_a_row: u32,
    #[prost(bool, tag = "5")]
    rolled_back: bool,
}

/// Takes over the state that the gang goes on from.
pub(super) fn take_over(session: &mut Session, world: &wire::World) -> Result<(), Halt> {
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
    if session.steps_done != world.steps_done {
        return Err(RankFailure::StateOutOfStep {
            expected: world.steps_done,
            found: session.steps_done,
        }
        .into());
    }
    session.state_generation = world.generation;
    session.show_hash()
}

fn trains_from_the_beginning(world: &wire::World) -> bool {
    let next = world.next.as_ref().and_then(|directive| directive.next.as_ref());
    world.steps_done == 0 && !matches!(next, Some(Next::LoadBest(_) | Next::Finish(_)))
}

/// Loads a committed checkpoint. One that cannot be used is rejected, so that the gang goes back to the one before.
pub(super) fn restore(session: &mut Session, reference: &wire::CheckpointRef) -> Result<(), Halt> {
    let loaded = fetch(session, reference).and_then(|bytes| Ok(load(session, &bytes)?));
    let unusable = match loaded {
        Ok(()) => {
            session.records.clear();
            session.guard.begin_anew();
            session.loaded = Some(reference.sha256.clone());
            session.last_checkpoint = Instant::now();
            return Ok(());
        }
        Err(Halt::Failed(failure)) if failure.is_of_the_checkpoint() => failure,
        Err(halt) => return Err(halt),
    };
    let reason = unusable.to_string();
    session.coordinator.reject_checkpoint(&reference.sha256, &reason)?;
    Err(Interruption::CheckpointRejected {
        steps_done: reference.steps_done,
        reason,
    }
    .into())
}

/// The bytes of a committed checkpoint. A disk or a coordinator in passing trouble must not have a good one rejected.
fn fetch(session: &Session, reference: &wire::CheckpointRef) -> Result<Vec<u8>, Halt> {
    for pause in READ_AGAIN {
        match checkpoints::fetch(session, reference) {
            Err(Halt::Failed(failure)) if failure.may_pass() => {
                warn!(%failure, "the checkpoint could not be read; trying again in {pause:?}");
            }
            fetched => return fetched,
        }
        session.coordinator.wait(async {
            tokio::time::sleep(pause).await;
            Ok(())
        })?;
    }
    checkpoints::fetch(session, reference)
}

/// Takes the root's state, or gives it.
fn share(session: &mut Session, root: u32) -> Result<(), Halt> {
    let is_root = session.gang.rank == root;
    let mine = match is_root {
        true => pack(session)?.encode_to_vec(),
        false => Vec::new(),
    };
    let bytes = session.gang.broadcast(mine, root)?;
    if is_root {
        return Ok(());
    }
    let handover = Handover::decode(bytes.as_slice())
        .map_err(|error| RankFailure::Internal(format!("the state of rank {root} cannot be read: {error}")))?;
    load(session, &handover.checkpoint)?;
    session.records = Records::taken_over(handover.records);
    session.guard = Guard::of(handover.skipped_in_a_row, handover.rolled_back);
    let quarantined = handover.quarantined.into_iter();
    session
        .quarantined
        .extend(quarantined.map(|sample| (sample.split, sample.index)));
    session.loaded = None;
    info!(root, steps = session.steps_done, "took the state of another rank over");
    Ok(())
}

fn pack(session: &Session) -> Result<Handover, RankFailure> {
    let quarantined = session.quarantined.iter();
    let (skipped_in_a_row, rolled_back) = session.guard.counts();
    Ok(Handover {
        skipped_in_a_row,
        rolled_back,
        checkpoint: encode(session)?,
        records: session.records.to_vec(),
        quarantined: quarantined
            .map(|(split, index)| wire::QuarantinedSample {
                split: split.clone(),
                index: *index,
                ..wire::QuarantinedSample::default()
            })
            .collect(),
    })
}

/// The state in this process as the file of a checkpoint: the same bytes on every rank that holds the same state.
pub(super) fn encode(session: &Session) -> Result<Vec<u8>, RankFailure> {
    Ok(checkpoint::encode(&Checkpoint {
        step: session.steps_done,
        epochs: session.epochs_done(),
        spec_digest: session.spec_digest.clone(),
        frozen_digest: session.model.frozen_digest(),
        model: session.model.trainable_state(),
        optimizer: session.optimizer.state(),
    })?)
}

/// Takes the state in a checkpoint's file over; nothing is changed when it does not fit.
fn load(session: &mut Session, bytes: &[u8]) -> Result<(), RankFailure> {
    let checkpoint = checkpoint::decode(bytes)?;
    checkpoint.belongs_to(&session.spec_digest, &session.model.frozen_digest())?;
    session.model.load_state(&checkpoint.model)?;
    session.optimizer.load_state(&checkpoint.optimizer)?;
    session.set_steps_done(checkpoint.step);
    Ok(())
}

/// Goes back to the state before the first step.
fn start_over(session: &mut Session) -> Result<(), Halt> {
    if session.steps_done == 0 && session.loaded.is_none() {
        return Ok(());
    }
    session.model.load_state(&session.initial)?;
    session.optimizer = Optimizer::new(&session.spec.training.optimizer, session.model.trainable())?;
    session.records.clear();
    session.guard.begin_anew();
    session.loaded = None;
    session.set_steps_done(0);
    info!("starting over from the first step");
    Ok(())
}

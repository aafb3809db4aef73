//! Between two steps or shards: whether a rank goes on, and what it stores before it leaves on purpose.

use firn_core::state::rank_activity;
use tracing::{info, warn};

use crate::rank::{
    coordinator::orders::Leave,
    session::Session,
    stop_reason::{Interruption, StopReason},
};

/// Whether this rank goes on.
///
/// # Errors
/// When another generation takes over, or the process is to leave.
pub(crate) fn check(session: &mut Session<'_>) -> Result<(), StopReason> {
    let heartbeat = session.membership.coordinator.heartbeat();
    if let Some(leave) = heartbeat.leave() {
        let is_stored = hand_over(session, leave)?;
        if leave.store_checkpoint && !is_stored {
            // Rank 0 does it, unless it is lost.
            heartbeat.check_generation()?;
        }
        return Err(StopReason::Left);
    }
    Ok(heartbeat.check_generation()?)
}

/// Rank 0 stores what must not be lost when this process leaves on purpose; whether it has. Failing is no failure: the job goes on from the
/// checkpoint before.
///
/// # Errors
/// When the generation is over: the next one stores it.
pub(crate) fn hand_over(session: &mut Session<'_>, leave: Leave) -> Result<bool, Interruption> {
    let membership = &mut session.membership;
    if !leave.store_checkpoint || membership.gang.rank != 0 || membership.ledger().is_none() {
        return Ok(false);
    }
    membership.coordinator.heartbeat().begin(rank_activity::STORING);
    match session.checkpoints.store(&session.learner, membership) {
        Ok(()) => {
            info!(steps = session.learner.steps_done(), "everything is stored; leaving");
            Ok(true)
        }
        Err(StopReason::Interrupted(interruption)) => Err(interruption),
        Err(reason) => {
            warn!(reason = %reason, "the state could not be stored before leaving");
            Ok(false)
        }
    }
}

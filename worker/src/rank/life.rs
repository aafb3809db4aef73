//! The life of a rank: gang after gang, and in each of them the coordinator's directives.
//!
//! What is loaded stays; what belongs to a generation (the collective, the ledger's writer) is made anew for each. A rank that is interrupted
//! aborts its collective, says how far its state is, and joins the next gang in the same process.

use std::path::Path;

use firn_proto::v1alpha1 as wire;
use tracing::info;

use super::{
    activities::{self, departure, restore},
    failure::RankFailure,
    files::artifact_folder,
    session::Session,
    stop_reason::StopReason,
};

/// How the life of a rank ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The job is done, as far as this rank is concerned.
    Done,
    /// The process is no longer wanted.
    Stopped(String),
    /// The worker is drained or preempted.
    Left,
    /// It cannot go on.
    Failed(RankFailure),
}

impl From<StopReason> for End {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Interrupted(interruption) => Self::Stopped(interruption.to_string()),
            StopReason::Unwanted(reason) => Self::Stopped(reason),
            StopReason::Left => Self::Left,
            StopReason::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Works in gang after gang, and leaves the last one.
pub(crate) fn live(session: &mut Session<'_>) -> End {
    let end = live_in_gangs(session);
    if !matches!(end, End::Done) {
        session.membership.gang.abort();
    }
    end
}

fn live_in_gangs(session: &mut Session<'_>) -> End {
    let mut reason = String::new();
    loop {
        let interruption = match live_in_a_gang(session, reason) {
            Ok(()) => return End::Done,
            Err(StopReason::Interrupted(interruption)) => interruption,
            Err(reason) => return reason.into(),
        };
        info!(reason = %interruption, steps = session.learner.steps_done(), "leaving the gang to join the next one");
        if let Some(leave) = session.membership.coordinator.heartbeat().leave()
            && (departure::hand_over(session, leave).unwrap_or(false) || !leave.store_checkpoint)
        {
            return End::Left;
        }
        // What is not stored yet is stored by the next generation, which is formed for that.
        reason = interruption.to_string();
    }
}

fn live_in_a_gang(session: &mut Session<'_>, reason: String) -> Result<(), StopReason> {
    session.checkpoints.begin_generation();
    let world = session.membership.join(session.learner.steps_done(), reason)?;
    restore::take_over(session, &world)?;
    if session.membership.gang.rank == 0 {
        reserve_artifact_folder(session)?;
        session.membership.write_ledger(session.learner.steps_done());
    }
    follow(session, world.next)
}

/// So that no two jobs write over each other's files.
fn reserve_artifact_folder(session: &Session<'_>) -> Result<(), RankFailure> {
    let arguments = session.arguments;
    match &session.spec.artifacts.folder {
        Some(folder) => artifact_folder::reserve(Path::new(folder), &arguments.job, &arguments.process_id),
        None => Ok(()),
    }
}

/// Follows directives until the job has ended.
fn follow(session: &mut Session<'_>, first: Option<wire::Directive>) -> Result<(), StopReason> {
    let mut directive = first;
    while let Some(next) = activities::carry_out(session, directive)? {
        directive = Some(next);
    }
    Ok(())
}

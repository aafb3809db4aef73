//! What a rank does, one directive after the other. Each activity takes what it needs, and the next directive follows from it.
//!
//! | directive | done in |
//! |---|---|
//! | run a pass (scan, evaluate) over a split | [`passes`] |
//! | train an epoch, store its checkpoint and validate it | [`epoch`], one step in [`step`]; the room above has [`checkpoints`](super::checkpoints) |
//! | load the best checkpoint and score it on test | [`restore`] |
//! | finish | [`finish`] |
//!
//! Between two steps or shards every activity looks whether the rank is to leave ([`departure`]).

pub(crate) mod departure;
mod epoch;
mod finish;
mod passes;
pub(crate) mod restore;
mod step;

use firn_proto::v1alpha1::{self as wire, directive::Next};

use super::{failure::RankFailure, session::Session, stop_reason::StopReason};

/// Does what the directive says; returns the next one, or `None` when the job has ended.
///
/// # Errors
/// Whatever ends the activity before its time; a directive that says nothing, or to stop.
pub(crate) fn carry_out(
    session: &mut Session<'_>,
    directive: Option<wire::Directive>,
) -> Result<Option<wire::Directive>, StopReason> {
    let wire::Directive { next, terms, then } = directive.unwrap_or_default();
    match next {
        Some(Next::RunPass(pass)) => passes::run(session, pass).map(Some),
        Some(Next::TrainEpoch(number)) => {
            epoch::train(session, number, &terms.unwrap_or_default())?;
            let next = passes::run(session, then.unwrap_or_else(|| evaluation("validation", number)))?;
            // Nothing that a checkpoint rests on is left open.
            session.checkpoints.settle(session.membership.coordinator)?;
            Ok(Some(next))
        }
        Some(Next::LoadBest(checkpoint)) => {
            restore::restore(session, &checkpoint)?;
            let epoch = checkpoint.epochs_done.saturating_sub(1);
            passes::run_as_exported(session, then.unwrap_or_else(|| evaluation("test", epoch))).map(Some)
        }
        Some(Next::Finish(directive)) => finish::leave_artifacts(session, &directive).map(|()| None),
        Some(Next::Stop(reason)) => Err(StopReason::Unwanted(reason)),
        None => Err(RankFailure::Directive("gave no directive".to_owned()).into()),
    }
}

/// The evaluation that followed before directives named it.
fn evaluation(split: &str, epoch: u32) -> wire::Pass {
    wire::Pass {
        kind: "evaluate".to_owned(),
        split: split.to_owned(),
        epoch,
    }
}

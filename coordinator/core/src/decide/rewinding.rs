//! Back to an earlier state: when the numbers broke, and when a checkpoint turns out to be unreadable.

use super::decision_builder::DecisionBuilder;
use super::gangs::{self, Formation};
use super::members::working;
use super::{losses, settle};
use crate::identifiers::RankIdentity;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::selection;
use crate::state::{FailureReason, Job};

/// The ranks saw steps that are not finite: once, they go back to the newest checkpoint.
pub(super) fn request_rollback(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    reason: String,
) -> Result<Reply, Reject> {
    let caller = working(draft.base(), identity)?;
    let id = caller.job.id.clone();
    if caller.job.run.rollbacks == 0 {
        let rank = caller.member.rank;
        draft.record_job(&id, JobEvent::RollbackRequested { rank, reason });
        gangs::form_again(draft, &id, Formation::REWIND);
        settle(draft);
        return Ok(Reply::Done);
    }
    let message = format!("{reason}; the ranks had gone back to a checkpoint before, which did not help");
    let failure = losses::fail_by(draft, &caller, FailureReason::NumericalError, message);
    Ok(Reply::JobFailed(failure))
}

/// A committed checkpoint cannot be read: the one before counts. A job never begins at step 0 because of it.
pub(super) fn reject_checkpoint(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    sha256: String,
    reason: String,
) -> Result<Reply, Reject> {
    let caller = working(draft.base(), identity)?;
    let (job, id) = (caller.job, caller.job.id.clone());
    let Some(rejected) = job.run.checkpoints.iter().find(|known| known.sha256 == sha256) else {
        // Another rank was faster.
        return Ok(Reply::Done);
    };
    let is_last = job.run.checkpoints.len() == 1;
    let after = rejected.steps_done;
    let best_epoch = best_of_the_rest(job, &sha256);
    let needs_best = job.run.training_end.is_some();
    draft.record_job(
        &id,
        JobEvent::CheckpointRejected {
            sha256,
            reason: reason.clone(),
            best_epoch,
        },
    );
    if is_last || (needs_best && best_epoch.is_none()) {
        let message = format!(
            "the checkpoint after step {after} cannot be read ({reason}), and no other one is left; the job does not begin anew by itself"
        );
        let failure = losses::fail_by(draft, &caller, FailureReason::InternalError, message);
        return Ok(Reply::JobFailed(failure));
    }
    gangs::form_again(draft, &id, Formation::AFTER_LOSS);
    settle(draft);
    Ok(Reply::Done)
}

/// The best epoch among those whose checkpoints are left.
fn best_of_the_rest(job: &Job, sha256: &str) -> Option<u32> {
    let left: Vec<u32> = job
        .run
        .checkpoints
        .iter()
        .filter(|checkpoint| checkpoint.sha256 != sha256 && checkpoint.ends_epoch)
        .filter_map(|checkpoint| checkpoint.epochs_done.checked_sub(1))
        .collect();
    selection::best_among(&job.run, job.spec.training.watched_for_best(), &left)
}

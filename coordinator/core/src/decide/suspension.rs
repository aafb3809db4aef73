//! People suspend a job, so that it holds no slots, and resume it.

use super::decision_builder::DecisionBuilder;
use super::settle;
use crate::identifiers::JobId;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;

/// A person wants the job to hold no slots. A second time changes nothing.
pub(super) fn suspend(draft: &mut DecisionBuilder<'_>, id: &JobId) -> Result<Reply, Reject> {
    change(draft, id, true)
}

/// A person wants the job to go on. It is placed in its turn.
pub(super) fn resume(draft: &mut DecisionBuilder<'_>, id: &JobId) -> Result<Reply, Reject> {
    change(draft, id, false)
}

fn change(draft: &mut DecisionBuilder<'_>, id: &JobId, suspended: bool) -> Result<Reply, Reject> {
    let job = super::members::unfinished(draft.base(), id)?;
    if job.suspended != suspended {
        let event = match suspended {
            true => JobEvent::Suspended,
            false => JobEvent::Resumed,
        };
        draft.record_job(id, event);
        settle(draft);
    }
    Ok(Reply::Done)
}

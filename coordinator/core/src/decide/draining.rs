//! Workers are taken out of use: by a person, or because their agents are told to end. Their ranks hand over at the next step and leave.

use super::decision_builder::DecisionBuilder;
use super::settle;
use super::workers::check_stream;
use crate::identifiers::{StreamId, WorkerName};
use crate::record::Event;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::Availability;

/// A person takes a worker out of use, or back into it.
pub(super) fn drain(draft: &mut DecisionBuilder<'_>, worker: &WorkerName, undo: bool) -> Result<Reply, Reject> {
    if !draft.base().workers.contains_key(worker) {
        return Err(Reject::WorkerNotFound { worker: worker.clone() });
    }
    change(
        draft,
        worker,
        if undo {
            Availability::Ready
        } else {
            Availability::Drained
        },
    );
    Ok(Reply::Done)
}

/// An agent was told to end.
pub(super) fn preempt(draft: &mut DecisionBuilder<'_>, worker: &WorkerName, stream: StreamId) -> Result<Reply, Reject> {
    check_stream(draft.base(), worker, stream)?;
    let known = draft.base().workers.get(worker).map(|known| known.availability);
    // A worker that a person drains stays drained when its agent comes back.
    if known != Some(Availability::Drained) {
        change(draft, worker, Availability::Preempted);
    }
    Ok(Reply::Done)
}

fn change(draft: &mut DecisionBuilder<'_>, worker: &WorkerName, availability: Availability) {
    let known = draft.base().workers.get(worker).map(|known| known.availability);
    if known.is_some_and(|known| known != availability) {
        draft.record(Event::WorkerAvailabilityChanged {
            worker: worker.clone(),
            availability,
        });
        settle(draft);
    }
}

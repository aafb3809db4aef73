//! Marked mutations: each acts once, and every repeat is told the first answer.

use super::{answer, decision_builder::DecisionBuilder};
use crate::input::Input;
use crate::record::Event;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::request::Repetition;
use crate::state::{Answer, Request};

/// Follows the mutation and remembers its answer with what it did, or tells the answer again.
pub(super) fn once(draft: &mut DecisionBuilder<'_>, request: Request, mutation: Input) -> Result<Reply, Reject> {
    match draft.base().requests.repetition(&request) {
        Repetition::New => {}
        Repetition::Repeated(known) => return Ok(known.to_reply()),
        Repetition::Reused => return Err(Reject::RequestReused { request: request.id }),
    }
    let reply = answer(draft, mutation)?;
    let Some(answer) = Answer::of(&reply) else {
        let reason = "expected a call whose answer can be remembered".to_owned();
        return Err(Reject::Invalid {
            field: "request_id",
            reason,
        });
    };
    draft.record(Event::RequestAnswered { request, answer });
    Ok(reply)
}

//! The mark of a mutation on the wire: its `request_id`, and a digest of everything else it says.
//!
//! A repeat with the same id gets the answer of the first call, also from the next coordinator; the same id with another content or on
//! another call is refused. The digest is taken of the message as it came, not of what was understood of it, so that a repeat is
//! recognised after an upgrade too: encoding is deterministic, because maps are kept in order.

use firn_core::{
    Input,
    identifiers::{BodyDigest, RequestId},
    state::Request,
};
use prost::Message;
use tonic::Status;

use super::refusal::invalid;

const LONGEST_REQUEST_ID: usize = 128;

/// What a call is marked with, if it is.
pub(super) struct Mark(Option<Request>);

/// Takes the mark off a call: `request_id` was taken out of `rest`, which is the message of `call`.
pub(super) fn mark(call: &str, request_id: String, rest: &impl Message) -> Result<Mark, Status> {
    if request_id.len() > LONGEST_REQUEST_ID {
        return Err(invalid(
            "request_id",
            format!(
                "expected at most {LONGEST_REQUEST_ID} bytes, found {}",
                request_id.len()
            ),
        ));
    }
    if request_id.is_empty() {
        return Ok(Mark(None));
    }
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(call.as_bytes())
        .update(&[0])
        .update(&rest.encode_to_vec());
    Ok(Mark(Some(Request {
        id: RequestId::from(request_id),
        body: Some(BodyDigest::from(hasher.finalize().to_hex().as_str())),
    })))
}

impl Mark {
    /// The mutation, to act once if its call is marked.
    pub(super) fn on(self, mutation: Input) -> Input {
        match self.0 {
            None => mutation,
            Some(request) => Input::Once {
                request,
                mutation: Box::new(mutation),
            },
        }
    }
}

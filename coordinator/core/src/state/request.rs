//! Calls that their clients have marked, and what they were answered.
//!
//! A call whose answer got lost is sent again under the same mark, also to the next coordinator, and must act once. The answer is
//! remembered in the same commit as what the call did. Only calls that were followed are remembered: a refused one changed nothing, so its
//! repeat is decided anew.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::identifiers::{BodyDigest, JobId, RequestId};
use crate::reply::Reply;

/// Calls that are remembered: the newest so many. At 200 bytes each they take some two megabytes.
pub const REMEMBERED_REQUESTS: usize = 10_000;

/// The mark of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client.
    pub id: RequestId,
    /// Which call it is, with which content; `None`: not known, from before digests were kept.
    pub body: Option<BodyDigest>,
}

impl Request {
    /// The mark of a call whose content is not known.
    pub(crate) fn of_any_body(id: RequestId) -> Self {
        Self { id, body: None }
    }

    fn is_repeated_by(&self, other: &Self) -> bool {
        self.body.is_none() || self.body == other.body
    }
}

/// What a mutation was answered, as far as a repeat has to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// The job exists under this id.
    Submitted(JobId),
}

impl Answer {
    /// What of a reply is remembered; `None`: a call with such a reply cannot be marked.
    pub(crate) fn of(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Done => Some(Self::Done),
            Reply::Submitted(job) => Some(Self::Submitted(job.clone())),
            _ => None,
        }
    }

    pub(crate) fn to_reply(&self) -> Reply {
        match self {
            Self::Done => Reply::Done,
            Self::Submitted(job) => Reply::Submitted(job.clone()),
        }
    }
}

/// What is known of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition<'a> {
    /// It is new.
    New,
    /// The call was followed, and this was its answer.
    Repeated(&'a Answer),
    /// It stands for another call.
    Reused,
}

/// The newest [`REMEMBERED_REQUESTS`] marked calls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Requests {
    answered: BTreeMap<RequestId, (Request, Answer)>,
    /// Oldest first.
    order: VecDeque<RequestId>,
}

impl Requests {
    pub(crate) fn repetition(&self, request: &Request) -> Repetition<'_> {
        match self.answered.get(&request.id) {
            None => Repetition::New,
            Some((known, answer)) if known.is_repeated_by(request) => Repetition::Repeated(answer),
            Some(_) => Repetition::Reused,
        }
    }

    /// Remembers a call; forgets the oldest beyond the bound.
    pub(crate) fn remember(&mut self, request: Request, answer: Answer) {
        let id = request.id.clone();
        if self.answered.insert(id.clone(), (request, answer)).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > REMEMBERED_REQUESTS {
            if let Some(oldest) = self.order.pop_front() {
                self.answered.remove(&oldest);
            }
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: usize, body: &str) -> Request {
        Request {
            id: RequestId::from(format!("request{number}")),
            body: Some(body.into()),
        }
    }

    #[test]
    fn only_so_many_requests_are_remembered() {
        let mut requests = Requests::default();
        for number in 0..=REMEMBERED_REQUESTS {
            requests.remember(request(number, "a"), Answer::Done);
        }
        assert_eq!(requests.repetition(&request(0, "a")), Repetition::New);
        assert_eq!(
            requests.repetition(&request(1, "a")),
            Repetition::Repeated(&Answer::Done)
        );
        assert_eq!(
            (requests.len(), requests.answered.len()),
            (REMEMBERED_REQUESTS, REMEMBERED_REQUESTS)
        );
    }

    #[test]
    fn a_mark_whose_content_was_never_kept_is_repeated_by_any() {
        let mut requests = Requests::default();
        let of_old = Request::of_any_body(RequestId::from("request0"));
        requests.remember(of_old, Answer::Submitted("ants".into()));
        let submitted = Answer::Submitted("ants".into());
        assert_eq!(requests.repetition(&request(0, "b")), Repetition::Repeated(&submitted));
    }
}

//! What is left of the lanes while jobs are served: where nobody has to be told anything, nobody has to be looked at.
//!
//! Who stands in a line stands in it until all are served: what is free becomes less, and the jobs ahead stay ahead. So once all that are left in a
//! lane would be told again what they were told before, and that is to stand in a line, the lane is passed over. Ten thousand jobs
//! behind a few cost no more than those few.

use std::collections::BTreeMap;

use super::asking::Turn;
use crate::queue::order::LaneOf;
use crate::shared_map::SharedMap;
use crate::state::Reason;
use crate::state::backlog::{Kind, Wish};

/// In a lane of more kinds of rows each row is looked at.
const FEW_KINDS: usize = 16;

/// By the number of each lane.
#[derive(Default)]
pub(super) struct Left<'a> {
    lanes: Vec<LeftInLane<'a>>,
}

struct LeftInLane<'a> {
    of: LaneOf<'a>,
    /// How many rows are left of each kind; `None`: each row is looked at.
    kinds: Option<Vec<(&'a Kind, usize)>>,
}

impl<'a> Left<'a> {
    /// One more lane; returns its number. `are_alike`: nobody stands in it to whom others of equal wishes say nothing.
    pub(super) fn enter(&mut self, of: LaneOf<'a>, kinds: &'a SharedMap<Kind, usize>, are_alike: bool) -> usize {
        let is_clear = are_alike && kinds.len() <= FEW_KINDS;
        let kinds = is_clear.then(|| kinds.iter().map(|(kind, count)| (kind, *count)).collect());
        self.lanes.push(LeftInLane { of, kinds });
        self.lanes.len() - 1
    }

    /// A job was served. Returns its lane, if those that are left in it would be told again that they stand in the line in which they stand;
    /// `answers` is what jobs are told just now.
    pub(super) fn settled(&mut self, served: &Turn<'_>, answers: &BTreeMap<Wish, Reason>) -> Option<LaneOf<'a>> {
        let Turn::Queued { row, lane } = served else {
            return None;
        };
        let LeftInLane { of, kinds } = self.lanes.get_mut(*lane)?;
        let kinds = kinds.as_mut()?;
        let known = row.reason.as_ref();
        let position = kinds
            .iter()
            .position(|((wish, reason), _)| *wish == row.wish && reason.as_ref() == known)?;
        kinds[position].1 -= 1;
        if kinds[position].1 == 0 {
            kinds.swap_remove(position);
        }
        let stands = |(wish, reason): &Kind| match reason {
            Some(Reason::Behind(_)) => answers.get(wish) == reason.as_ref(),
            _ => false,
        };
        (!kinds.is_empty() && kinds.iter().all(|(kind, _)| stands(kind))).then_some(*of)
    }
}

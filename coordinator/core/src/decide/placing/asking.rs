//! Who asks for slots: jobs that wait for a gang, gangs that are short of workers, and gangs that could use more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::left::Left;
use crate::decide::free_slots::Fleet;
use crate::decide::growth;
use crate::identifiers::JobId;
use crate::now::Now;
use crate::queue::order::{LaneOf, Order};
use crate::queue::quota::Accounts;
use crate::shared_map::SharedMap;
use crate::state::backlog::{Backlog, Row, Wish};
use crate::state::{Job, Reason, State};

/// All that ask, as they are before the first of them is served.
pub(super) struct Asking {
    now: Now,
    jobs: SharedMap<JobId, Arc<Job>>,
    /// Those that have no gang. Not of all of them the time has come.
    backlog: Backlog,
    /// Those whose gang has fewer workers than it needs.
    short: Vec<Asks>,
    /// Those that could use more.
    growing: Vec<Asks>,
}

/// A job that asks for slots, and why it was said to wait.
#[derive(Clone)]
pub(super) struct Asks {
    pub(super) job: Arc<Job>,
    pub(super) known: Option<Reason>,
    /// Of a job that has no gang.
    pub(super) wish: Option<Wish>,
}

/// Whose turn it is.
pub(super) enum Turn<'a> {
    /// A job without a gang. Most of them stand where they stood, so the job itself is looked at only if it has to be.
    Queued {
        row: &'a Row,
        /// Number of its lane in [`Left`].
        lane: usize,
    },
    /// A job with one.
    Gang(&'a Asks),
}

impl Asks {
    /// Whether it cannot work without, and waits.
    pub(super) fn needs(&self) -> bool {
        self.job.gang().is_none() || self.job.is_short()
    }
}

impl Asking {
    pub(super) fn of(state: &State, now: Now) -> Self {
        let wanted = state.jobs_with_gangs().filter(|job| growth::is_wanted(job, now));
        let asks = wanted.map(|job| Asks {
            job: job.clone(),
            known: state.soft.waiting.get(&job.id).cloned(),
            wish: None,
        });
        let (short, growing) = asks.partition(Asks::needs);
        Self {
            now,
            jobs: state.jobs.clone(),
            backlog: state.soft.backlog.clone(),
            short,
            growing,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let mut rows = self.backlog.rows();
        self.short.is_empty() && self.growing.is_empty() && !rows.any(|row| self.is_due(row))
    }

    fn is_due(&self, row: &Row) -> bool {
        row.not_before <= self.now
    }

    /// Those that wait, in the order in which they are served, and what is left of them.
    pub(super) fn waiting(&self, fleet: &Fleet, accounts: &Accounts<'_>) -> (Order<'_, Turn<'_>>, Left<'_>) {
        let mut gangs = self.short_by_lane();
        let own = fleet.jobs_with_own_workers().filter_map(|job| self.jobs.get(job));
        let apart: BTreeSet<LaneOf<'_>> = own.map(|job| job.place().lane()).collect();
        let (mut lanes, mut left) = (Vec::new(), Left::default());
        for (priority, namespace, lane) in self.backlog.lanes() {
            let of = (Reverse(priority), namespace.as_str());
            let gangs = gangs.remove(&of).unwrap_or_default();
            let are_alike = gangs.is_empty() && !apart.contains(&of);
            let number = left.enter(of, lane.kinds(), are_alike);
            let due = lane.rows().filter(|(_, row)| self.is_due(row));
            let queued = due.map(move |(sequence, row)| (sequence, Turn::Queued { row, lane: number }));
            lanes.push((of, merged(queued, gangs.into_iter())));
        }
        let others = gangs.into_iter();
        lanes.extend(others.map(|(of, gangs)| (of, merged(std::iter::empty(), gangs.into_iter()))));
        (Order::of_lanes(lanes, |namespace| accounts.share(namespace)), left)
    }

    fn short_by_lane(&self) -> BTreeMap<LaneOf<'_>, Vec<(u64, Turn<'_>)>> {
        let mut lanes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for asks in &self.short {
            let place = asks.job.place();
            let lane = lanes.entry(place.lane()).or_default();
            lane.push((place.sequence, Turn::Gang(asks)));
        }
        let by_sequence = |lane: &mut Vec<(u64, Turn<'_>)>| lane.sort_by_key(|(sequence, _)| *sequence);
        lanes.values_mut().for_each(by_sequence);
        lanes
    }

    /// Those that could use more, in the order in which they are served.
    pub(super) fn growing(&self, accounts: &Accounts<'_>) -> Order<'_, Turn<'_>> {
        let places = self.growing.iter().map(|asks| (asks.job.place(), Turn::Gang(asks)));
        Order::new(places, |namespace| accounts.share(namespace))
    }

    /// What a job asks whose turn it is; `None`: it is not there.
    pub(super) fn asks(&self, turn: &Turn<'_>) -> Option<Asks> {
        match turn {
            Turn::Gang(asks) => Some(Asks::clone(asks)),
            Turn::Queued { row, .. } => Some(Asks {
                job: self.jobs.get(&row.job)?.clone(),
                known: row.reason.clone(),
                wish: Some(row.wish),
            }),
        }
    }
}

/// Both in the order of submission.
fn merged<'a, T: 'a>(
    left: impl Iterator<Item = (u64, T)> + 'a,
    right: impl Iterator<Item = (u64, T)> + 'a,
) -> Box<dyn Iterator<Item = (u64, T)> + 'a> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    Box::new(std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some((first, _)), Some((second, _))) if second < first => right.next(),
        (None, _) => right.next(),
        _ => left.next(),
    }))
}

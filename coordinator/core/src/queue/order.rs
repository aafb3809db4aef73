//! The order in which jobs are served, worked out anew as slots are given.
//!
//! Higher priorities first. Within a priority, the namespace first that uses the smallest share of slots: of its quota where it has one, else
//! of all slots; where shares are equal, the job that was submitted first. Within one namespace and priority jobs are served as they came. A
//! namespace that was just served has a larger share, and falls back. Times and names play no part, so equal states give equal orders.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::iter::Peekable;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// To which it belongs.
    pub namespace: &'a str,
    /// Higher ones are served first.
    pub priority: u32,
    /// Position in the order of submission.
    pub sequence: u64,
}

/// Sorts jobs in the order in which they are served.
pub type Rank = (Reverse<u32>, Share, u64);

impl<'a> Place<'a> {
    /// The lane in which it is.
    pub fn lane(self) -> LaneOf<'a> {
        (Reverse(self.priority), self.namespace)
    }

    /// Sorts before that of every job that is served later, as long as these are the shares of their namespaces.
    pub fn rank(self, share: Share) -> Rank {
        (Reverse(self.priority), share, self.sequence)
    }
}

/// Which part of what it may have a namespace uses.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Slots that it holds.
    pub used: u64,
    /// Slots that it could hold: its quota, or all slots. 0 counts as 1.
    pub of: u64,
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        let product = |used: u64, of: u64| u128::from(used) * u128::from(of.max(1));
        product(self.used, other.of).cmp(&product(other.used, self.of))
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Share {}

/// Jobs to be served. It gives them one after the other; say of each that was served what its namespace uses then
/// ([`Order::set_share`]).
pub struct Order<'a, T> {
    /// By priority, the highest first; of each, the jobs of each namespace.
    levels: BTreeMap<Reverse<u32>, BTreeMap<&'a str, Lane<'a, T>>>,
    /// The highest priority that is left: its namespaces by share and first job.
    front: BTreeMap<(Share, u64), &'a str>,
    shares: BTreeMap<&'a str, Share>,
}

/// Jobs of one namespace and priority, as they came: each with its position in the order of submission.
pub type Lane<'a, T> = Peekable<Box<dyn Iterator<Item = (u64, T)> + 'a>>;

/// Which lane: its priority and namespace.
pub type LaneOf<'a> = (Reverse<u32>, &'a str);

impl<'a, T: 'a> Order<'a, T> {
    /// All jobs that are to be served, in any order, and what each namespace uses now.
    pub fn new(jobs: impl IntoIterator<Item = (Place<'a>, T)>, share: impl Fn(&str) -> Share) -> Self {
        let mut jobs: Vec<(Place<'a>, T)> = jobs.into_iter().collect();
        jobs.sort_unstable_by_key(|(place, _)| place.sequence);
        let mut lanes: BTreeMap<LaneOf<'a>, Vec<(u64, T)>> = BTreeMap::new();
        for (place, job) in jobs {
            let lane = lanes.entry(place.lane()).or_default();
            lane.push((place.sequence, job));
        }
        Self::of_lanes(lanes.into_iter().map(|(of, lane)| (of, lane.into_iter())), share)
    }

    /// The same of jobs that stand in lanes already, one of each priority and namespace. A lane is walked as far as its jobs are served.
    pub fn of_lanes<L: Iterator<Item = (u64, T)> + 'a>(
        lanes: impl IntoIterator<Item = (LaneOf<'a>, L)>,
        share: impl Fn(&str) -> Share,
    ) -> Self {
        let mut order = Self {
            levels: BTreeMap::new(),
            front: BTreeMap::new(),
            shares: BTreeMap::new(),
        };
        for ((priority, namespace), lane) in lanes {
            order.shares.entry(namespace).or_insert_with(|| share(namespace));
            let lane: Box<dyn Iterator<Item = (u64, T)> + 'a> = Box::new(lane);
            let level = order.levels.entry(priority).or_default();
            level.insert(namespace, lane.peekable());
        }
        order.line_up();
        order
    }

    /// What a namespace uses now.
    pub fn set_share(&mut self, namespace: &str, share: Share) {
        let Some(known) = self.shares.get_mut(namespace) else {
            return;
        };
        let before = std::mem::replace(known, share);
        let level = self.levels.first_entry();
        let head = level.and_then(|mut level| Some(level.get_mut().get_mut(namespace)?.peek()?.0));
        if let Some(first) = head
            && let Some(namespace) = self.front.remove(&(before, first))
        {
            self.front.insert((share, first), namespace);
        }
    }

    /// The rest of a lane of the highest priority that is left is not served.
    pub fn pass_over(&mut self, (priority, namespace): LaneOf<'a>) {
        let Some(mut level) = self.levels.first_entry().filter(|level| *level.key() == priority) else {
            return;
        };
        let Some(mut lane) = level.get_mut().remove(namespace) else {
            return;
        };
        if let Some((first, _)) = lane.peek() {
            self.front.remove(&(self.shares[namespace], *first));
        }
        if self.front.is_empty() {
            level.remove();
            self.line_up();
        }
    }

    /// The namespaces of the highest priority that is left.
    fn line_up(&mut self) {
        while let Some(mut level) = self.levels.first_entry() {
            let lanes = level.get_mut().iter_mut();
            let heads =
                lanes.filter_map(|(namespace, lane)| Some(((self.shares[namespace], lane.peek()?.0), *namespace)));
            self.front = heads.collect();
            if !self.front.is_empty() {
                return;
            }
            level.remove();
        }
    }
}

impl<'a, T: 'a> Iterator for Order<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let ((share, _), namespace) = self.front.pop_first()?;
        let mut level = self.levels.first_entry()?;
        let lane = level.get_mut().get_mut(namespace)?;
        let (_, job) = lane.next()?;
        if let Some((next, _)) = lane.peek() {
            self.front.insert((share, *next), namespace);
        } else if self.front.is_empty() {
            level.remove();
            self.line_up();
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests;

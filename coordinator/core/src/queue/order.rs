//! The order in which jobs are served, worked out anew as slots are given.
//!
//! Higher priorities first. Within a priority, the namespace first that uses the smallest share of slots: of its quota where it has one, else
//! of all slots; where shares are equal, the job that was submitted first. Within one namespace and priority jobs are served as they came. A
//! namespace that was just served has a larger share, and falls back. Times and names play no part, so equal states give equal orders.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, VecDeque};

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

impl Place<'_> {
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
#[derive(Debug)]
pub struct Order<'a, T> {
    /// By priority, the highest first; of each, the jobs of each namespace.
    levels: BTreeMap<Reverse<u32>, BTreeMap<&'a str, Lane<T>>>,
    /// The highest priority that is left: its namespaces by share and first job.
    front: BTreeMap<(Share, u64), &'a str>,
    shares: BTreeMap<&'a str, Share>,
}

/// Jobs of one namespace and priority, as they came.
type Lane<T> = VecDeque<(u64, T)>;

impl<'a, T> Order<'a, T> {
    /// All jobs that are to be served, in any order, and what each namespace uses now.
    pub fn new(jobs: impl IntoIterator<Item = (Place<'a>, T)>, share: impl Fn(&str) -> Share) -> Self {
        let mut jobs: Vec<(Place<'a>, T)> = jobs.into_iter().collect();
        jobs.sort_unstable_by_key(|(place, _)| place.sequence);
        let mut order = Self {
            levels: BTreeMap::new(),
            front: BTreeMap::new(),
            shares: BTreeMap::new(),
        };
        for (place, job) in jobs {
            order
                .shares
                .entry(place.namespace)
                .or_insert_with(|| share(place.namespace));
            let level = order.levels.entry(Reverse(place.priority)).or_default();
            level
                .entry(place.namespace)
                .or_default()
                .push_back((place.sequence, job));
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
        let level = self.levels.first_key_value().map(|(_, level)| level);
        let head = level
            .and_then(|level| level.get(namespace)?.front())
            .map(|(first, _)| *first);
        if let Some(first) = head
            && let Some(namespace) = self.front.remove(&(before, first))
        {
            self.front.insert((share, first), namespace);
        }
    }

    /// The namespaces of the highest priority that is left.
    fn line_up(&mut self) {
        let level = self.levels.first_key_value().map(|(_, level)| level);
        self.front = level
            .into_iter()
            .flatten()
            .filter_map(|(namespace, lane)| Some(((self.shares[namespace], lane.front()?.0), *namespace)))
            .collect();
    }
}

impl<T> Iterator for Order<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let ((share, _), namespace) = self.front.pop_first()?;
        let mut entry = self.levels.first_entry()?;
        let lane = entry.get_mut().get_mut(namespace)?;
        let (_, job) = lane.pop_front()?;
        if let Some((next, _)) = lane.front() {
            self.front.insert((share, *next), namespace);
        } else if self.front.is_empty() {
            entry.remove();
            self.line_up();
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests;

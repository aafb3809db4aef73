//! Whom a job drains that waits for slots which jobs of lower priority hold.
//!
//! 1. Nobody, if what is free or being given up would do, or if all that lower priorities hold would not.
//! 2. If what elastic gangs hold above their fewest workers is enough, they give workers up and work on.
//! 3. Else whole gangs. None has a higher priority than it takes: draining one above while those below go on would only make it drain them next.
//!    Among those, as few as are found; where several would do, the lowest priority and the youngest. None is drained that is not needed.
//!
//! Choosing the fewest gangs that cover what is missing is hard in general. One gang is found if one does; for more, two ways are walked (the lowest
//! and youngest first; whoever gives most first), each rid of what it does not need, and the better one is taken.

use std::collections::{BTreeMap, BTreeSet};

use crate::identifiers::{JobId, WorkerName};

/// What the job that waits lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its priority: only lower ones make room.
    pub priority: u32,
    /// Workers that it lacks.
    pub workers: usize,
    /// Slots that it needs on each.
    pub slots_per_worker: usize,
    /// Slots of its kind that are free or being given up, on each worker that could take ranks of it.
    pub free: BTreeMap<WorkerName, usize>,
}

/// A gang that could give slots up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Whose.
    pub job: JobId,
    /// Its priority.
    pub priority: u32,
    /// Position in the order of submission: a larger one is younger.
    pub sequence: u64,
    /// Slots of the kind on each worker, in rank order.
    pub workers: Vec<(WorkerName, usize)>,
    /// Workers that it could lose and work on.
    pub surplus: usize,
}

/// Who makes room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// Elastic gangs leave these workers, and work on.
    Shrink(Vec<(JobId, Vec<WorkerName>)>),
    /// These gangs give up all that they have.
    Drain(Vec<JobId>),
}

/// Who makes room for a job; `None`: nobody has to, or nobody could.
pub fn make_room(wanted: &Wanted, holders: &[Holder]) -> Option<Room> {
    let mut holders: Vec<&Holder> = holders
        .iter()
        .filter(|holder| holder.priority < wanted.priority)
        .collect();
    holders.sort_by_key(|holder| (holder.priority, std::cmp::Reverse(holder.sequence)));
    let floor = Floor::of(wanted);
    if floor.is_enough() {
        return None;
    }
    shrink(&floor, &holders)
        .map(Room::Shrink)
        .or_else(|| drain(&floor, &holders).map(Room::Drain))
}

/// Slots that are free, or would be.
#[derive(Clone)]
struct Floor<'a> {
    wanted: &'a Wanted,
    free: BTreeMap<&'a WorkerName, usize>,
    /// Workers with enough free slots.
    ready: usize,
}

impl<'a> Floor<'a> {
    fn of(wanted: &'a Wanted) -> Self {
        let free: BTreeMap<_, _> = wanted.free.iter().map(|(name, free)| (name, *free)).collect();
        let ready = free.values().filter(|free| **free >= wanted.slots_per_worker).count();
        Self { wanted, free, ready }
    }

    fn is_enough(&self) -> bool {
        self.ready >= self.wanted.workers
    }

    fn missing_on(&self, worker: &WorkerName) -> usize {
        let free = self.free.get(worker).copied().unwrap_or(usize::MAX);
        self.wanted.slots_per_worker.saturating_sub(free)
    }

    /// So many slots on a worker are given up, or (`back`) are not.
    fn change(&mut self, (worker, slots): &(WorkerName, usize), back: bool) {
        let needed = self.wanted.slots_per_worker;
        let Some(free) = self.free.get_mut(worker) else { return };
        let was_ready = *free >= needed;
        *free = if back { *free - slots } else { *free + slots };
        match (was_ready, *free >= needed) {
            (false, true) => self.ready += 1,
            (true, false) => self.ready -= 1,
            _ => {}
        }
    }

    fn give(&mut self, holder: &Holder) {
        holder.workers.iter().for_each(|part| self.change(part, false));
    }

    fn take_back(&mut self, holder: &Holder) {
        holder.workers.iter().for_each(|part| self.change(part, true));
    }

    /// How much of what is missing a gang has: slots that count on workers that are not ready yet.
    fn gain(&self, holder: &Holder) -> usize {
        let useful = holder.workers.iter();
        useful.map(|(worker, slots)| self.missing_on(worker).min(*slots)).sum()
    }
}

/// Workers that elastic gangs leave; the last in rank order first, so that rank 0 moves least.
fn shrink(floor: &Floor<'_>, holders: &[&Holder]) -> Option<Vec<(JobId, Vec<WorkerName>)>> {
    let mut floor = floor.clone();
    let mut given: Vec<(&Holder, Vec<&(WorkerName, usize)>)> = Vec::new();
    for holder in holders {
        let mut parts = Vec::new();
        for part in holder.workers.iter().rev() {
            if floor.is_enough() || parts.len() == holder.surplus {
                break;
            }
            if floor.free.contains_key(&part.0) && floor.missing_on(&part.0) > 0 {
                floor.change(part, false);
                parts.push(part);
            }
        }
        given.push((holder, parts));
    }
    if !floor.is_enough() {
        return None;
    }
    for (_, parts) in given.iter_mut().rev() {
        parts.retain(|part| {
            floor.change(part, true);
            let is_needed = !floor.is_enough();
            if is_needed {
                floor.change(part, false);
            }
            is_needed
        });
    }
    given.retain(|(_, parts)| !parts.is_empty());
    let left = |parts: Vec<&(WorkerName, usize)>| parts.into_iter().map(|(worker, _)| worker.clone()).collect();
    Some(
        given
            .into_iter()
            .map(|(holder, parts)| (holder.job.clone(), left(parts)))
            .collect(),
    )
}

/// Gangs that give up everything.
fn drain(floor: &Floor<'_>, holders: &[&Holder]) -> Option<Vec<JobId>> {
    let holders = needed_priorities(floor, holders)?;
    let alone = holders.iter().position(|holder| {
        let mut with = floor.clone();
        floor.gain(holder) > 0 && {
            with.give(holder);
            with.is_enough()
        }
    });
    if let Some(alone) = alone {
        return Some(vec![holders[alone].job.clone()]);
    }
    let lowest_first = without_idle(floor, holders.to_vec());
    let most_first = without_idle(floor, by_gain(floor, holders));
    let chosen = match most_first.len() < lowest_first.len() {
        true => most_first,
        false => lowest_first,
    };
    Some(chosen.into_iter().map(|holder| holder.job.clone()).collect())
}

/// The gangs up to the lowest priority with which there is enough.
fn needed_priorities<'a, 'b>(floor: &Floor<'_>, holders: &'b [&'a Holder]) -> Option<&'b [&'a Holder]> {
    let mut with = floor.clone();
    let enough = holders.iter().find_map(|holder| {
        with.give(holder);
        with.is_enough().then_some(holder.priority)
    })?;
    let end = holders.partition_point(|holder| holder.priority <= enough);
    Some(&holders[..end])
}

/// Gangs in an order in which each gives most of what is still missing, until nothing is.
fn by_gain<'a>(floor: &Floor<'_>, holders: &[&'a Holder]) -> Vec<&'a Holder> {
    let mut with = floor.clone();
    let mut left: BTreeSet<usize> = (0..holders.len()).collect();
    let mut chosen = Vec::new();
    while !with.is_enough() {
        let best = left
            .iter()
            .max_by_key(|number| (with.gain(holders[**number]), std::cmp::Reverse(**number)));
        let Some(best) = best.copied() else { break };
        left.remove(&best);
        with.give(holders[best]);
        chosen.push(holders[best]);
    }
    chosen
}

/// The first gangs that are enough, without those that the others make superfluous.
fn without_idle<'a>(floor: &Floor<'_>, holders: Vec<&'a Holder>) -> Vec<&'a Holder> {
    let mut with = floor.clone();
    let mut chosen = Vec::new();
    for holder in holders {
        if with.is_enough() {
            break;
        }
        with.give(holder);
        chosen.push(holder);
    }
    let mut kept = Vec::new();
    // What was taken last is of the highest priority, or the oldest: it is spared first.
    for holder in chosen.into_iter().rev() {
        with.take_back(holder);
        if !with.is_enough() {
            with.give(holder);
            kept.push(holder);
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests;

//! Which records need not be kept: those without which the journal is folded into the same state.
//!
//! Agents come and go for years, and most of it concerns no job. Candidates are old starts of the coordinator, and whole stays of a worker,
//! from its attachment to its loss, in which it had no process and was not taken out of use, once the worker has come back or was
//! forgotten. That is reasoning about what `apply` does; so before anything is dropped it is put to the proof: the journal is folded
//! without the candidates, and the result must equal the live state. If it does not, nothing is dropped.
//!
//! No record of a job is ever a candidate.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use firn_core::{
    Event, JobEvent, Record, State,
    identifiers::WorkerName,
    state::{Soft, Worker},
};
use tracing::{error, info};

use crate::journal::{JournalError, JournalReader, Position, Replayed};

/// Records of one commit of a compaction: few enough that nobody waits long for it.
const PART: usize = 1_000;

/// Numbers of records whose text can be dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Prunable(pub(super) BTreeSet<u64>);

impl Prunable {
    /// As many as one commit takes at a time.
    pub(super) fn parts(self) -> impl Iterator<Item = BTreeSet<u64>> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let rest = left.iter().nth(PART).copied().map(|next| left.split_off(&next));
            let part = std::mem::replace(&mut left, rest.unwrap_or_default());
            (!part.is_empty()).then_some(part)
        })
    }
}

/// Looks for records before `until` that need not be kept. `live` is the state there. Blocks for as long as two replays take.
pub(super) fn find(reader: &JournalReader, until: Position, live: &State) -> Result<Prunable, JournalError> {
    let mut search = Search::default();
    let folded = fold(reader, until, live, |sequence, record, state| {
        search.see(sequence, record, state);
        true
    })?;
    if !is_same(&folded, live) {
        error!(
            records = until.sequence,
            "the fold of the journal differs from the live state: nothing is compacted; please report this"
        );
        return Ok(Prunable::default());
    }
    let mut candidates = search.candidates;
    // It dates the state.
    candidates.remove(&until.sequence.saturating_sub(1));
    if candidates.is_empty() {
        return Ok(Prunable::default());
    }
    let without = fold(reader, until, live, |sequence, _, _| !candidates.contains(&sequence))?;
    if !is_same(&without, live) {
        error!(
            candidates = candidates.len(),
            "records that seemed to be of no effect have one: nothing is compacted; please report this"
        );
        return Ok(Prunable::default());
    }
    info!(
        records = candidates.len(),
        "records of no further effect lose their text, if their chain hash allows it"
    );
    Ok(Prunable(candidates))
}

/// Folds the records before `until` of which `keep` says so.
fn fold(
    reader: &JournalReader,
    until: Position,
    live: &State,
    mut keep: impl FnMut(u64, &Record, &State) -> bool,
) -> Result<State, JournalError> {
    let mut state = State::new(live.settings.clone());
    reader.replay_all(None, |sequence, replayed| match replayed {
        _ if sequence >= until.sequence => {}
        Replayed::Record(record) if keep(sequence, &record, &state) => firn_core::apply(&mut state, &record),
        Replayed::Record(_) => {}
        Replayed::RemovedJob => firn_core::pass_over_job(&mut state),
    })?;
    Ok(state)
}

/// Whether all that is journaled is the same. Records of jobs that were deleted may be gone from one of the two: with them went which of the
/// other ended jobs were still at hand, and what was held against workers.
fn is_same(left: &State, right: &State) -> bool {
    let durable = |state: &State| {
        let mut state = State {
            soft: Soft::default(),
            ..state.clone()
        }
        .shelved();
        for worker in Arc::make_mut(&mut state.workers).values_mut() {
            if !worker.failures.is_empty() {
                Arc::make_mut(worker).failures.clear();
            }
        }
        state
    };
    durable(left) == durable(right)
}

/// A walk over the records, with the state before each.
#[derive(Default)]
struct Search {
    candidates: BTreeSet<u64>,
    last_start: Option<u64>,
    workers: BTreeMap<WorkerName, Stays>,
}

/// What is known of one worker, since it was attached first or anew after it was forgotten.
#[derive(Default)]
struct Stays {
    /// Records of the present or last one.
    newest: Vec<u64>,
    /// Whether something happened in it that may be remembered of the worker.
    newest_counts: bool,
    /// Whether that holds for one before.
    earlier_count: bool,
}

impl Stays {
    /// The newest one is over and done with.
    fn supersede(&mut self, candidates: &mut BTreeSet<u64>) {
        let records = std::mem::take(&mut self.newest);
        if std::mem::take(&mut self.newest_counts) {
            self.earlier_count = true;
        } else {
            candidates.extend(records);
        }
    }
}

impl Search {
    fn see(&mut self, sequence: u64, record: &Record, before: &State) {
        match &record.event {
            Event::CoordinatorStarted { .. } => self.candidates.extend(self.last_start.replace(sequence)),
            Event::WorkerAttached(description) => {
                let known = before.workers.get(&description.name);
                let stays = self.workers.entry(description.name.clone()).or_default();
                if !known.is_some_and(|worker| Worker::is_attached(worker)) {
                    stays.supersede(&mut self.candidates);
                }
                stays.newest.push(sequence);
                stays.newest_counts |= has_process(before, &description.name);
            }
            Event::WorkerLost { worker, .. } => {
                let stays = self.workers.entry(worker.clone()).or_default();
                stays.newest.push(sequence);
                stays.newest_counts |= has_process(before, worker);
            }
            Event::WorkerForgotten { worker } => {
                let mut stays = self.workers.remove(worker).unwrap_or_default();
                if !stays.newest_counts && !stays.earlier_count && !has_process(before, worker) {
                    stays.supersede(&mut self.candidates);
                    self.candidates.insert(sequence);
                }
            }
            Event::WorkerAvailabilityChanged { worker, .. } => self.count(worker),
            Event::Job { event, .. } => match event {
                JobEvent::GangFormed { members, recruits, .. } => {
                    let places = members.iter().chain(recruits);
                    places.for_each(|member| self.count(&member.worker));
                }
                JobEvent::RanksRecruited { recruits, .. } => {
                    recruits.iter().for_each(|member| self.count(&member.worker));
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn count(&mut self, worker: &WorkerName) {
        self.workers.entry(worker.clone()).or_default().newest_counts = true;
    }
}

fn has_process(state: &State, worker: &WorkerName) -> bool {
    state.processes.values().any(|process| process.worker == *worker)
}

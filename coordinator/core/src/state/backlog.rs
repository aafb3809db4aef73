//! The jobs that wait for a gang, as they are served: by priority, namespace and submission.
//!
//! Each decision that hands out slots passes all of them, and ten thousand jobs with their specs lie far apart in memory. So what it needs of each
//! stands here in a row. All of it follows from the jobs and from what they are told: it is kept up with each event, made anew when a coordinator
//! starts, and never stored.

use std::cmp::Reverse;

use crate::identifiers::{JobId, Namespace};
use crate::now::Now;
use crate::shared_map::SharedMap;
use crate::state::{Job, Phase, Reason};

/// The rows of all jobs that wait for a gang and are not suspended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Backlog {
    lanes: SharedMap<LaneKey, Lane>,
}

/// Jobs of one namespace and priority.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lane {
    /// By their position in the order of submission.
    rows: SharedMap<u64, Row>,
    /// How many rows there are of each kind, so that it is seen at a glance whether any has to be told anything.
    kinds: SharedMap<Kind, usize>,
}

/// What rows have in common that ask for the same and were told the same.
pub type Kind = (Wish, Option<Reason>);

/// What a job that waits asks for, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Id of the job.
    pub job: JobId,
    /// It is not placed before this time.
    pub not_before: Now,
    /// What it asks for.
    pub wish: Wish,
    /// Why it was said to wait: the same as in [`crate::state::Soft::waiting`].
    pub reason: Option<Reason>,
}

/// What a job asks of the queue: its namespace, its resources and the workers that it selects, as a number. Jobs of equal wishes get equal
/// answers, unless workers are there for one of them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish(u128);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    priority: Reverse<u32>,
    namespace: Namespace,
}

/// Where the row of a job stands.
pub(crate) struct Seat {
    lane: LaneKey,
    sequence: u64,
}

impl Backlog {
    /// Of all jobs; `reason` is what each was told.
    pub fn of<'a>(jobs: impl IntoIterator<Item = &'a Job>, reason: impl Fn(&JobId) -> Option<Reason>) -> Self {
        let mut backlog = Self::default();
        for job in jobs {
            backlog.follow(None, job, reason(&job.id));
        }
        backlog
    }

    /// The lanes, each with its priority and namespace; the highest priority first.
    pub fn lanes(&self) -> impl Iterator<Item = (u32, &Namespace, &Lane)> {
        let lanes = self.lanes.iter();
        lanes.map(|(key, lane)| (key.priority.0, &key.namespace, lane))
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.lanes.values().flat_map(|lane| lane.rows.values())
    }

    /// Something happened to a job, which had this seat before: it waits, or it does not any more.
    pub(crate) fn follow(&mut self, before: Option<Seat>, job: &Job, reason: Option<Reason>) {
        if let Some(seat) = before {
            self.remove(&seat);
        }
        let Some(Seat { lane, sequence }) = Seat::of(job) else {
            return;
        };
        let row = Row::of(job, reason);
        match self.lanes.get_mut(&lane) {
            Some(rows) => rows.insert(sequence, row),
            None => {
                let mut rows = Lane::default();
                rows.insert(sequence, row);
                self.lanes.insert(lane, rows);
            }
        }
    }

    /// A job was told why it waits.
    pub(crate) fn tell(&mut self, job: &Job, reason: Option<Reason>) {
        let Some(Seat { lane, sequence }) = Seat::of(job) else {
            return;
        };
        if let Some(rows) = self.lanes.get_mut(&lane) {
            rows.tell(sequence, reason);
        }
    }

    /// A job is there no more.
    pub(crate) fn leave(&mut self, job: &Job) {
        if let Some(seat) = Seat::of(job) {
            self.remove(&seat);
        }
    }

    fn remove(&mut self, seat: &Seat) {
        let Some(rows) = self.lanes.get_mut(&seat.lane) else {
            return;
        };
        rows.remove(seat.sequence);
        if rows.rows.is_empty() {
            self.lanes.remove(&seat.lane);
        }
    }
}

impl Lane {
    /// Each row with its position in the order of submission, in that order.
    pub fn rows(&self) -> impl Iterator<Item = (u64, &Row)> {
        self.rows.iter().map(|(sequence, row)| (*sequence, row))
    }

    /// How many rows there are of each kind.
    pub fn kinds(&self) -> &SharedMap<Kind, usize> {
        &self.kinds
    }

    fn insert(&mut self, sequence: u64, row: Row) {
        self.count(row.kind());
        self.rows.insert(sequence, row);
    }

    fn tell(&mut self, sequence: u64, reason: Option<Reason>) {
        let Some(row) = self.rows.get_mut(&sequence) else {
            return;
        };
        let before = row.kind();
        row.reason = reason;
        let after = row.kind();
        self.count(after);
        self.discount(&before);
    }

    fn remove(&mut self, sequence: u64) {
        if let Some(kind) = self.rows.get(&sequence).map(Row::kind) {
            self.rows.remove(&sequence);
            self.discount(&kind);
        }
    }

    fn count(&mut self, kind: Kind) {
        match self.kinds.get_mut(&kind) {
            Some(count) => *count += 1,
            None => self.kinds.insert(kind, 1),
        }
    }

    fn discount(&mut self, kind: &Kind) {
        let Some(count) = self.kinds.get_mut(kind) else { return };
        *count -= 1;
        if *count == 0 {
            self.kinds.remove(kind);
        }
    }
}

impl Seat {
    /// `None`: the job waits for no gang.
    pub(crate) fn of(job: &Job) -> Option<Self> {
        job.is_queued().then(|| Self {
            lane: LaneKey {
                priority: Reverse(job.spec.scheduling.priority),
                namespace: Namespace::from(job.namespace()),
            },
            sequence: job.sequence,
        })
    }
}

impl Row {
    fn kind(&self) -> Kind {
        (self.wish, self.reason.clone())
    }

    fn of(job: &Job, reason: Option<Reason>) -> Self {
        let not_before = match &job.phase {
            Phase::Restarting(restart) => restart.not_before,
            _ => Now::default(),
        };
        Self {
            job: job.id.clone(),
            not_before,
            wish: Wish::of(job),
            reason,
        }
    }
}

impl Wish {
    fn of(job: &Job) -> Self {
        let asked = (
            job.namespace(),
            job.spec.resources,
            &job.spec.scheduling.worker_selector,
        );
        let json = serde_json::to_vec(&asked).expect("names and numbers are plain data");
        let hash = blake3::hash(&json);
        let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        Self(u128::from_le_bytes(*first))
    }
}

//! What is known only while this coordinator runs: leases, open streams, timers.
//!
//! None of it is journaled. All of it can be lost: `CoordinatorStarted` begins it anew, with time to come back for every worker that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::identifiers::{Generation, JobId, Namespace, ProcessId, StreamId, WorkerName};
use crate::now::Now;
use crate::shared_map::SharedMap;
use crate::state::backlog::Backlog;
use crate::state::pass::Pass;
use crate::state::{DeviceKind, Process, Serves, rank_activity};

/// Everything that is not journaled.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Soft {
    /// When this coordinator started, or woke after it could not hear anybody for a while.
    pub started_at: Now,
    /// Until when each attached worker counts as there without a further heartbeat.
    pub leases: Arc<Leases>,
    /// The open stream of each worker that is connected.
    pub streams: Arc<BTreeMap<WorkerName, StreamId>>,
    /// Who works on which shard.
    pub shard_leases: BTreeMap<(JobId, Pass), BTreeMap<u32, ProcessId>>,
    /// When each stop request was sent last.
    pub stop_sent: BTreeMap<ProcessId, Now>,
    /// Processes that their agents came back without, and until when the news of their ends may still come.
    pub missing: BTreeMap<ProcessId, Now>,
    /// Why each waiting job waits; as a sentence, [`Soft::wait`].
    pub waiting: SharedMap<JobId, Reason>,
    /// The jobs that wait for a gang, in the order in which they are served.
    pub backlog: Backlog,
    /// What those are told who stand in each line. It changes with the job ahead, and nothing else of those behind it does.
    pub lines: BTreeMap<Arc<Line>, Arc<str>>,
    /// Workers that were there under an earlier coordinator and have not come back yet.
    pub awaited: BTreeSet<WorkerName>,
    /// The end of the lease that the worker that came back last got with that: until then, others may still be on their way.
    pub returning_until: Now,
    /// When what has become possible is looked at, for all that happened until then; `None`: nothing is put off.
    pub settle_at: Option<Now>,
    /// When the next ended job will have been kept for long enough; `None`: none is deleted by its age.
    pub retention_at: Option<Now>,
    /// When each ended job expires that says itself for how long it is kept, first.
    pub expiries: BTreeSet<(Now, JobId)>,
    /// Jobs for which a timer runs: those that have a gang or wait for a restart.
    pub timed_jobs: BTreeSet<JobId>,
    /// When a process may be started in place of a lost one, for each job that waits for it.
    pub retries: BTreeMap<JobId, Now>,
    /// The newest pulse of each rank process.
    pub pulses: BTreeMap<ProcessId, Pulse>,
    /// Hashes of the trained state of each job's ranks, by step, until all ranks have sent theirs.
    pub state_hashes: BTreeMap<JobId, BTreeMap<u64, BTreeMap<ProcessId, String>>>,
    /// Processes that are to end: asked to, let go by their gang, or of a job that has ended.
    pub ending: BTreeSet<ProcessId>,
}

impl Soft {
    /// Forgets what is known of processes that are no longer there.
    pub(crate) fn keep_processes(&mut self, processes: &BTreeMap<ProcessId, Process>) {
        self.ending.retain(|id| processes.contains_key(id));
        self.stop_sent.retain(|id, _| processes.contains_key(id));
        self.missing.retain(|id, _| processes.contains_key(id));
        self.pulses.retain(|id, _| processes.contains_key(id));
    }

    /// The worker's agent is there; if it was awaited, others may still be on their way.
    pub(crate) fn open_stream(&mut self, worker: WorkerName, stream: StreamId) {
        if self.awaited.remove(&worker) {
            self.returning_until = self.leases.end(&worker).unwrap_or_default();
        }
        Arc::make_mut(&mut self.streams).insert(worker, stream);
    }

    /// Nobody was heard for `slept` milliseconds until `at`: leases do not run meanwhile, and none ends before `earliest`.
    pub(crate) fn wake(&mut self, at: Now, slept: u64, earliest: Now) {
        self.started_at = at;
        self.returning_until = self.returning_until + slept;
        Arc::make_mut(&mut self.leases).put_off(slept, earliest);
        for until in self.missing.values_mut() {
            *until = (*until + slept).max(earliest);
        }
    }

    /// Why a job waits just now; `None`: it does not wait.
    pub fn wait(&self, job: &JobId) -> Option<Wait> {
        match self.waiting.get(job)? {
            Reason::Own(wait) => Some(wait.clone()),
            Reason::Behind(line) => Some(Wait {
                waits_for: line.waits_for(),
                reason: self.lines.get(line)?.clone(),
            }),
        }
    }

    /// What those are told who stand in a line; `None`: nobody does.
    pub(crate) fn tell(&mut self, line: Arc<Line>, said: Option<Arc<str>>) {
        match said {
            Some(said) => self.lines.insert(line, said),
            None => self.lines.remove(&line),
        };
    }

    /// Whatever the job waited for, it does not any more.
    pub(crate) fn no_longer_waits(&mut self, job: &JobId) {
        // Most jobs do not wait, and then the list need not be copied.
        if self.waiting.contains_key(job) {
            self.waiting.remove(job);
        }
    }
}

/// Why a job waits, as it is kept: ten thousand jobs behind one that changes have nothing to change themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It lacks something itself.
    Own(Wait),
    /// Another one of its line comes first.
    Behind(Arc<Line>),
}

/// What jobs wait for behind the first that does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// Slots of workers that are alike.
    Slots {
        /// Whom the workers serve.
        serves: Serves,
        /// Their labels.
        labels: BTreeMap<String, String>,
        /// Of the slots.
        kind: DeviceKind,
    },
    /// The quota of a namespace.
    Quota(Namespace),
}

impl Line {
    /// What those in it wait for.
    pub fn waits_for(&self) -> WaitsFor {
        match self {
            Self::Slots { .. } => WaitsFor::Slots,
            Self::Quota(_) => WaitsFor::Quota,
        }
    }
}

/// Why a job waits just now, for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    /// What for.
    pub waits_for: WaitsFor,
    /// The same as a sentence with numbers.
    pub reason: Arc<str>,
}

/// What a job waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitsFor {
    /// Slots that are not there or that others hold.
    Slots,
    /// That its namespace holds less.
    Quota,
}

/// A sign of life of a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// When it came.
    pub at: Now,
    /// What the rank was doing.
    pub progress: Progress,
    /// Since when it has been doing just that, without any movement.
    pub since: Now,
    /// Milliseconds of the longest computation between two movements that was seen of this process.
    pub slowest: u64,
}

impl Pulse {
    /// What is known of the rank when it pulses now, and `last` was known before. How long it took from a time before `started_at`, when nobody
    /// was heard, is not known.
    pub(crate) fn after(last: Option<Self>, at: Now, progress: Progress, started_at: Now) -> Self {
        match last {
            Some(last) if last.progress == progress => Self { at, ..last },
            Some(last) => {
                let was_heard = last.since >= started_at;
                let took = match last.progress.computes() && last.progress.generation == progress.generation {
                    true if was_heard => at.since(last.since),
                    _ => 0,
                };
                Self {
                    at,
                    progress,
                    since: at,
                    slowest: last.slowest.max(took),
                }
            }
            None => Self {
                at,
                progress,
                since: at,
                slowest: 0,
            },
        }
    }
}

/// What a rank is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// In which formation.
    pub generation: Generation,
    /// In a word or two.
    pub activity: Arc<str>,
    /// Optimizer steps applied.
    pub steps_done: u64,
    /// Collective operations begun.
    pub sequence: u64,
    /// The one that runs; empty: none.
    pub operation: Arc<str>,
    /// Counts everything that moves.
    pub ticks: u64,
}

impl Progress {
    /// Whether the rank works for others, who may come to wait for it, and waits for nobody.
    pub fn computes(&self) -> bool {
        let works = [rank_activity::TRAINING, rank_activity::IN_A_PASS].contains(&&*self.activity);
        works && self.operation.is_empty()
    }
}

/// What a rank's trainable parameters and optimizer hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateHash {
    /// After so many optimizer steps.
    pub steps_done: u64,
    /// BLAKE3, hex.
    pub hash: String,
}

/// Ends of leases, in order, so that the next one is found without a walk over all workers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Leases {
    ends: BTreeMap<WorkerName, Now>,
    order: BTreeSet<(Now, WorkerName)>,
}

impl Leases {
    /// The lease of this worker ends then.
    pub fn renew(&mut self, worker: &WorkerName, end: Now) {
        self.drop_worker(worker);
        self.ends.insert(worker.clone(), end);
        self.order.insert((end, worker.clone()));
    }

    /// The worker holds no lease any more.
    pub fn drop_worker(&mut self, worker: &WorkerName) {
        if let Some(end) = self.ends.remove(worker) {
            self.order.remove(&(end, worker.clone()));
        }
    }

    /// All leases last so many milliseconds longer, and at least until `earliest`.
    pub fn put_off(&mut self, milliseconds: u64, earliest: Now) {
        for end in self.ends.values_mut() {
            *end = (*end + milliseconds).max(earliest);
        }
        self.order = self.ends.iter().map(|(worker, end)| (*end, worker.clone())).collect();
    }

    /// When this worker's lease ends.
    pub fn end(&self, worker: &WorkerName) -> Option<Now> {
        self.ends.get(worker).copied()
    }

    /// When the first lease ends.
    pub fn first_end(&self) -> Option<Now> {
        self.order.first().map(|(end, _)| *end)
    }

    /// The workers whose leases have ended.
    pub fn ended(&self, now: Now) -> impl Iterator<Item = &WorkerName> {
        self.order
            .iter()
            .take_while(move |(end, _)| *end <= now)
            .map(|(_, worker)| worker)
    }
}

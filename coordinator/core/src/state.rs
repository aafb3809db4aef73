//! All that the coordinator knows.
//!
//! Everything but [`State::soft`] is the fold of the journal's records. Lists that have an entry for each of ten thousand jobs or
//! workers are shared, so a clone of the whole state is cheap (what has an entry for each rank is copied): the shell may hand one to
//! readers, and `decide` works out later consequences of a decision on one.

pub mod access;
pub mod active_time;
pub mod backlog;
pub mod changes;
pub mod checkpoint;
pub mod dataset;
pub mod failure;
pub mod gang;
pub mod history;
pub mod job;
pub mod ledger;
pub mod pass;
pub mod rank_activity;
pub mod release;
pub mod request;
pub mod serves;
pub mod settings;
pub mod soft;
pub mod status;
pub mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use access::{Role, Scope, Token, TokenEnd, Tokens};
pub use active_time::ActiveTime;
pub use changes::JobChanges;
pub use checkpoint::{Checkpoint, RejectedCheckpoint};
pub use dataset::{Dataset, ModelSummary, QuarantinedSample, Shard, ShardTable, SplitManifest, SplitName, UnknownName};
pub use failure::{Cause, Ending, Failure, FailureReason, Gravity, JobEnd, Loss, Outcome, RankExit, RankReport};
pub use gang::{CollectiveKind, Gang, Member, MemberState, Origin, Restart, RunningGang};
pub use history::{Deletion, PastJob};
pub use job::{
    Artifact, Ended, Evaluation, Job, Phase, RegisteredDataset, RegisteredModel, Restored, Run, TrainingEnd,
};
pub use ledger::{CommittedStep, Ledger, RolledBack, Step, StepTiming};
pub use pass::{CompletedShard, Pass, PassProgress, ShardOutcome};
pub use release::{Release, Releasing};
pub use request::{Answer, Request, Requests};
pub use serves::Serves;
pub use settings::{Retention, Settings};
pub use soft::{Leases, Line, Progress, Pulse, Reason, Soft, StateHash, Wait, WaitsFor};
pub use status::{Condition, ConditionKind, ConditionStatus, Summary};
pub use worker::{
    Availability, DeviceKind, LivingProcess, LossReason, Presence, Process, Slot, StopRequest, Worker,
    WorkerDescription,
};

use crate::identifiers::{JobId, Namespace, ProcessId, WorkerName};
use crate::now::Now;
use crate::queue::quota::Quota;
use crate::shared_map::SharedMap;

/// The coordinator's state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Raised at every start of the coordinator; 0 before the first.
    pub coordinator_epoch: u64,
    /// The start with which the journal was put back from a backup last; `None`: it never was.
    #[serde(default)]
    pub restored_in: Option<u64>,
    /// When the newest record was made. The shell starts its clock no earlier, and no decision is dated before it.
    pub latest: Now,
    /// Jobs submitted so far.
    pub jobs_submitted: u64,
    /// Jobs that go on, and the newest of those that are over.
    pub jobs: SharedMap<JobId, Arc<Job>>,
    /// Jobs that have been over for longer.
    #[serde(default)]
    pub past: Arc<BTreeMap<JobId, PastJob>>,
    /// Jobs that are being deleted: nobody sees them, but their names are taken until their files are gone.
    #[serde(default)]
    pub erasing: BTreeSet<JobId>,
    /// All workers that ever attached and were not forgotten.
    pub workers: Arc<BTreeMap<WorkerName, Arc<Worker>>>,
    /// Rank processes that may be alive.
    pub processes: BTreeMap<ProcessId, Process>,
    /// The most that namespaces may hold, of those that have a limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quotas: BTreeMap<Namespace, Quota>,
    /// What marked calls were answered, so that a repeat is told the same. Shared, because it is long and seldom changes.
    pub requests: Arc<Requests>,
    /// Who was given access, beside those whom the shell lets in. Shared, because it may be long and seldom changes.
    #[serde(default)]
    pub tokens: Arc<Tokens>,
    /// Times and limits; not part of the history.
    #[serde(skip)]
    pub settings: Settings,
    /// What is known only while this coordinator runs.
    #[serde(skip)]
    pub soft: Soft,
}

impl State {
    /// Nothing has happened yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// A job by its id.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id).map(Arc::as_ref)
    }

    /// Whose a job is that anybody may see, whether it goes on or is over.
    pub fn namespace_of(&self, id: &JobId) -> Option<&str> {
        if self.erasing.contains(id) {
            return None;
        }
        let at_hand = self.job(id).map(|job| &job.spec.metadata.namespace);
        let past = || self.past.get(id).map(|past| &past.namespace);
        at_hand.or_else(past).map(String::as_str)
    }

    /// Jobs that have a gang, in the order of their ids. Those are few beside the ones that wait or are over: nobody walks over all for them.
    pub fn jobs_with_gangs(&self) -> impl Iterator<Item = &Arc<Job>> {
        let timed = self.soft.timed_jobs.iter().filter_map(|id| self.jobs.get(id));
        timed.filter(|job| job.gang().is_some())
    }

    /// Whether the agent of a worker is there and its stream is open.
    pub fn is_connected(&self, worker: &WorkerName) -> bool {
        self.soft.streams.contains_key(worker)
    }

    /// Whether an agent that attaches is there for a job that is over. Once it is, it stays so for this agent, whatever comes under the job's
    /// name; another agent in its place may be there for that.
    pub fn is_dismissed(&self, description: &WorkerDescription) -> bool {
        let known = self.workers.get(&description.name);
        let before = known.filter(|worker| worker.description.instance == description.instance);
        let is_over = |job: &JobId| self.end_of(job).is_some();
        before.is_some_and(|worker| worker.is_dismissed) || description.serves.job.as_ref().is_some_and(is_over)
    }

    /// Processes of a job that may be alive on workers that are there.
    pub fn live_processes<'a>(&'a self, job: &'a JobId) -> impl Iterator<Item = (&'a ProcessId, &'a Process)> {
        self.processes.iter().filter(move |(_, process)| {
            process.job == *job
                && self
                    .workers
                    .get(&process.worker)
                    .is_some_and(|worker| worker.is_attached())
        })
    }

    /// Whether a process is to hand over and leave: it was told to end, its worker is taken out of use, or its gang gives its slots back.
    pub fn is_leaving(&self, process: &ProcessId) -> bool {
        self.processes.get(process).is_some_and(|process| {
            let worker = self.workers.get(&process.worker);
            let is_released = self.job(&process.job).is_some_and(Job::is_released);
            process.leaving || is_released || worker.is_some_and(|worker| worker.availability.is_leaving())
        })
    }

    /// Whether the slot of a process will be free soon, whatever happens.
    pub fn is_ending(&self, process: &Process) -> bool {
        process.is_ending() || self.job(&process.job).is_some_and(Job::is_released)
    }
}

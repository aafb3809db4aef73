//! What is remembered of jobs that are over.
//!
//! The newest of them stay as they are, because people look at them. Of older ones the state keeps one row each; who wants to see such a job
//! folds its records anew. So neither the state nor its snapshots grow with the steps, epochs and files of a history.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identifiers::JobId;
use crate::now::Now;
use crate::state::{Job, JobEnd, Phase, State};

/// Ended jobs that stay as they are.
const AT_HAND: usize = 16;

/// A job that is over, of which only its records tell more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastJob {
    /// Position in the order of submission, from 0.
    pub sequence: u64,
    /// When it ended.
    pub ended_at: Now,
    /// How.
    pub end: JobEnd,
    /// Of the files that the coordinator keeps.
    pub bytes: u64,
    /// Whose it was; not kept by earlier programs, whose jobs were all of the default one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Files that the coordinator keeps and nobody has taken a copy of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfetched: Vec<String>,
    /// When it is deleted whatever else is kept; `None`: its spec does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Now>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

impl PastJob {
    /// What is to be remembered of a job; `None`: it goes on.
    pub fn of(job: &Job) -> Option<Self> {
        let Phase::Ended(ended) = &job.phase else { return None };
        let run = &job.run;
        let kept = run
            .artifacts
            .iter()
            .filter(|artifact| artifact.is_kept_by_coordinator());
        let checkpoints = run
            .checkpoints
            .iter()
            .filter(|checkpoint| checkpoint.location.is_none());
        let artifact_bytes: u64 = kept.clone().map(|artifact| artifact.size_bytes).sum();
        let checkpoint_bytes: u64 = checkpoints.map(|checkpoint| checkpoint.size_bytes).sum();
        let unfetched = kept.filter(|artifact| !run.fetched.contains(&artifact.name));
        let kept_for = job.spec.run_policy.ttl_seconds_after_finished;
        Some(Self {
            expires_at: kept_for.map(|seconds| ended.at + 1_000 * u64::from(seconds)),
            sequence: job.sequence,
            ended_at: ended.at,
            end: ended.outcome.end(),
            bytes: artifact_bytes + checkpoint_bytes,
            namespace: job.spec.metadata.namespace.clone(),
            unfetched: unfetched.map(|artifact| artifact.name.clone()).collect(),
        })
    }
}

/// Why a job is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deletion {
    /// A person wanted it.
    Asked,
    /// It ended as long ago as its spec says that it is kept.
    Expired,
    /// It ended longer ago than jobs are kept.
    TooOld {
        /// Milliseconds that jobs are kept.
        limit: u64,
    },
    /// There were more ended jobs than are kept.
    TooMany {
        /// Jobs that are kept.
        limit: u64,
    },
    /// The files of ended jobs took more room than they may.
    TooLarge {
        /// Bytes that they may take.
        limit: u64,
    },
}

impl std::fmt::Display for Deletion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked => write!(formatter, "a person asked for it"),
            Self::Expired => write!(
                formatter,
                "its spec.runPolicy.ttlSecondsAfterFinished have passed since its end"
            ),
            Self::TooOld { limit } => write!(formatter, "jobs are kept for {} seconds after their end", limit / 1000),
            Self::TooMany { limit } => write!(formatter, "{limit} ended jobs are kept"),
            Self::TooLarge { limit } => write!(formatter, "the files of ended jobs may take {limit} bytes"),
        }
    }
}

impl State {
    /// Whether a name is taken: by a job that goes on, is over, or is being deleted.
    pub fn knows(&self, id: &JobId) -> bool {
        self.jobs.contains_key(id) || self.past.contains_key(id) || self.erasing.contains(id)
    }

    /// How a job ended; `None`: it goes on, or nobody knows it.
    pub fn end_of(&self, id: &JobId) -> Option<JobEnd> {
        if self.erasing.contains(id) {
            return Some(JobEnd::Deleted);
        }
        let at_hand = || Some(self.job(id)?.outcome()?.end());
        let past = || Some(self.past.get(id)?.end);
        at_hand().or_else(past)
    }

    /// Every job that is over and not being deleted, whether or not it is still at hand.
    pub fn ended_jobs(&self) -> impl Iterator<Item = (&JobId, PastJob)> {
        let at_hand = self.jobs.iter().filter_map(|(id, job)| Some((id, PastJob::of(job)?)));
        let past = self.past.iter().map(|(id, past)| (id, past.clone()));
        at_hand.chain(past).filter(|(id, _)| !self.erasing.contains(*id))
    }

    /// Keeps but a row of ended jobs beyond the newest, once their processes are gone.
    pub(crate) fn shelve(&mut self) {
        self.shelve_beyond(AT_HAND);
    }

    /// The same state with no ended job at hand that need not be: equal for histories that differ in records of jobs that were deleted.
    #[must_use]
    pub fn shelved(mut self) -> Self {
        self.shelve_beyond(0);
        self
    }

    fn shelve_beyond(&mut self, at_hand: usize) {
        let ended = |job: &Arc<Job>| match &job.phase {
            Phase::Ended(ended) => Some((ended.at, job.sequence, job.id.clone())),
            _ => None,
        };
        let mut ended: Vec<_> = self.jobs.values().filter_map(ended).collect();
        let Some(excess) = ended.len().checked_sub(at_hand).filter(|excess| *excess > 0) else {
            return;
        };
        ended.sort_unstable();
        for (_, _, id) in ended.into_iter().take(excess) {
            if self.erasing.contains(&id) || self.processes.values().any(|process| process.job == id) {
                continue;
            }
            let row = self.jobs.get(&id).and_then(|job| PastJob::of(job));
            if let Some(row) = row {
                self.jobs.remove(&id);
                Arc::make_mut(&mut self.past).insert(id, row);
            }
        }
    }
}

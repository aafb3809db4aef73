//! Refusals: an input that is not followed has no effect at all, and the caller learns what was expected.

use thiserror::Error;

use crate::identifiers::{Generation, JobId, ProcessId, RequestId, TokenId, WorkerName};
use crate::spec::Violation;
use crate::state::{Pass, SplitName};

/// Why an input is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reject {
    /// No such job.
    #[error("job jobs/{job} does not exist")]
    JobNotFound {
        /// That was asked for.
        job: JobId,
    },
    /// No such token.
    #[error("token {token} does not exist, has expired or was revoked")]
    TokenNotFound {
        /// That was asked for.
        token: TokenId,
    },
    /// The job is over.
    #[error("job jobs/{job} has ended: {outcome}")]
    JobEnded {
        /// Id of the job.
        job: JobId,
        /// `succeeded`, `cancelled` or the failure.
        outcome: String,
    },
    /// The job has been over for so long that only its records tell how it ended.
    #[error("job jobs/{job} has ended")]
    JobOver {
        /// Id of the job.
        job: JobId,
    },
    /// A changed job could not be submitted so.
    #[error("the job would not be valid: {}", violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    InvalidJob {
        /// What is wrong with it.
        violations: Vec<Violation>,
    },
    /// The job is not over, so it cannot be deleted.
    #[error("job jobs/{job} has not ended, and only ended jobs are deleted: end it with `firn cancel {job}` first")]
    JobNotEnded {
        /// Id of the job.
        job: JobId,
    },
    /// The caller belongs to another formation.
    #[error("expected generation {expected} of jobs/{job}, found {found}")]
    StaleGeneration {
        /// Id of the job.
        job: JobId,
        /// That counts now.
        expected: Generation,
        /// That the caller has.
        found: Generation,
    },
    /// The caller is not, or no longer, of the gang.
    #[error("process {process} is not a living member of the gang of jobs/{job}")]
    NotAMember {
        /// Of this job.
        job: JobId,
        /// The caller.
        process: ProcessId,
    },
    /// Not all ranks have joined yet.
    #[error("the gang of jobs/{job} is not complete: {joined} of {world_size} ranks have joined")]
    GangIncomplete {
        /// Id of the job.
        job: JobId,
        /// Ranks that have joined.
        joined: usize,
        /// Ranks of the gang.
        world_size: usize,
    },
    /// The process belongs to no gang any more.
    #[error("process {process} of jobs/{job} is no longer wanted: {reason}")]
    Unwanted {
        /// Which job.
        job: JobId,
        /// Which process.
        process: ProcessId,
        /// Why it is not wanted, as a sentence.
        reason: String,
    },
    /// A newer coordinator has taken over.
    #[error("this coordinator is of epoch {ours}, and the caller has met epoch {theirs}: another has taken over")]
    StaleCoordinator {
        /// Of this coordinator.
        ours: u64,
        /// That the caller has met.
        theirs: u64,
    },
    /// The worker is not known.
    #[error("worker {worker} does not exist")]
    WorkerNotFound {
        /// Name of the worker.
        worker: WorkerName,
    },
    /// Somebody else than rank 0 does what only rank 0 may do.
    #[error("expected rank 0, found rank {rank}")]
    NotRankZero {
        /// The caller.
        rank: u32,
    },
    /// Something has to come first, or this is over.
    #[error("expected {expected}, found {found}")]
    OutOfOrder {
        /// What comes now.
        expected: String,
        /// What came.
        found: String,
    },
    /// Steps that leave a gap.
    #[error("expected step {expected}, found step {found}")]
    StepGap {
        /// The next one of the ledger.
        expected: u64,
        /// That came.
        found: u64,
    },
    /// Steps that the epoch does not have.
    #[error("epoch {epoch} ends before step {end}, found step {found}")]
    StepBeyondEpoch {
        /// The epoch, from 0.
        epoch: u32,
        /// One past its last step.
        end: u64,
        /// That came.
        found: u64,
    },
    /// A shard that the pass does not have.
    #[error("pass {pass} has {shards} shards, found shard {shard}")]
    NoSuchShard {
        /// Which pass.
        pass: Pass,
        /// Its shards.
        shards: u32,
        /// That came.
        shard: u32,
    },
    /// A sample that the split does not have.
    #[error("split {split} has {samples} samples, found sample {index}")]
    NoSuchSample {
        /// Which split.
        split: SplitName,
        /// Its samples.
        samples: u64,
        /// That came.
        index: u64,
    },
    /// A value that cannot be.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which one.
        field: &'static str,
        /// What was expected and found.
        reason: String,
    },
    /// Too many of something.
    #[error("at most {limit} {what} are taken")]
    LimitReached {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// A request id that stands for another call.
    #[error(
        "request id `{request}` was used before, for another call: expected the same call with the same content, or a new id"
    )]
    RequestReused {
        /// The id.
        request: RequestId,
    },
    /// A second agent under a name that lives.
    #[error("worker {worker} is attached already from host {host}")]
    WorkerNameTaken {
        /// The name.
        worker: WorkerName,
        /// Of the agent that has it.
        host: String,
    },
    /// An agent whose place another one has taken, as it was replaced.
    #[error("another agent has come in place of this one as worker {worker}, from host {host}")]
    WorkerReplaced {
        /// The name.
        worker: WorkerName,
        /// Of the agent that has it, or had it last.
        host: String,
    },
    /// The worker is not, or no longer, attached: its agent has to attach again.
    #[error("worker {worker} is not attached")]
    WorkerLost {
        /// Name of the worker.
        worker: WorkerName,
    },
    /// The stream was replaced by a newer one of the same agent.
    #[error("worker {worker} has attached by a newer stream")]
    StaleStream {
        /// Name of the worker.
        worker: WorkerName,
    },
}

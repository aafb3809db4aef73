//! Inputs: everything that can reach the coordinator, as the shell has already parsed it.

mod nature;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identifiers::{
    Generation, JobId, Namespace, ProcessId, RankIdentity, SecretHash, StreamId, TokenId, WorkerName,
};
use crate::metrics::bootstrap::Intervals;
use crate::queue::quota::Quota;
use crate::spec::JobSpec;
use crate::state::{
    Artifact, Checkpoint, Dataset, Failure, JobChanges, LivingProcess, ModelSummary, Pass, Progress, QuarantinedSample,
    RankExit, Request, Role, Scope, StateHash, Step, WorkerDescription,
};
use crate::task::Statistics;

pub use nature::Sender;

/// Something that happened outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// First input of every run of the coordinator, after the journal was replayed.
    CoordinatorStarted,
    /// The journal was put back from a backup, and nobody serves it yet. Given once, after the replay, by whoever puts it back.
    CoordinatorRestored,
    /// Time has passed: [`crate::deadline`] was reached.
    Tick,
    /// The shell could not take anything in for a while (the disk was slow, the process was stopped): what agents and ranks have said
    /// meanwhile is still on its way. Give it before the next `Tick`.
    Woken {
        /// For so many milliseconds.
        slept: u64,
    },
    /// A mutation that its client has marked, so that it acts once however often it arrives. Answer: that of the mutation, or the
    /// first answer again; refused with `RequestReused` if the mark stands for another call.
    Once {
        /// The mark.
        request: Request,
        /// What people ask for: a mutation whose answer [`crate::state::Answer`] can hold.
        mutation: Box<Input>,
    },
    /// A person submits a job. Answer: `Submitted`.
    Submit {
        /// Validated.
        spec: Arc<JobSpec>,
    },
    /// The same, but it is not placed until it is resumed. Answer: `Submitted`.
    SubmitSuspended {
        /// Validated, every default written out.
        spec: Arc<JobSpec>,
    },
    /// A person changes what may be changed of a job that goes on. Answer: `Done`.
    Update {
        /// Id of the job.
        job: JobId,
        /// The new values.
        changes: JobChanges,
    },
    /// A person ends a job; without effect if it has ended. Answer: `Done`.
    Cancel {
        /// Id of the job.
        job: JobId,
    },
    /// A person wants a job to hold no slots until it is resumed; without effect if it is suspended. Answer: `Done`.
    Suspend {
        /// Id of the job.
        job: JobId,
    },
    /// A person wants a suspended job to go on; without effect if it is not suspended. Answer: `Done`.
    Resume {
        /// Id of the job.
        job: JobId,
    },
    /// A person wants a job that is over to be gone, with all that it left. Answer: `Done`.
    Delete {
        /// Id of the job.
        job: JobId,
    },
    /// A copy of a file that a job left was taken completely. Answer: `Done`.
    ArtifactFetched {
        /// Which job.
        job: JobId,
        /// File name.
        artifact: String,
    },
    /// The files of a job that was deleted are gone. Answer: `Done`.
    JobErased {
        /// Id of the job.
        job: JobId,
        /// Bytes of its files.
        bytes: u64,
    },
    /// A person takes a worker out of use, or back into it. Answer: `Done`.
    DrainWorker {
        /// Name of the worker.
        worker: WorkerName,
        /// Back into use.
        undo: bool,
    },
    /// An administrator gives somebody access. Answer: `Done`.
    IssueToken {
        /// To whom, and to what.
        token: NewToken,
    },
    /// An administrator takes access back. Answer: `Done`.
    RevokeToken {
        /// Which token.
        token: TokenId,
    },
    /// An administrator gives a token another secret. Answer: `Done`.
    RotateToken {
        /// Which token.
        token: TokenId,
        /// Of the new secret.
        hash: SecretHash,
        /// Milliseconds for which the one before is taken, too.
        grace: u64,
    },
    /// A person sets the most that a namespace may hold. Answer: `Done`.
    SetQuota {
        /// Which.
        namespace: Namespace,
        /// `None`: without limit.
        quota: Option<Quota>,
    },
    /// An agent opened a stream. Answer: `Welcome`; send it before the effects of the same decision.
    AgentAttached {
        /// What it says of itself.
        description: WorkerDescription,
        /// Rank processes that are alive.
        processes: Vec<LivingProcess>,
        /// The stream, numbered by the shell.
        stream: StreamId,
    },
    /// A sign of life. Refused with `WorkerLost` or `StaleStream`: then end the stream, so that the agent attaches again.
    AgentHeartbeat {
        /// Name of the worker.
        worker: WorkerName,
        /// On which stream.
        stream: StreamId,
    },
    /// An agent's stream ended; its lease runs on.
    AgentDetached {
        /// Name of the worker.
        worker: WorkerName,
        /// Number of the stream.
        stream: StreamId,
    },
    /// An agent was told to end: its ranks hand over and leave.
    AgentDraining {
        /// Name of the worker.
        worker: WorkerName,
        /// On which stream.
        stream: StreamId,
    },
    /// An agent shuts down on purpose; its ranks have been stopped.
    AgentLeaving {
        /// Name of the worker.
        worker: WorkerName,
        /// On which stream.
        stream: StreamId,
    },
    /// An agent confirms the start of a process.
    RankStarted {
        /// The agent's worker.
        worker: WorkerName,
        /// Id of the process.
        process: ProcessId,
        /// At the operating system.
        pid: u32,
    },
    /// A rank process ended. Repeats are without effect.
    RankExited {
        /// The agent's worker.
        worker: WorkerName,
        /// Id of the process.
        process: ProcessId,
        /// How it ended: status, signal, and whether memory ran out.
        exit: RankExit,
    },
    /// A rank process asks what is to be done. Answer: `Enrolled`.
    RankEnrolled {
        /// Who; the generation does not matter.
        identity: RankIdentity,
    },
    /// A rank gives a sign of life. Answer: `News`, or `Wait` if there is none: ask [`crate::queries::news`] after each change.
    RankPulsed {
        /// Who; its generation is the one that it works in.
        identity: RankIdentity,
        /// What it does.
        progress: Progress,
        /// Hashes of what it has learned.
        hashes: Vec<StateHash>,
        /// It was told to end by somebody else.
        leaving: bool,
    },
    /// A rank enters the newest generation. Answer: `World`, or `Wait` until all have; ask [`crate::queries::world`] after each change.
    RankJoined {
        /// Who; its generation is the one that it leaves, 0 at first.
        identity: RankIdentity,
        /// `host:port` of its ring listener.
        ring_address: String,
        /// What it runs on.
        device: String,
        /// Optimizer steps that its state has.
        steps_done: u64,
        /// The formation in which the process took that state over; 0: it is the initial one.
        state_generation: Generation,
        /// Why it leaves a generation that still works.
        reason: String,
    },
    /// Rank 0 gives the unique id (`Some`), the others ask for it. Answer: `CollectiveId`, or `Wait` until it is there; ask
    /// [`crate::queries::collective_id`] after each change.
    CollectiveIdShared {
        /// The rank that calls.
        identity: RankIdentity,
        /// From rank 0.
        id: Option<Vec<u8>>,
    },
    /// A rank indexed the data. Answer: `Dataset`, or `JobFailed` if it found something else than another rank.
    DatasetRegistered {
        /// The rank that calls.
        identity: RankIdentity,
        /// What it found.
        dataset: Arc<Dataset>,
    },
    /// A rank loaded the model. Answer: `Done`, or `JobFailed` if its frozen part differs from another rank's.
    ModelRegistered {
        /// The rank that calls.
        identity: RankIdentity,
        /// What it loaded.
        model: ModelSummary,
    },
    /// A rank asks for work. Answer: `Shard`, `Complete`, or `Wait`; on `Wait` send the same input again after each change.
    ///
    /// A rank that asks while it holds a shard gets another one as long as there are any, then its own again.
    ShardRequested {
        /// The rank that calls.
        identity: RankIdentity,
        /// Of which pass; for test the epoch does not matter.
        pass: Pass,
        /// Shards that it has and works on.
        held: Vec<u32>,
    },
    /// A rank delivers a shard. Answer: `ShardCounted` (store the predictions in the same transaction) or `ShardRepeated` (do not), or
    /// `JobFailed` if it holds more corrupt samples than the spec allows.
    ShardCompleted {
        /// The rank that calls.
        identity: RankIdentity,
        /// Of which pass; for test the epoch does not matter.
        pass: Pass,
        /// Number of the shard in its pass.
        shard: u32,
        /// What it gave.
        report: ShardReport,
    },
    /// The shell has computed what only the predictions can tell, as [`crate::Effect::ScorePass`] asked. Answer: `Done`.
    PassScored {
        /// Which job.
        job: JobId,
        /// As in the effect.
        generation: Generation,
        /// Which pass, as in the effect.
        pass: Pass,
        /// The metrics that need single predictions, by name; undefined ones are left out.
        from_predictions: BTreeMap<String, f64>,
        /// Of the test split: where its metrics lie.
        intervals: Option<Intervals>,
        /// Of a validation: the threshold of each label with the highest F1, where the job tunes them; else empty.
        thresholds: Vec<f64>,
    },
    /// A pass cannot be scored, and no other attempt would change that: the job ends. Answer: `Done`.
    ScoringFailed {
        /// Which job.
        job: JobId,
        /// As in the effect.
        generation: Generation,
        /// Which pass, as in the effect.
        pass: Pass,
        /// What went wrong.
        reason: String,
    },
    /// Rank 0 commits steps; repeats are without effect. Answer: `StepsCommitted`.
    StepsCommitted {
        /// The rank that calls.
        identity: RankIdentity,
        /// In order, without a gap.
        steps: Vec<Step>,
    },
    /// A rank sets a sample aside. Answer: `Done`, or `JobFailed` if the spec's limit is exceeded.
    SampleQuarantined {
        /// The rank that calls.
        identity: RankIdentity,
        /// Split, position, and what is wrong with it.
        sample: QuarantinedSample,
    },
    /// Rank 0's checkpoint is durable under its digest; the record of this input makes it exist. Answer: `Done`.
    CheckpointStored {
        /// The rank that calls.
        identity: RankIdentity,
        /// Its digest, and the steps that it holds.
        checkpoint: Checkpoint,
    },
    /// A committed checkpoint cannot be read. Answer: `Done`, or `JobFailed` if no other is left.
    CheckpointRejected {
        /// The rank that calls.
        identity: RankIdentity,
        /// SHA-256 of its bytes, in hex.
        sha256: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The numbers broke: back to the newest checkpoint. Answer: `Done`, or `JobFailed` if that was tried before.
    RollbackRequested {
        /// The rank that calls.
        identity: RankIdentity,
        /// What it saw.
        reason: String,
    },
    /// An artifact is durable. Answer: `Done`.
    ArtifactStored {
        /// The rank that calls.
        identity: RankIdentity,
        /// Its name, digest and size.
        artifact: Artifact,
    },
    /// Rank 0 has stored all artifacts. Answer: `Done`.
    JobFinished {
        /// The rank that calls.
        identity: RankIdentity,
    },
    /// A rank says why it cannot go on; its exit follows. Answer: `Done`.
    RankFailed {
        /// The rank that calls.
        identity: RankIdentity,
        /// Why. Rank and host are filled in by the core.
        failure: Failure,
    },
}

/// A token that is to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Chosen by the shell.
    pub id: TokenId,
    /// What its bearer may do.
    pub role: Role,
    /// On what.
    pub scope: Scope,
    /// Whose it is, for people.
    pub description: String,
    /// Of its secret.
    pub hash: SecretHash,
    /// Milliseconds until it is refused; `None`: it is taken until it is revoked.
    pub lifetime: Option<u64>,
}

/// What a rank delivers for a shard.
#[derive(Debug, Clone, PartialEq)]
pub enum ShardReport {
    /// Of a scan.
    Scanned {
        /// Bytes of its samples.
        bytes_read: u64,
        /// BLAKE3, hex, of the contents in order.
        content_digest: String,
        /// Samples that cannot be read.
        corrupt: Vec<QuarantinedSample>,
    },
    /// Of an evaluation.
    Evaluated {
        /// What its predictions say.
        statistics: Statistics,
        /// Samples that could not be decoded.
        corrupt: Vec<QuarantinedSample>,
    },
}

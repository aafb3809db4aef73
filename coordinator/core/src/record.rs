//! Records: what has been decided, in the past tense. They are journaled before anything acts on them, and the state is their fold.
//!
//! The journal outlives programs: variants and fields are only ever added, and whatever policy chose stands in the record, so that an
//! upgraded policy replays an old journal to the same state.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identifiers::{Generation, JobId, Namespace, ProcessId, RequestId, SecretHash, TokenId, WorkerName};
use crate::now::Now;
use crate::queue::quota::Quota;
use crate::spec::JobSpec;
use crate::state::{
    Answer, Artifact, Availability, Cause, Checkpoint, CollectiveKind, Dataset, Deletion, Failure, JobChanges,
    LossReason, Member, ModelSummary, Origin, Outcome, Pass, QuarantinedSample, RankExit, Release, Request,
    ShardOutcome, ShardTable, SplitName, Step, StopRequest, Token, TokenEnd, TrainingEnd, WorkerDescription,
};
use crate::task::Metrics;

/// One journaled fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it was decided.
    pub at: Now,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A coordinator took over the journal.
    CoordinatorStarted {
        /// Raised at every start.
        epoch: u64,
    },
    /// The journal was put back from a backup: it takes over from every coordinator that has started since.
    CoordinatorRestored {
        /// Above that of any of them.
        epoch: u64,
    },
    /// An agent attached that is new, came back, or describes itself differently.
    WorkerAttached(WorkerDescription),
    /// A worker is gone.
    WorkerLost {
        /// Name of the worker.
        worker: WorkerName,
        /// Why it counts as gone.
        reason: LossReason,
    },
    /// A worker is taken out of use, or back into it.
    WorkerAvailabilityChanged {
        /// Name of the worker.
        worker: WorkerName,
        /// To what.
        availability: Availability,
    },
    /// A lost worker is no longer listed.
    WorkerForgotten {
        /// Name of the worker.
        worker: WorkerName,
    },
    /// A person has set the most that a namespace may hold.
    QuotaChanged {
        /// Which.
        namespace: Namespace,
        /// `None`: without limit.
        quota: Option<Quota>,
    },
    /// A marked mutation took effect: it is in the same commit, before this.
    RequestAnswered {
        /// The client's mark.
        request: Request,
        /// What every repeat is told.
        answer: Answer,
    },
    /// Somebody is given access.
    TokenIssued(Token),
    /// A token has another secret.
    TokenRotated {
        /// Which token.
        token: TokenId,
        /// Of the new secret.
        hash: SecretHash,
        /// The one before is taken until then.
        previous_until: Now,
    },
    /// The secret before the present one is not taken any more.
    TokenSecretDropped {
        /// Of which token.
        token: TokenId,
    },
    /// A token is not taken any more.
    TokenEnded {
        /// Which token.
        token: TokenId,
        /// Why.
        end: TokenEnd,
    },
    /// Something happened to a job.
    Job {
        /// Id of the job.
        job: JobId,
        /// What happened to it.
        event: JobEvent,
    },
}

/// What happened to a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum JobEvent {
    /// It entered the queue.
    Submitted {
        /// As it is stored.
        spec: Arc<JobSpec>,
        /// Only in journals of earlier programs, which had no [`Event::RequestAnswered`]: the client's mark.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
        /// Names its settings in checkpoints. The first program recorded none: see [`crate::state::Job::settings_digest`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings_digest: Option<String>,
    },
    /// Its settings are named otherwise than at its submission, before its first formation: so that ranks of the first program, which are known,
    /// can take part.
    SettingsNamed {
        /// Names them in checkpoints.
        digest: String,
    },
    /// Its ranks were chosen: processes that are new, or that live on from the formation before. Nothing of an older one counts any more.
    GangFormed {
        /// Number of the formation.
        generation: Generation,
        /// In rank order.
        members: Vec<Member>,
        /// Processes that prepare and are not members yet.
        recruits: Vec<Member>,
        /// Nobody was lost: ranks finish their step first.
        at_step_boundary: bool,
        /// The newest checkpoint is gone back to, whatever the ranks hold.
        rewind: bool,
    },
    /// Processes were asked for, to become members when they are ready.
    RanksRecruited {
        /// The formation that works meanwhile.
        generation: Generation,
        /// Where; their ranks are provisional.
        recruits: Vec<Member>,
    },
    /// Ranks or recruits are lost.
    RanksLost {
        /// Ids of the processes.
        processes: Vec<ProcessId>,
        /// What explains the loss.
        cause: Cause,
        /// Whether it counts against the limit of the spec.
        counts: bool,
        /// No process is started in their place earlier.
        retry_at: Now,
    },
    /// A rank has left a working gang because its peers left it, and is ready for the next formation.
    RankLeft {
        /// Id of the process.
        process: ProcessId,
        /// The formation that it leaves; 0 in journals of earlier programs.
        #[serde(default)]
        left: Generation,
        /// `host:port` of its new ring listener.
        ring_address: String,
        /// What it runs on.
        device: String,
        /// Optimizer steps that it has applied.
        steps_done: u64,
        /// What it says.
        reason: String,
    },
    /// A rank that was to leave is gone, or not waited for any more.
    RankReleased {
        /// Id of the process.
        process: ProcessId,
    },
    /// A rank is to leave: it was told to end, or its gang has more workers than it may.
    RankLeaving {
        /// Id of the process.
        process: ProcessId,
    },
    /// An agent confirmed the start of a rank process.
    RankStarted {
        /// Id of the process.
        process: ProcessId,
        /// At the operating system.
        pid: u32,
    },
    /// A rank announced itself.
    RankJoined {
        /// Id of the process.
        process: ProcessId,
        /// The formation that it leaves; 0: it comes for the first time, or the journal is of an earlier program.
        #[serde(default)]
        left: Generation,
        /// `host:port` of its ring listener.
        ring_address: String,
        /// What it runs on.
        device: String,
        /// Optimizer steps that it has applied.
        steps_done: u64,
    },
    /// The last rank joined. Steps that no rank has and no checkpoint holds are taken back, and so is what was evaluated with them.
    GangCompleted {
        /// How gradients are summed.
        collective: CollectiveKind,
        /// Where the trained state comes from.
        origin: Origin,
        /// Optimizer steps of that state.
        steps_done: u64,
        /// Steps of the ledger that stay.
        steps_kept: u64,
        /// Epochs of which all steps stay.
        epochs_kept: u32,
    },
    /// Rank 0 made the unique id.
    CollectiveIdShared {
        /// For NCCL: 128 bytes.
        id: Vec<u8>,
    },
    /// A rank process is to end.
    RankStopRequested {
        /// Id of the process.
        process: ProcessId,
        /// When and how.
        stop: StopRequest,
    },
    /// A rank process has ended.
    RankExited {
        /// Id of the process.
        process: ProcessId,
        /// How it ended: status, signal, and whether memory ran out.
        exit: RankExit,
    },
    /// A rank said why it cannot go on.
    RankFailureReported {
        /// Its number in the gang.
        rank: u32,
        /// Its process; `None` in journals of earlier programs.
        #[serde(default)]
        process: Option<ProcessId>,
        /// Reason, message and place.
        failure: Failure,
    },
    /// Its gang gives its slots back: the ranks hand over at the next step and leave, and it waits again.
    ReleaseRequested {
        /// Why.
        reason: Release,
    },
    /// A person changed what may be changed of a job that goes on.
    Updated {
        /// The new values.
        changes: JobChanges,
    },
    /// A person wants it to hold no slots until it is resumed.
    Suspended,
    /// A person wants it to go on.
    Resumed,
    /// All ranks are gone, and the job is to be formed again.
    RestartScheduled {
        /// What explains it; `None`: they left on purpose.
        cause: Option<Cause>,
        /// Not to be formed earlier.
        not_before: Now,
    },
    /// The first rank indexed the data.
    DatasetRegistered {
        /// What it found.
        dataset: Arc<Dataset>,
        /// How each split is cut.
        shards: BTreeMap<SplitName, ShardTable>,
        /// Its number in the gang.
        rank: u32,
        /// Its host.
        host: String,
    },
    /// The first rank loaded the model.
    ModelRegistered {
        /// What it loaded.
        model: ModelSummary,
        /// Its number in the gang.
        rank: u32,
        /// Its host.
        host: String,
    },
    /// A shard counts.
    ShardCompleted {
        /// Of which pass.
        pass: Pass,
        /// How the split is cut.
        shards: ShardTable,
        /// Number of the shard in its pass.
        shard: u32,
        /// Who delivered it.
        rank: u32,
        /// In which formation.
        generation: Generation,
        /// What it gave.
        outcome: ShardOutcome,
    },
    /// A sample was set aside.
    SampleQuarantined(QuarantinedSample),
    /// All shards of an evaluation are in, and its metrics are known.
    EvaluationCompleted {
        /// Validation or test.
        split: SplitName,
        /// After which the model was evaluated.
        epoch: u32,
        /// Merged over all shards.
        metrics: Box<Metrics>,
    },
    /// An epoch is over.
    EpochConcluded {
        /// Which, from 0.
        epoch: u32,
        /// The best so far.
        best_epoch: u32,
    },
    /// No further epoch is trained.
    TrainingEnded {
        /// The rule that ended it.
        end: TrainingEnd,
    },
    /// Steps count.
    StepsCommitted {
        /// The formation that commits them.
        generation: Generation,
        /// Its rank 0; not recorded by earlier programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<ProcessId>,
        /// Contiguous; the first is the next one of the ledger.
        steps: Vec<Step>,
    },
    /// The numbers broke, and the ranks go back to the newest checkpoint.
    RollbackRequested {
        /// By this rank.
        rank: u32,
        /// What it saw.
        reason: String,
    },
    /// A checkpoint cannot be read and no longer counts.
    CheckpointRejected {
        /// SHA-256 of its bytes, in hex.
        sha256: String,
        /// What is wrong with it.
        reason: String,
        /// The best epoch among those whose checkpoints are left.
        best_epoch: Option<u32>,
    },
    /// A checkpoint exists.
    CheckpointCommitted {
        /// Its digest, and the steps that it holds.
        #[serde(flatten)]
        checkpoint: Checkpoint,
        /// Whose; not recorded by earlier programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
    },
    /// Checkpoints are no longer needed.
    CheckpointsDropped {
        /// Their digests.
        sha256: Vec<String>,
    },
    /// A file was left.
    ArtifactStored {
        /// Its name, digest and size.
        #[serde(flatten)]
        artifact: Artifact,
        /// Who left it; not recorded by earlier programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
    },
    /// It is over.
    Ended {
        /// Whether it succeeded, failed or was cancelled.
        outcome: Outcome,
    },
    /// Somebody has taken a copy of a file that it left, for the first time.
    ArtifactFetched {
        /// Its file name.
        name: String,
    },
    /// It is to be deleted with all that it left, and nobody sees it any more.
    Deleted {
        /// Who asked for it, or which limit.
        reason: Deletion,
    },
    /// Its files are gone: its name is free. The journal ends its strand with this record.
    Erased {
        /// Bytes of its files.
        bytes: u64,
    },
}

/// The rank process that something was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The formation that it was in.
    pub generation: Generation,
    /// Id of the process.
    pub process: ProcessId,
}

impl Record {
    /// The job that the record is about, if it is about one.
    pub fn job(&self) -> Option<&JobId> {
        match &self.event {
            Event::Job { job, .. } => Some(job),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_programs_recorded_without_a_source_is_read() {
        let checkpoint = r#"{"CheckpointCommitted":{"epochs_done":1,"steps_done":3,"sha256":"ab","size_bytes":5,"location":null,"ends_epoch":true}}"#;
        let artifact =
            r#"{"ArtifactStored":{"name":"head.safetensors","size_bytes":5,"sha256":"ab","location":"coordinator"}}"#;
        for text in [checkpoint, artifact] {
            let event: JobEvent = serde_json::from_str(text).unwrap();
            assert!(matches!(
                event,
                JobEvent::CheckpointCommitted { source: None, .. } | JobEvent::ArtifactStored { source: None, .. }
            ));
            assert_eq!(serde_json::to_string(&event).unwrap(), text);
        }
    }
}

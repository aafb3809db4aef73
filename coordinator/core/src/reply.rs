//! Replies: what the caller is told once the records of a decision are durable.

use std::sync::Arc;

use crate::compatibility::{DataRules, Need};
use crate::identifiers::{Generation, JobId, ProcessId};
use crate::spec::JobSpec;
use crate::state::{Checkpoint, CollectiveKind, Dataset, Failure, Origin, Pass, QuarantinedSample, Shard};

/// The answer to an input; [`crate::Input`] says which one comes when.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The job exists under this id.
    Submitted(JobId),
    /// To an agent.
    Welcome(Welcome),
    /// What a rank process is to do.
    Enrolled {
        /// The stored spec.
        spec: Arc<JobSpec>,
        /// Names the settings of the job in checkpoints.
        settings_digest: String,
        /// By which rules its data are read.
        data_rules: DataRules,
        /// What the rank must know for it.
        need: Need,
        /// Raised at every start of the coordinator.
        coordinator_epoch: u64,
    },
    /// To a rank that pulses.
    News(News),
    /// The gang is complete.
    World(Box<World>),
    /// From rank 0.
    CollectiveId(Vec<u8>),
    /// The job's manifest.
    Dataset {
        /// As registered first.
        dataset: Arc<Dataset>,
        /// Set aside already.
        quarantined: Vec<QuarantinedSample>,
    },
    /// Work.
    Shard(Shard),
    /// The pass is complete; what comes next.
    Complete(Directive),
    /// Not yet: ask again after the next change of the state.
    Wait,
    /// The shard counts now.
    ShardCounted,
    /// The shard counted already; this delivery changed nothing.
    ShardRepeated,
    /// Steps in the ledger now.
    StepsCommitted(u64),
    /// What was delivered ended the job.
    JobFailed(Failure),
}

/// Greets an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Milliseconds between two heartbeats.
    pub heartbeat_interval: u64,
    /// Milliseconds without a heartbeat after which the worker counts as lost.
    pub lease: u64,
    /// Raised at every start of the coordinator.
    pub coordinator_epoch: u64,
    /// Processes to be killed.
    pub unwanted: Vec<ProcessId>,
    /// The job that the agent is there for, if nobody has submitted it yet.
    pub awaited_job: Option<JobId>,
}

/// What a rank needs to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// The formation.
    pub generation: Generation,
    /// Of the rank that asks.
    pub rank: u32,
    /// In rank order; as many as there are ranks.
    pub ring_addresses: Vec<String>,
    /// Where the trained state comes from.
    pub origin: Origin,
    /// Optimizer steps of that state.
    pub steps_done: u64,
    /// How gradients are summed.
    pub collective: CollectiveKind,
    /// What to do first.
    pub next: Directive,
    /// Raised at every start of the coordinator.
    pub coordinator_epoch: u64,
}

/// What a rank that pulses is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The newest formation.
    pub generation: Generation,
    /// Whether ranks of the one before finish their step first.
    pub at_step_boundary: bool,
    /// Steps in the ledger.
    pub steps_committed: u64,
    /// Raised at every start of the coordinator.
    pub coordinator_epoch: u64,
    /// The process is no longer wanted; why.
    pub stop: Option<String>,
    /// The process is to leave at the next step boundary.
    pub leave: Option<Leave>,
}

/// How a rank leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// Nobody stays: rank 0 stores a checkpoint first.
    pub store_checkpoint: bool,
}

/// What the gang does next. All ranks get the same one.
#[derive(Debug, Clone, PartialEq)]
pub enum Directive {
    /// Walk over a split.
    RunPass(Pass),
    /// Train this epoch; rank 0 stores the checkpoint; all run the validation pass of the epoch.
    TrainEpoch {
        /// From 0.
        epoch: u32,
        /// What the schedule is a curve below, in this epoch.
        peak_learning_rate: f64,
    },
    /// Load the best checkpoint, then run the test pass (complete at once without a test split).
    LoadBest {
        /// Its digest, and the steps that it holds.
        checkpoint: Checkpoint,
        /// Its epoch, from 0.
        epoch: u32,
    },
    /// Rank 0 writes the artifacts and finishes the job.
    Finish {
        /// Of which they are made.
        best: Checkpoint,
        /// Its epoch, from 0.
        best_epoch: u32,
    },
    /// Exit.
    Stop {
        /// Why, as a sentence for the log.
        reason: String,
    },
}

impl Directive {
    /// The pass that all ranks run when they have done what this says; its end gives the next directive.
    pub fn then(&self) -> Option<Pass> {
        match self {
            Self::TrainEpoch { epoch, .. } => Some(Pass::validation(*epoch)),
            Self::LoadBest { epoch, .. } => Some(Pass::test(*epoch)),
            Self::RunPass(_) | Self::Finish { .. } | Self::Stop { .. } => None,
        }
    }
}

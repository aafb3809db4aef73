//! The receipt: what a job's records say was used for what.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identifiers::{Generation, JobId, ProcessId, WorkerName};
use crate::now::Now;
use crate::state::{Artifact, Checkpoint, Dataset, Failure, ModelSummary, Origin, Outcome, Pass, QuarantinedSample};
use crate::task::{Metrics, Task};

/// What was found in the records of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// Id of the job.
    pub job: JobId,
    /// Records of the job that were walked.
    pub records: u64,
    /// Number of the first one.
    pub first_record: Option<u64>,
    /// And of the newest.
    pub last_record: Option<u64>,
    /// Epoch of the newest coordinator that is recorded.
    pub coordinator_epoch: u64,
    /// How the job ended; `None`: it goes on, and the receipt is of what is there so far.
    pub outcome: Option<Outcome>,
    /// Epochs that the spec asks for.
    pub epochs_wanted: u32,
    /// Samples of the training split; 0 before it is known.
    pub train_samples: u64,
    /// What it learns, once its submission was seen.
    pub task: Option<Task>,
    /// The manifest, once it is known.
    pub dataset: Option<Arc<Dataset>>,
    /// What was loaded, with the digest of the frozen part.
    pub model: Option<ModelSummary>,
    /// Formations, in order.
    pub generations: Vec<GenerationReceipt>,
    /// Epochs of which steps count, in order.
    pub epochs: Vec<EpochReceipt>,
    /// Passes that count, complete or not.
    pub passes: Vec<PassReceipt>,
    /// Steps that were taken back.
    pub rollbacks: Vec<RollbackReceipt>,
    /// What was lost on the way.
    pub losses: Vec<LossReceipt>,
    /// Every checkpoint that has existed, oldest first.
    pub checkpoints: Vec<CheckpointReceipt>,
    /// The epoch whose checkpoint is best.
    pub best_epoch: Option<u32>,
    /// The checkpoint that the result is made of.
    pub result: Option<Checkpoint>,
    /// Files that the job left, by name.
    pub artifacts: Vec<Artifact>,
    /// Samples that were set aside.
    pub quarantined: Vec<QuarantinedSample>,
}

/// One formation of the gang.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationReceipt {
    /// Its number.
    pub generation: Generation,
    /// When it was formed.
    pub at: Now,
    /// Its record.
    pub record: u64,
    /// Worker of each rank, in rank order.
    pub ranks: Vec<WorkerName>,
    /// The process of rank 0, which alone commits.
    pub rank_zero: Option<ProcessId>,
    /// Where its state came from, once all had joined.
    pub origin: Option<Origin>,
    /// Steps of that state.
    pub steps_done: u64,
    /// Steps that it committed, also those that were taken back later.
    pub steps_committed: u64,
}

/// One epoch of training.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochReceipt {
    /// From 0.
    pub epoch: u32,
    /// First step of it that counts.
    pub first_step: u64,
    /// One past the last.
    pub end_step: u64,
    /// Steps by the formation that committed them.
    pub generations: BTreeMap<Generation, u64>,
    /// Positions of the epoch's permutation that its steps cover.
    pub positions: u64,
    /// Samples that took part.
    pub samples: u64,
    /// Samples at these positions that were set aside.
    pub set_aside: u64,
    /// Steps whose update was skipped, because loss or gradient was not finite.
    pub skipped: u64,
    /// All steps of the epoch are there.
    pub is_complete: bool,
}

/// One walk over a split.
#[derive(Debug, Clone, PartialEq)]
pub struct PassReceipt {
    /// Kind, split and, where it has one, epoch.
    pub pass: Pass,
    /// Samples of the split.
    pub split_samples: u64,
    /// How many shards it has.
    pub shards: u32,
    /// Shards that count.
    pub shards_complete: u32,
    /// Samples that were scored; of a scan: that lie in the complete shards.
    pub samples: u64,
    /// Samples of the complete shards that were set aside.
    pub set_aside: u64,
    /// Shards by the formation that delivered them.
    pub generations: BTreeMap<Generation, u32>,
    /// It is over: every shard is there, and for an evaluation its metrics are.
    pub is_complete: bool,
    /// Of an evaluation that is over, as recorded.
    pub metrics: Option<Metrics>,
    /// Names of those that do not follow from what the shards delivered: they need the single predictions, or this build does not know them.
    pub unchecked_metrics: Vec<String>,
}

/// Steps `[from, to)` that were committed and taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackReceipt {
    /// First step that was taken back.
    pub from: u64,
    /// One past the last.
    pub to: u64,
    /// The formation that went on at `from`.
    pub generation: Generation,
    /// Its record.
    pub record: u64,
    /// The steps were computed again and count now.
    pub recomputed: bool,
}

/// A loss of ranks or workers.
#[derive(Debug, Clone, PartialEq)]
pub struct LossReceipt {
    /// The formation that they were lost from.
    pub generation: Generation,
    /// When it was learned.
    pub at: Now,
    /// Reason, message and place.
    pub failure: Failure,
}

/// A checkpoint that has existed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointReceipt {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The record that made it exist.
    pub record: u64,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is kept.
    Kept,
    /// It was no longer needed.
    Dropped,
    /// It could not be read, for this reason.
    Rejected(String),
}

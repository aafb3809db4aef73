//! A job: its phase, and what it has achieved so far, which outlives every gang.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identifiers::{Generation, JobId, WorkerName};
use crate::now::Now;
use crate::queue::order::Place;
use crate::queue::quota::Use;
use crate::spec::{JobSpec, MetricName, settings};
use crate::stage::Stage;
use crate::state::active_time::ActiveTime;
use crate::state::checkpoint::{Checkpoint, RejectedCheckpoint};
use crate::state::dataset::{Dataset, ModelSummary, QuarantinedSample, ShardTable, SplitName};
use crate::state::failure::{Loss, Outcome};
use crate::state::gang::{Gang, Member, Restart, RunningGang};
use crate::state::ledger::Ledger;
use crate::state::pass::{Pass, PassProgress};
use crate::state::release::{Release, Releasing};
use crate::state::status::Condition;
use crate::task::{Metrics, Schema};

/// One fine-tuning run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name, unique.
    pub id: JobId,
    /// Position in the order of submission, from 0.
    pub sequence: u64,
    /// As submitted, every default written out.
    pub spec: Arc<JobSpec>,
    /// As recorded; `None`: by a program that recorded none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_settings_digest: Option<String>,
    /// When it was submitted.
    pub created_at: Now,
    /// What it does now.
    pub phase: Phase,
    /// Number of the newest formation.
    pub generation: Generation,
    /// Ranks and workers that were lost, in order.
    pub losses: Vec<Loss>,
    /// Losses that count against the limit of the spec: those since the newest checkpoint.
    pub losses_counted: u32,
    /// Losses that counted and after which it went on, from the beginning. A gang that grows, or that ranks leave on purpose, has lost nobody.
    pub restarts: u32,
    /// No process is started in place of a lost one before this time.
    pub retry_at: Now,
    /// Processes that were started for a gang that worked already.
    pub recruited: u64,
    /// It is not placed until a person resumes it.
    #[serde(default)]
    pub suspended: bool,
    /// For how long it has been active.
    #[serde(default)]
    pub active: ActiveTime,
    /// Its gang gives its slots back.
    #[serde(default)]
    pub releasing: Option<Releasing>,
    /// What has been decided, in the order of [`crate::state::ConditionKind`].
    pub conditions: Vec<Condition>,
    /// What it has achieved.
    pub run: Run,
}

/// What a job does. Each variant holds just what is valid in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// Waits for its first gang.
    Queued,
    /// A gang was formed, of new or of living processes; not all have joined, or it has fewer workers than the spec asks for.
    Starting(Gang),
    /// All ranks have joined.
    Running(RunningGang),
    /// No process is left; waits to be formed again.
    Restarting(Restart),
    /// Over. Nothing changes an ended job.
    Ended(Ended),
}

/// A job that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Whether it succeeded, failed or was cancelled.
    pub outcome: Outcome,
    /// Time, by the engine's clock.
    pub at: Now,
    /// The ranks of the last formation.
    pub last: Vec<Member>,
}

impl Job {
    /// Names its settings in checkpoints, the same as long as the job lives.
    pub fn settings_digest(&self) -> String {
        let recorded = self.recorded_settings_digest.clone();
        recorded.unwrap_or_else(|| settings::digest_of_first_program(&self.spec))
    }

    /// What it belongs to.
    pub fn namespace(&self) -> &str {
        &self.spec.metadata.namespace
    }

    /// Where it stands among those that are to be served.
    pub fn place(&self) -> Place<'_> {
        Place {
            namespace: self.namespace(),
            priority: self.spec.scheduling.priority,
            sequence: self.sequence,
        }
    }

    /// Whether it waits for a gang.
    pub fn is_queued(&self) -> bool {
        matches!(self.phase, Phase::Queued | Phase::Restarting(_)) && !self.suspended
    }

    /// The job that its last gang gave its slots up to, if it waits since then.
    pub fn preempted_by(&self) -> Option<&JobId> {
        match &self.phase {
            Phase::Restarting(Restart {
                released: Some(Release::Preempted { by }),
                ..
            }) => Some(by),
            _ => None,
        }
    }

    /// What it holds of its namespace's quota.
    pub fn used(&self) -> Use {
        self.gang().map_or(Use::default(), |gang| Use {
            slots: (gang.living().count() + gang.recruits.len()) as u64,
            jobs: 1,
        })
    }

    /// The gang that holds slots, if any.
    pub fn gang(&self) -> Option<&Gang> {
        match &self.phase {
            Phase::Starting(gang) => Some(gang),
            Phase::Running(running) => Some(&running.gang),
            Phase::Queued | Phase::Restarting(_) | Phase::Ended(_) => None,
        }
    }

    /// Where the ranks run, or ran last.
    pub fn members(&self) -> &[Member] {
        match &self.phase {
            Phase::Queued => &[],
            Phase::Restarting(restart) => &restart.last,
            Phase::Ended(ended) => &ended.last,
            Phase::Starting(gang) | Phase::Running(RunningGang { gang, .. }) => &gang.members,
        }
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Ended(ended) => Some(&ended.outcome),
            _ => None,
        }
    }

    /// Workers on which members of the gang live.
    pub fn living_workers(&self) -> BTreeSet<&WorkerName> {
        self.gang()
            .into_iter()
            .flat_map(Gang::living)
            .map(|member| &member.worker)
            .collect()
    }

    /// Whether its gang gives its slots back on purpose.
    pub fn is_released(&self) -> bool {
        self.releasing.is_some() && self.gang().is_some()
    }

    /// Whether rank 0 writes the artifacts: what is left to do needs no slots but its own, and not for long.
    pub fn is_finishing(&self) -> bool {
        matches!(self.phase, Phase::Running(_)) && Stage::of(&self.run) == Stage::Finish
    }

    /// Whether fewer workers are left than the spec asks for.
    pub fn is_short(&self) -> bool {
        self.living_workers().len() < self.spec.resources.workers.min.max(1) as usize
    }
}

/// What a job has achieved; it outlives gangs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Run {
    /// The manifest, once a rank has indexed the data.
    pub dataset: Option<RegisteredDataset>,
    /// What the first rank loaded.
    pub model: Option<RegisteredModel>,
    /// Passes that were begun. Those of finished evaluations are dropped: their sums live on in `evaluations`.
    pub passes: BTreeMap<Pass, PassProgress>,
    /// Committed steps.
    pub ledger: Ledger,
    /// Checkpoints that exist, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Finished evaluations, in order.
    pub evaluations: Vec<Evaluation>,
    /// Epochs that are over: checkpoint committed and, with a validation split, evaluated.
    pub epochs_concluded: u32,
    /// The epoch whose checkpoint is best so far.
    pub best_epoch: Option<u32>,
    /// Set when no further epoch is trained.
    pub training_end: Option<TrainingEnd>,
    /// Samples that were set aside.
    pub quarantined: Vec<QuarantinedSample>,
    /// Files that the job left.
    pub artifacts: Vec<Artifact>,
    /// Names of those that somebody has taken a copy of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub fetched: BTreeSet<String>,
    /// When ranks began from a checkpoint, or from the beginning, last.
    #[serde(default)]
    pub restored: Option<Restored>,
    /// Times that the ranks went back to a checkpoint because their numbers broke.
    pub rollbacks: u32,
    /// Checkpoints that could not be read, newest last.
    pub rejected_checkpoints: Vec<RejectedCheckpoint>,
}

impl Run {
    /// The newest checkpoint: where a gang that is formed now goes on.
    pub fn resume(&self) -> Option<&Checkpoint> {
        self.checkpoints.last()
    }

    /// The checkpoint after an epoch (from 0); those within the next epoch are others.
    pub fn checkpoint_of_epoch(&self, epoch: u32) -> Option<&Checkpoint> {
        self.checkpoints
            .iter()
            .find(|checkpoint| checkpoint.epochs_done == epoch + 1 && checkpoint.ends_epoch)
    }

    /// The evaluation of a split after an epoch.
    pub fn evaluation(&self, split: SplitName, epoch: u32) -> Option<&Evaluation> {
        self.evaluations
            .iter()
            .find(|evaluation| evaluation.split == split && evaluation.epoch == epoch)
    }

    /// The thresholds of labels that were tuned on the validation of the best epoch; empty before training has ended, and where none are tuned.
    pub fn thresholds(&self) -> &[f64] {
        let best = self.training_end.and(self.best_epoch);
        let validation = best.and_then(|epoch| self.evaluation(SplitName::Validation, epoch));
        validation.map_or(&[], |validation| &validation.metrics.thresholds)
    }

    /// What the outputs mean where this split is scored: labels of test are predicted by the thresholds that were tuned. Empty before the data is known.
    pub fn schema_of(&self, split: SplitName) -> Schema<'_> {
        let registered = self.dataset.as_ref();
        let schema = registered.map_or(Schema::default(), |registered| registered.dataset.schema());
        match split {
            SplitName::Test => Schema {
                thresholds: self.thresholds(),
                ..schema
            },
            SplitName::Train | SplitName::Validation => schema,
        }
    }

    /// Whether a sample was set aside.
    pub fn is_quarantined(&self, split: SplitName, index: u64) -> bool {
        self.quarantined
            .iter()
            .any(|sample| sample.split == split && sample.index == index)
    }
}

/// A formation whose ranks began from a checkpoint, or from the beginning: what they had before beyond that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Number of the formation.
    pub generation: Generation,
    /// Optimizer steps of that state.
    pub steps_done: u64,
}

/// The job's manifest and who found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisteredDataset {
    /// The manifest.
    pub dataset: Arc<Dataset>,
    /// How each split is cut.
    pub shards: BTreeMap<SplitName, ShardTable>,
    /// The rank that came first.
    pub rank: u32,
    /// Its host.
    pub host: String,
}

/// What was loaded, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredModel {
    /// The model.
    pub model: ModelSummary,
    /// The rank that came first.
    pub rank: u32,
    /// Its host.
    pub host: String,
}

/// Exact metrics of one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Validation or test.
    pub split: SplitName,
    /// The epoch after which the model was evaluated, from 0.
    pub epoch: u32,
    /// Merged over all shards.
    pub metrics: Metrics,
    /// When it was complete.
    pub at: Now,
}

/// Why no further epoch is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum TrainingEnd {
    /// All epochs are done.
    AllEpochs,
    /// Nothing improved any more.
    EarlyStopped {
        /// What was watched.
        metric: MetricName,
        /// Evaluations without improvement.
        patience: u32,
        /// The best value of it; `None` if it was undefined throughout.
        best: Option<f64>,
    },
}

/// A file that a job left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// File name.
    pub name: String,
    /// Of the file.
    pub size_bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
    /// [`Artifact::COORDINATOR`], or the URI under which it lies.
    pub location: String,
}

impl Artifact {
    /// The location of what the coordinator keeps.
    pub const COORDINATOR: &str = "coordinator";

    /// Whether the coordinator keeps the file itself.
    pub fn is_kept_by_coordinator(&self) -> bool {
        self.location == Self::COORDINATOR
    }
}

//! `status` of the resource: what the operator writes, and `kubectl get` shows.

use firn_core::spec::Violation;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FineTuneJob;

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceStatus {
    /// Generation of the resource of which this is said.
    pub observed_generation: Option<i64>,
    /// One word: `Queued`, `Starting`, `Running`, `Suspending`, `Suspended`, `Succeeded`, `Failed` or `Cancelled`.
    pub summary: Option<String>,
    /// Name of the job at the coordinator.
    pub job: Option<String>,
    /// What has been decided, each with a reason and a sentence.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<StatusCondition>,
    /// How far training has come.
    pub progress: Option<TrainingProgress>,
    /// The best evaluation so far.
    pub best: Option<BestMetric>,
    /// The workers of the job.
    pub workers: Option<WorkerCounts>,
    /// Losses after which the job went on.
    pub restarts: Option<i64>,
    /// The newest losses of ranks and workers, newest last.
    pub losses: Vec<Loss>,
    /// Where its files lie: a URI, or `coordinator`.
    pub artifacts: Option<String>,
    /// When its first gang worked.
    pub start_time: Option<Time>,
    /// When it ended.
    pub completion_time: Option<Time>,
}

impl ResourceStatus {
    /// Of a resource whose job cannot be: every mistake by its field.
    pub fn refused(resource: &FineTuneJob, violations: &[Violation], now: Timestamp) -> Self {
        let mistakes: Vec<String> = violations.iter().map(ToString::to_string).collect();
        let before = resource.status.clone().unwrap_or_default();
        let failed = StatusCondition::new("Failed", true, "Misconfigured", &mistakes.join("; "));
        Self {
            observed_generation: resource.metadata.generation,
            summary: Some("Failed".to_owned()),
            conditions: vec![failed.since(&before, now)],
            ..Self::default()
        }
    }

    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&StatusCondition> {
        self.conditions.iter().find(|condition| condition.r#type == kind)
    }

    /// Puts a condition in place of the one of its type.
    pub fn set_condition(&mut self, condition: StatusCondition) {
        match self
            .conditions
            .iter_mut()
            .find(|known| known.r#type == condition.r#type)
        {
            Some(known) => *known = condition,
            None => self.conditions.push(condition),
        }
    }

    /// Whether nothing but the progress of training is different: how far it is, and how good at its best.
    pub fn differs_by_progress_alone(&self, other: &Self) -> bool {
        let with_progress = Self {
            progress: self.progress.clone(),
            best: self.best.clone(),
            ..other.clone()
        };
        *self == with_progress
    }
}

/// One thing that has been decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusCondition {
    /// What about: `Queued`, `Admitted`, `Running`, `Suspended`, `Succeeded` or `Failed`, which the coordinator decides; `PodsReady`, what its
    /// pods come to; `Reconciled`, which is there while the operator cannot do what it should.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase, for programs.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When `status` changed last.
    pub last_transition_time: Time,
    /// Generation of the resource of which this is said.
    #[serde(default)]
    pub observed_generation: Option<i64>,
}

impl StatusCondition {
    /// Types of conditions that the operator sets beside those of the coordinator.
    pub const OF_THE_OPERATOR: [&str; 1] = ["PodsReady"];

    /// At a time that [`since`](Self::since) sets.
    pub fn new(kind: &str, is_true: bool, reason: &str, message: &str) -> Self {
        Self {
            r#type: kind.to_owned(),
            status: if is_true { "True" } else { "False" }.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    /// It has been so since it was said first, or from `now` on. Whole seconds: the API server keeps no more.
    #[must_use]
    pub fn since(mut self, before: &ResourceStatus, now: Timestamp) -> Self {
        let known = before
            .condition(&self.r#type)
            .filter(|known| known.status == self.status);
        let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        self.last_transition_time = known.map_or(now, |known| known.last_transition_time.clone());
        self
    }

    /// Whether a person should look at it.
    pub fn is_bad(&self) -> bool {
        match self.r#type.as_str() {
            "Failed" => self.status == "True",
            "Reconciled" => self.status == "False",
            "PodsReady" => {
                let is_usual = ["PodsStarting", "WaitingForQueue", "Suspended"].contains(&self.reason.as_str());
                self.status == "False" && !is_usual
            }
            _ => false,
        }
    }
}

/// How far training has come.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TrainingProgress {
    /// Epochs that are over.
    pub epoch: i64,
    /// Epochs that are asked for.
    pub epochs: i64,
    /// Optimizer steps that count.
    pub step: i64,
    /// Optimizer steps of the whole job.
    pub steps: i64,
    /// Training loss of the newest step.
    pub loss: Option<f64>,
}

/// The best evaluation so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BestMetric {
    /// The metric that chooses the best checkpoint: `validation/accuracy`.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// The same, as `kubectl get` shows it.
    pub text: String,
    /// After which epoch, from 1.
    pub epoch: i64,
}

/// The workers of a job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkerCounts {
    /// Those whose ranks work.
    pub ready: i64,
    /// Fewest that the job works with.
    pub min: i64,
    /// Most that it takes.
    pub max: i64,
    /// `ready/max`, as `kubectl get` shows it.
    pub text: String,
}

/// A loss of a rank or a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// When.
    pub time: Time,
    /// CamelCase, for programs: `OutOfMemory`, `NodeFailures`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Name of the worker.
    #[serde(default)]
    pub worker: Option<String>,
    /// What the cluster says of the worker's pod: `OOMKilled`, `Evicted`, `DeletionByTaintManager`, `PreemptionByScheduler`, …
    #[serde(default)]
    pub cause: Option<String>,
}

//! `status` of the resource: what the operator writes, and `kubectl get` shows.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// One thing that has been decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusCondition {
    /// What about: `Queued`, `Admitted`, `Running`, `Suspended`, `Succeeded` or `Failed`.
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
}

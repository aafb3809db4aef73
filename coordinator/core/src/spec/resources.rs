//! Where a job runs, what it survives, and what it leaves behind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::uri;

/// Most workers that one job may take.
pub(super) const MOST_WORKERS: u32 = 10_000;

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesSpec {
    /// How many workers.
    pub workers: WorkersSpec,
    /// Ranks on each worker.
    #[schemars(range(min = 1, max = 1024), extend("default" = 1))]
    pub slots_per_worker: u32,
    /// Kind of slot.
    #[schemars(extend("default" = "auto"))]
    pub device: DeviceRequest,
}

/// How many workers a job takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkersSpec {
    /// Fewest workers the job starts with.
    #[schemars(range(min = 1, max = MOST_WORKERS), extend("default" = 1))]
    pub min: u32,
    /// Most workers it takes, at least `min`.
    #[schemars(range(min = 1, max = MOST_WORKERS), extend("x-firn-default" = "`min`"))]
    pub max: u32,
}

/// Kind of slot a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceRequest {
    /// GPUs where the workers have them, else CPUs; never both in one gang.
    Auto,
    /// CPU slots only.
    Cpu,
    /// GPU slots only.
    Gpu,
}

/// What a job survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartPolicy {
    /// Losses of ranks or workers that the job survives; each new checkpoint grants as many again. Losses within two seconds count as one,
    /// and preemption and draining do not count.
    #[schemars(range(max = 1_000_000), extend("default" = 3))]
    pub max_restarts: u32,
}

/// What is left behind, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactsSpec {
    /// A folder that all workers can write.
    #[serde(rename = "uri", default, with = "uri::optional")]
    #[schemars(
        with = "Option<uri::Uri>",
        extend("x-firn-default" = "the coordinator keeps the small files, and larger ones (the merged model) stay on the worker that wrote them")
    )]
    pub folder: Option<String>,
    /// Whether the full model with the new head is written, under the original key names.
    #[schemars(extend("default" = true))]
    pub merged_model: bool,
}

//! When a job runs, before which others, on which workers, and for how long. Only the coordinator reads it: no rank needs to know.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration;

/// Largest priority: that of the most urgent class that a Kubernetes cluster lets its users define.
const HIGHEST_PRIORITY: u32 = 1_000_000_000;

/// Where a job stands among others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingSpec {
    /// Jobs of a higher priority are served first.
    #[schemars(range(max = HIGHEST_PRIORITY), extend("default" = 0))]
    pub priority: u32,
    /// Whether running jobs of lower priority are drained where this one could not start otherwise. They lose no step, and go on when there is
    /// room again.
    #[schemars(extend("default" = "lower_priority"))]
    pub preemption_policy: PreemptionPolicy,
    /// Labels that a worker must have to be given this job (`firn-worker agent --label KEY=VALUE`).
    #[serde(default)]
    pub worker_selector: BTreeMap<String, String>,
}

/// Which running jobs have to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PreemptionPolicy {
    /// Those of lower priority.
    #[default]
    LowerPriority,
    /// None: it waits.
    Never,
}

/// How long a job may run, and how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunPolicy {
    /// Longest time from its first start to its end, the time in which it is suspended left out. Then it fails with the reason `DeadlineExceeded`.
    #[serde(rename = "activeDeadline", default, with = "duration::optional")]
    #[schemars(with = "Option<duration::Duration>", extend("x-firn-default" = "no limit"))]
    pub active_deadline_ms: Option<u64>,
    /// So many seconds after its end the job is deleted with all that the coordinator keeps of it; fetched or not.
    #[schemars(range(max = 315_360_000), extend("x-firn-default" = "as long as the coordinator's retention says"))]
    pub ttl_seconds_after_finished: Option<u32>,
}

//! What may be changed of a job that goes on.

use serde::{Deserialize, Serialize};

use crate::spec::JobSpec;

/// New values of fields of a spec; `None`: as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobChanges {
    /// `spec.resources.workers.min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers_min: Option<u32>,
    /// `spec.resources.workers.max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers_max: Option<u32>,
    /// `spec.scheduling.priority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

impl JobChanges {
    /// The spec with the new values.
    #[must_use]
    pub fn applied_to(&self, spec: &JobSpec) -> JobSpec {
        let mut changed = spec.clone();
        let workers = &mut changed.resources.workers;
        workers.min = self.workers_min.unwrap_or(workers.min);
        workers.max = self.workers_max.unwrap_or(workers.max);
        changed.scheduling.priority = self.priority.unwrap_or(changed.scheduling.priority);
        changed
    }
}

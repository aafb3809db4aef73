//! For which jobs a worker is there.
//!
//! A queue outside (a Kubernetes cluster's, a batch system's) charges a machine to one job. Its agent says so, and no other job is ever
//! placed on it. A job that has such workers may use shared ones, too: its selector says if it must not.

use serde::{Deserialize, Serialize};

use crate::identifiers::JobId;
use crate::state::Job;

/// Whom a worker serves: every job that is not excluded by one of these; all of them by default, as agents of builds before this did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Serves {
    /// This job alone. It need not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Jobs of this namespace alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl Serves {
    /// Whether nobody is excluded.
    pub fn is_shared(&self) -> bool {
        self.job.is_none() && self.namespace.is_none()
    }

    /// Whether a job may be placed here.
    pub fn includes(&self, job: &Job) -> bool {
        let namespace = &job.spec.metadata.namespace;
        self.job.as_ref().is_none_or(|only| *only == job.id)
            && self.namespace.as_ref().is_none_or(|only| only == namespace)
    }
}

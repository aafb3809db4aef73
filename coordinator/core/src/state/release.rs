//! A gang that gives its slots back on purpose: why, and since when.

use serde::{Deserialize, Serialize};

use crate::identifiers::JobId;
use crate::now::Now;

/// Why a gang gives its slots back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Release {
    /// A person suspended the job.
    Suspended,
    /// Another job has a better claim to the slots.
    Preempted {
        /// Id of that job.
        by: JobId,
    },
}

/// A release that is under way: it is over when the last rank is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Releasing {
    /// Why.
    pub reason: Release,
    /// Since when.
    pub at: Now,
}

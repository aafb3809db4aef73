//! What is known of a checkpoint; its file lies elsewhere.

use serde::{Deserialize, Serialize};

use crate::now::Now;

/// A checkpoint that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Epochs trained completely.
    pub epochs_done: u32,
    /// Steps applied.
    pub steps_done: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Of the file.
    pub size_bytes: u64,
    /// The URI under which it lies, if the coordinator does not keep it itself.
    #[serde(default)]
    pub location: Option<String>,
    /// Whether its last step is the last one of an epoch.
    pub ends_epoch: bool,
}

/// A checkpoint that no longer counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedCheckpoint {
    /// Its digest, and the steps that it holds.
    pub checkpoint: Checkpoint,
    /// What is wrong with it.
    pub reason: String,
    /// When that was seen.
    pub at: Now,
}

//! The resource `firn.dev/v1alpha1 FineTuneJob`.
//!
//! Its `spec` is the spec of a job, as `firn run` reads it, and beside it what only a cluster asks for ([`ClusterFields`]). The definition
//! that a cluster is given is made of the one schema of the spec, so that the API server refuses what the coordinator would refuse field by
//! field, and `kubectl explain` says what `firn explain` says. Defaults are not part of it: which of them a job gets depends on other fields,
//! and the coordinator writes them.

mod cluster;
mod definition;
mod kind;
mod rules;
mod status;
mod structural;

pub use cluster::{ClusterFields, WorkerTemplate};
pub use definition::{crd, crd_yaml};
pub use kind::{FineTuneJob, ResourceSpec};
pub use status::{BestMetric, Loss, ResourceStatus, StatusCondition, TrainingProgress, WorkerCounts};

/// Group of the resource.
pub const GROUP: &str = "firn.dev";
/// Version of the resource.
pub const VERSION: &str = "v1alpha1";
/// Name of the resource in paths.
pub const PLURAL: &str = "finetunejobs";

//! The pods that work for a job: one Indexed `batch/v1` Job for each resource, one pod for each worker.
//!
//! A queue such as Kueue governs a `batch/v1` Job by itself. The Job is made once, as wide as `workers.max`; what a queue or a scheduler then
//! writes into it (`suspend`, `parallelism`, node selectors, tolerations, scheduling gates) is theirs. A pod that is told to go before the job
//! is over ends with a status of its own, which the Job does not count, and is replaced under the same index.

pub mod identity;
mod job;
mod network;
mod pod;
mod settings;

pub use job::workers_job;
pub use network::network_policy;
pub use pod::PatchError;
pub use settings::WorkerSettings;

/// Label of everything that belongs to a resource: its name.
pub const JOB_LABEL: &str = "firn.dev/job";
/// Annotation of a Job: the digest of what its workers were given to show who they are, see [`identity`].
pub const IDENTITY_ANNOTATION: &str = "firn.dev/identity";
/// Annotation of a Job: when the coordinator took in the job that it was made for.
pub const RUN_ANNOTATION: &str = "firn.dev/run";
/// Annotation of a Job: the name of the token with which its pods come to the coordinator.
pub const TOKEN_ANNOTATION: &str = "firn.dev/token";
/// Annotation of a Job that the operator itself holds back, because a person has suspended the resource.
pub const SUSPENDED_ANNOTATION: &str = "firn.dev/suspended";
/// Label that gives a Job to a queue of Kueue.
pub const QUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";
/// Name of the container in a worker's pod.
pub const CONTAINER: &str = "worker";

/// Name of the Job that holds a resource's pods.
pub fn workers_name(resource: &crate::resource::FineTuneJob) -> String {
    format!("{}-workers", resource.metadata.name.as_deref().unwrap_or_default())
}

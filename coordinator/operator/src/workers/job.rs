//! A resource → its `batch/v1` Job.

use firn_core::spec::{JobSpec, KIND};
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::pod::{self, PatchError};
use super::{JOB_LABEL, TOLD_TO_GO, WorkerSettings};
use crate::resource::FineTuneJob;

/// Pods that fail are replaced for as long as the job lives: how many losses it survives is decided by the coordinator.
const BACKOFF_LIMIT: i32 = i32::MAX;

/// Labels and annotations of a resource that say which queue governs its pods.
const OF_QUEUES: [&str; 2] = ["kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"];

/// The Job of a resource whose job is called `name` at the coordinator.
///
/// # Errors
/// If the resource's own patch of the pods does not give pods.
pub fn workers_job(
    resource: &FineTuneJob,
    (name, spec): (&str, &JobSpec),
    settings: &WorkerSettings,
) -> Result<Job, PatchError> {
    let metadata = &resource.metadata;
    let own = metadata.name.as_deref().unwrap_or_default();
    let mut labels = json!({JOB_LABEL: own, "app.kubernetes.io/name": "firn-worker", "app.kubernetes.io/managed-by": "firn-operator"});
    for queue in OF_QUEUES {
        if let Some(value) = metadata.labels.as_ref().and_then(|labels| labels.get(queue)) {
            labels[queue] = json!(value);
        }
    }
    let workers = spec.resources.workers.max;
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": format!("{own}-workers"),
            "namespace": metadata.namespace,
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": firn_core::spec::API_VERSION,
                "kind": KIND,
                "name": own,
                "uid": metadata.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "completionMode": "Indexed",
            "parallelism": workers,
            "completions": workers,
            "suspend": resource.spec.cluster.suspend,
            "backoffLimit": BACKOFF_LIMIT,
            // A replacement comes when the pod is gone, so that no two have one index.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": failure_rules()},
            "template": pod::template(resource, (name, spec), settings)?,
        },
    });
    serde_json::from_value(job).map_err(|error| PatchError {
        reason: error.to_string(),
    })
}

/// What is no failure: a pod that the cluster took away, and one that was told to go.
fn failure_rules() -> Value {
    json!([
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"containerName": super::CONTAINER, "operator": "In", "values": [TOLD_TO_GO]}},
    ])
}

//! A resource → its `batch/v1` Job.

use firn_core::exit_status::TOLD_TO_GO;
use firn_core::spec::{JobSpec, KIND};
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::identity::SharedFiles;
use super::pod::{self, PatchError};
use super::{IDENTITY_ANNOTATION, JOB_LABEL, QUEUE_LABEL, WorkerSettings};
use crate::resource::FineTuneJob;

/// Pods that fail are replaced for as long as the job lives: how many losses it survives is decided by the coordinator.
const BACKOFF_LIMIT: i32 = i32::MAX;

/// Labels of a resource that say which queue governs its pods, and how.
const OF_QUEUES: [&str; 2] = [QUEUE_LABEL, "kueue.x-k8s.io/priority-class"];

/// Annotations that tell Kueue how few pods it may let in, and that the Job then has as many indices.
const FEWEST: &str = "kueue.x-k8s.io/job-min-parallelism";
const NARROWS_COMPLETIONS: &str = "kueue.x-k8s.io/job-completions-equal-parallelism";

/// The Job of a resource whose job is called `name` at the coordinator.
///
/// # Errors
/// If the resource's own patch of the pods does not give pods.
pub fn workers_job(
    resource: &FineTuneJob,
    (name, spec): (&str, &JobSpec),
    settings: &WorkerSettings,
    files: &SharedFiles,
) -> Result<Job, PatchError> {
    let metadata = &resource.metadata;
    let own = metadata.name.as_deref().unwrap_or_default();
    let mut labels = json!({JOB_LABEL: own, "app.kubernetes.io/name": "firn-worker", "app.kubernetes.io/managed-by": "firn-operator"});
    for queue in OF_QUEUES {
        if let Some(value) = metadata.labels.as_ref().and_then(|labels| labels.get(queue)) {
            labels[queue] = json!(value);
        }
    }
    let workers = &spec.resources.workers;
    let mut annotations = json!({IDENTITY_ANNOTATION: files.digest()});
    if labels.get(QUEUE_LABEL).is_some() && workers.min < workers.max {
        // A queue that has not room for all may let fewer in.
        annotations[FEWEST] = json!(workers.min.to_string());
        annotations[NARROWS_COMPLETIONS] = json!("true");
    }
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": super::workers_name(resource),
            "namespace": metadata.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner(resource)],
        },
        "spec": {
            "completionMode": "Indexed",
            "parallelism": workers.max,
            "completions": workers.max,
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

/// A resource as the owner of what is made for it.
pub(super) fn owner(resource: &FineTuneJob) -> Value {
    json!({
        "apiVersion": firn_core::spec::API_VERSION,
        "kind": KIND,
        "name": resource.metadata.name,
        "uid": resource.metadata.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

//! A resource, its job and its Job, as these stories begin with them.

use firn_operator::controller::{FINALIZER, Observed, PodsSeen, Remote, Step, Waited, plan};
use firn_operator::resource::{FineTuneJob, ResourceStatus};
use firn_operator::workers::IDENTITY_ANNOTATION;
use k8s_openapi::{api::batch::v1::Job, jiff::Timestamp};
use serde_json::{Value, json};

/// What the workers of these stories are given.
pub(crate) const IDENTITY: &str = "0011223344556677";
/// When these stories are told: 2026-11-29T12:00:00Z.
pub(crate) const NOW: i64 = 1_795_953_600;

pub(crate) fn resource(change: impl FnOnce(&mut Value)) -> FineTuneJob {
    let mut document = json!({
        "metadata": {"name": "ants", "namespace": "team-a", "uid": "0f3c", "generation": 2, "finalizers": [FINALIZER]},
        "spec": {
            "task": {"type": "classification"},
            "model": {"architecture": "resnet18"},
            "data": {"format": "imagefolder", "train": {"uri": "/data/train"}},
            "resources": {"workers": {"min": 1, "max": 2}},
        },
    });
    change(&mut document);
    serde_json::from_value(document).unwrap()
}

/// A job as wide as the resource asks for.
pub(crate) fn remote(summary: &str) -> Remote {
    Remote {
        id: "ants".to_owned(),
        workers: (1, 2),
        living: 2,
        is_at_rest: matches!(summary, "Queued" | "Suspended" | "Succeeded"),
        is_suspended: summary.starts_with("Suspend"),
        has_ended: summary == "Succeeded",
        status: ResourceStatus {
            summary: Some(summary.to_owned()),
            ..ResourceStatus::default()
        },
        ..Remote::default()
    }
}

pub(crate) fn pods(width: u32, suspended: bool) -> Job {
    serde_json::from_value(json!({
        "metadata": {"uid": "job", "annotations": {IDENTITY_ANNOTATION: IDENTITY}},
        "spec": {"parallelism": width, "completions": width, "suspend": suspended, "template": {}},
    }))
    .unwrap()
}

/// Nothing is known of pods.
pub(crate) const NO_PODS: &PodsSeen = &PodsSeen {
    pods: Vec::new(),
    hindrances: Vec::new(),
    workload: None,
};

/// What can be seen of a resource, its job and its pods.
pub(crate) fn seen<'a>(
    resource: &'a FineTuneJob,
    remote: Option<&'a Remote>,
    workers: Option<&'a Job>,
) -> Observed<'a> {
    Observed {
        resource,
        remote,
        silence: None,
        workers,
        pods: NO_PODS,
        identity: IDENTITY,
        has_lost_token: false,
        start_deadline: Some(600),
        waited: Waited::default(),
        now: Timestamp::from_second(NOW).unwrap(),
    }
}

/// The same, with pods.
pub(crate) fn seen_with<'a>(
    resource: &'a FineTuneJob,
    remote: &'a Remote,
    workers: &'a Job,
    pods: &'a PodsSeen,
) -> Observed<'a> {
    Observed {
        pods,
        ..seen(resource, Some(remote), Some(workers))
    }
}

/// The names of the steps, status apart.
pub(crate) fn steps(resource: &FineTuneJob, remote: Option<&Remote>, workers: Option<&Job>) -> Vec<Step> {
    let steps = plan(&seen(resource, remote, workers)).steps;
    steps
        .into_iter()
        .filter(|step| !matches!(step, Step::WriteStatus(_)))
        .collect()
}

pub(crate) fn written(resource: &FineTuneJob, remote: Option<&Remote>) -> Option<ResourceStatus> {
    let steps = plan(&seen(resource, remote, Some(&pods(2, false)))).steps;
    steps.into_iter().find_map(|step| match step {
        Step::WriteStatus(status) => Some(*status),
        _ => None,
    })
}

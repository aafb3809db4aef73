//! What is told of pods: that they run, what hinders them, and what became of those of lost workers.

use std::sync::Arc;

use firn_operator::controller::{PodsSeen, Step, plan};
use firn_operator::resource::{FineTuneJob, Loss};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{Event, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use serde_json::{Value, json};

use crate::scene::{NOW, pods, remote, resource, seen_with};

/// One pod of the Job of these stories.
fn pod(index: u32, status: Value) -> Arc<Pod> {
    let document = json!({
        "metadata": {"name": format!("ants-workers-{index}-abcde"), "uid": format!("pod-{index}"),
                     "creationTimestamp": "2026-11-29T11:59:00Z",
                     "annotations": {"batch.kubernetes.io/job-completion-index": index.to_string()}},
        "status": status,
    });
    Arc::new(serde_json::from_value(document).unwrap())
}

fn running(index: u32) -> Arc<Pod> {
    let container = json!({"name": "worker", "ready": true, "image": "x", "imageID": "", "restartCount": 0});
    pod(index, json!({"phase": "Running", "containerStatuses": [container]}))
}

pub(crate) fn waiting(index: u32, reason: &str, message: &str) -> Arc<Pod> {
    let container = json!({"name": "worker", "ready": false, "image": "x", "imageID": "", "restartCount": 0,
                           "state": {"waiting": {"reason": reason, "message": message}}});
    pod(index, json!({"phase": "Pending", "containerStatuses": [container]}))
}

fn event(about: &str, reason: &str, message: &str, at: &str) -> Arc<Event> {
    let document = json!({
        "metadata": {"name": "event"}, "involvedObject": {"uid": about},
        "reason": reason, "message": message, "lastTimestamp": at,
    });
    Arc::new(serde_json::from_value(document).unwrap())
}

/// Status, reason and message of the condition of the pods.
fn pods_ready(resource: &FineTuneJob, workers: &Job, pods: &PodsSeen) -> (String, String, String) {
    let plan = plan(&seen_with(resource, &remote("Queued"), workers, pods));
    let status = plan.steps.into_iter().find_map(|step| match step {
        Step::WriteStatus(status) => Some(*status),
        _ => None,
    });
    let condition = status.unwrap().condition("PodsReady").unwrap().clone();
    (condition.status, condition.reason, condition.message)
}

/// A pod for which there is no node.
fn unplaced() -> Arc<Pod> {
    pod(
        1,
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/2 nodes are available: 2 Insufficient cpu."}]}),
    )
}

/// A pod one of whose volumes is a claim that nobody has made.
fn without_claim() -> Arc<Pod> {
    pod(
        1,
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/2 nodes are available: persistentvolumeclaim \"photos\" not found. not found"}]}),
    )
}

/// Pods, what is said of them, and what the resource is to say: status, reason and message.
fn cases() -> Vec<Case> {
    let later = "2026-11-29T12:00:00Z";
    let unmounted = event("pod-1", "FailedMount", "secret \"weights\" not found", later);
    vec![
        (
            vec![running(0), running(1)],
            vec![],
            ("True", "PodsRunning", "2 of 2 pods run"),
        ),
        (
            vec![running(0), waiting(1, "ContainerCreating", "")],
            vec![],
            ("False", "PodsStarting", "1 of 2 pods run; pods are starting"),
        ),
        (
            vec![
                running(0),
                waiting(1, "ImagePullBackOff", "Back-off pulling image \"x\""),
            ],
            vec![],
            (
                "False",
                "ImagePullBackOff",
                "1 of 2 pods run; pod ants-workers-1-abcde: Back-off pulling image \"x\"",
            ),
        ),
        (
            vec![running(0), unplaced()],
            vec![],
            (
                "False",
                "Unschedulable",
                "1 of 2 pods run; pod ants-workers-1-abcde: 0/2 nodes are available: 2 Insufficient cpu.",
            ),
        ),
        (
            vec![running(0), without_claim()],
            vec![],
            (
                "False",
                "MissingClaim",
                "1 of 2 pods run; pod ants-workers-1-abcde: 0/2 nodes are available: persistentvolumeclaim \"photos\" not found. not found",
            ),
        ),
        (
            vec![running(0), waiting(1, "ContainerCreating", "")],
            vec![unmounted],
            (
                "False",
                "FailedMount",
                "1 of 2 pods run; pod ants-workers-1-abcde: secret \"weights\" not found",
            ),
        ),
    ]
}

/// The same of Jobs that get no pods.
fn cases_without_pods() -> Vec<Case> {
    let later = "2026-11-29T12:00:00Z";
    let refused = event("job", "FailedCreate", "exceeded quota: small", later);
    let of_another = event("job-2", "FailedCreate", "exceeded quota: large", later);
    let past = event("job", "FailedCreate", "exceeded quota: small", "2026-11-29T11:58:00Z");
    vec![
        (
            vec![running(0)],
            vec![of_another, refused],
            ("False", "FailedCreate", "1 of 2 pods run; exceeded quota: small"),
        ),
        // A pod has come since.
        (
            vec![running(0)],
            vec![past],
            ("False", "PodsStarting", "1 of 2 pods run; pods are starting"),
        ),
    ]
}

type Case = (
    Vec<Arc<Pod>>,
    Vec<Arc<Event>>,
    (&'static str, &'static str, &'static str),
);

#[test]
fn what_hinders_pods_is_told_with_its_reason() {
    for (all, hindrances, expected) in cases().into_iter().chain(cases_without_pods()) {
        let seen = PodsSeen {
            pods: all,
            hindrances,
            workload: None,
        };
        let told = pods_ready(&resource(|_| {}), &pods(2, false), &seen);
        assert_eq!((told.0.as_str(), told.1.as_str(), told.2.as_str()), expected);
    }
}

#[test]
fn pods_that_a_queue_has_not_let_in_wait_for_it() {
    let queued = resource(|document| document["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "night"}));
    let told = pods_ready(&queued, &pods(2, true), &PodsSeen::default());
    assert_eq!(
        (told.1.as_str(), told.2.as_str()),
        ("WaitingForQueue", "queue night has not let the pods in")
    );
}

#[test]
fn what_the_queue_says_is_told_in_its_words() {
    let queued = resource(|document| document["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "night"}));
    let condition = |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "reason": "x", "message": message, "lastTransitionTime": "2026-11-29T11:59:00Z"});
    let full =
        "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor plain, 1 more needed";
    let evicted = condition("Evicted", "True", "The ClusterQueue is stopped");
    let cases = [
        (vec![], "queue night has not let the pods in".to_owned()),
        (
            vec![condition("QuotaReserved", "False", full)],
            format!("queue night has not let the pods in: {full}"),
        ),
        (
            vec![condition("QuotaReserved", "True", "Quota reserved"), evicted.clone()],
            "queue night takes the pods back: The ClusterQueue is stopped".to_owned(),
        ),
        (
            vec![
                condition("QuotaReserved", "False", "ClusterQueue all is stopped"),
                evicted,
            ],
            "queue night has not let the pods in: ClusterQueue all is stopped".to_owned(),
        ),
        (
            vec![
                condition("QuotaReserved", "True", "Quota reserved"),
                condition("Admitted", "False", "The workload has not all checks ready."),
            ],
            "queue night has not let the pods in: The workload has not all checks ready".to_owned(),
        ),
    ];
    for (conditions, expected) in cases {
        let workload = json!({"metadata": {"name": "job-ants-workers"}, "status": {"conditions": conditions}});
        let seen = PodsSeen {
            workload: Some(Arc::new(serde_json::from_value(workload).unwrap())),
            ..PodsSeen::default()
        };
        let (_, reason, message) = pods_ready(&queued, &pods(2, true), &seen);
        assert_eq!((reason.as_str(), message), ("WaitingForQueue", expected));
        // Pods that were let in are told of themselves.
        assert_eq!(pods_ready(&queued, &pods(2, false), &seen).1, "PodsStarting");
    }
}

#[test]
fn the_cause_of_a_loss_is_what_became_of_the_pod_at_that_time() {
    let ended = |index: u32, at: &str, reason: &str| {
        let state = json!({"terminated": {"exitCode": 137, "reason": reason, "finishedAt": at}});
        let container =
            json!({"name": "worker", "ready": false, "image": "x", "imageID": "", "restartCount": 0, "state": state});
        pod(index, json!({"phase": "Failed", "containerStatuses": [container]}))
    };
    let seen = PodsSeen {
        pods: vec![
            ended(0, "2026-11-29T11:30:00Z", "Error"),
            ended(0, "2026-11-29T11:59:58Z", "OOMKilled"),
            ended(1, "2026-11-29T12:00:00Z", "Error"),
        ],
        hindrances: Vec::new(),
        workload: None,
    };
    let loss = |worker: &str| Loss {
        time: Time(Timestamp::from_second(NOW).unwrap()),
        reason: "NodeFailures".to_owned(),
        message: "lost".to_owned(),
        worker: Some(worker.to_owned()),
        cause: None,
    };
    let mut lost = remote("Running");
    lost.status.losses = ["ants-workers-0", "ants-workers-1", "ants-workers-2"]
        .map(loss)
        .to_vec();
    let causes = |resource: &FineTuneJob, seen: &PodsSeen| -> Vec<Option<String>> {
        let plan = plan(&seen_with(resource, &lost, &pods(2, false), seen));
        let steps = plan.steps.into_iter();
        let status = steps.filter_map(|step| match step {
            Step::WriteStatus(status) => Some(*status),
            _ => None,
        });
        let losses = status.flat_map(|status| status.losses);
        losses.map(|loss| loss.cause).collect()
    };
    let told = [Some("OOMKilled".to_owned()), Some("Error: status 137".to_owned()), None];
    assert_eq!(causes(&resource(|_| {}), &seen), told);
    // It stays when the pods are gone.
    let mut later = resource(|_| {});
    let mut before = lost.status.clone();
    before.losses[0].cause = Some("OOMKilled".to_owned());
    later.status = Some(before);
    assert_eq!(causes(&later, &PodsSeen::default())[0], Some("OOMKilled".to_owned()));
}

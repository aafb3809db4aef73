//! Jobs that wait in vain are given up in time, and no others.

use std::sync::Arc;

use firn_operator::controller::{Outlook, Plan, PodsSeen, Remote, Step, Waited, plan};
use firn_operator::resource::{FineTuneJob, ResourceStatus, StatusCondition};
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use serde_json::{Value, json};

use crate::pods::waiting;
use crate::scene::{pods, remote, resource, seen, seen_with};

/// A resource on which a condition stands, and that is `suspended` or not.
fn told(kind: &str, reason: &str, suspended: bool) -> FineTuneJob {
    resource(|document| {
        let condition = StatusCondition::new(kind, false, reason, "0 of 2 pods run; no");
        document["spec"]["suspend"] = json!(suspended);
        document["status"] = json!({"summary": "Queued", "conditions": [condition]});
    })
}

/// A job that has never worked.
fn idle() -> Remote {
    Remote {
        living: 0,
        ..remote("Queued")
    }
}

fn hindered(reason: &str) -> PodsSeen {
    let pods: Vec<Arc<Pod>> = vec![waiting(0, reason, "")];
    PodsSeen {
        pods,
        ..PodsSeen::default()
    }
}

/// The plan for pods that cannot be pulled, after so many seconds of it.
fn after(resource: &FineTuneJob, remote: &Remote, seconds: Option<u32>) -> Plan {
    let (job, seen_pods) = (pods(2, false), hindered("ErrImagePull"));
    let mut seen = seen_with(resource, remote, &job, &seen_pods);
    seen.waited.for_pods = seconds;
    plan(&seen)
}

fn status_of(plan: &Plan) -> &ResourceStatus {
    let Some(Step::WriteStatus(status)) = plan.steps.last() else {
        panic!("{plan:?}")
    };
    status
}

#[test]
fn a_job_whose_pods_cannot_start_is_given_up_in_time_and_one_that_has_worked_is_not() {
    let known = told("PodsReady", "ImagePullBackOff", false);
    let early = after(&known, &idle(), Some(590));
    assert_eq!((early.look_in, early.steps.contains(&Step::Cancel)), (Some(10), false));
    assert_eq!(early.outlook, Outlook::Vain);
    assert!(after(&known, &idle(), Some(600)).steps.contains(&Step::Cancel));
    let mut worked = idle();
    worked.status.start_time = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(after(&known, &worked, Some(900)).look_in, None);

    // It has failed then, and says why.
    let mut cancelled = remote("Cancelled");
    cancelled.has_ended = true;
    let end = after(&known, &cancelled, Some(600));
    let failed = status_of(&end).condition("Failed").unwrap();
    assert_eq!(
        (failed.reason.as_str(), failed.message.as_str()),
        ("PodsCannotStart", "0 of 2 pods run; no")
    );
    assert_eq!(status_of(&end).summary.as_deref(), Some("Failed"));
}

#[test]
fn a_job_is_not_given_up_before_the_reason_stands_on_it_nor_for_what_was_before() {
    // However long pods have been starting, or had no node.
    for reason in ["PodsStarting", "Unschedulable"] {
        let known = told("PodsReady", reason, false);
        let seen = after(&known, &idle(), None);
        assert_eq!((seen.look_in, seen.steps.contains(&Step::Cancel)), (Some(600), false));
        let seen = after(&known, &idle(), Some(700));
        assert_eq!((seen.look_in, seen.steps.contains(&Step::Cancel)), (Some(1), false));
        assert_eq!(status_of(&seen).condition("PodsReady").unwrap().reason, "ErrImagePull");
    }
}

#[test]
fn what_a_person_has_suspended_waits_in_vain_for_nothing() {
    let seen_later = after(&told("PodsReady", "ErrImagePull", true), &idle(), Some(900));
    assert_eq!(
        (seen_later.look_in, seen_later.steps.contains(&Step::Cancel)),
        (None, false)
    );
    let refused = told("Reconciled", "ClusterRefused", true);
    let suspended = remote("Suspended");
    let mut seen = seen(&refused, Some(&suspended), None);
    seen.waited.for_job = Some(900);
    let plan = plan(&seen);
    assert_eq!((plan.is_last_try, plan.steps.contains(&Step::Cancel)), (false, false));
    // What was refused is not asked for any more.
    assert_eq!(status_of(&plan).condition("Reconciled"), None);
}

#[test]
fn a_job_whose_pods_the_cluster_refuses_to_hear_of_is_tried_once_more_before_it_is_given_up() {
    for reason in ["ClusterRefused", "InvalidTemplate"] {
        let refused = told("Reconciled", reason, false);
        let idle = idle();
        let tried = |seconds: Option<u32>| {
            let mut seen = seen(&refused, Some(&idle), None);
            seen.waited.for_job = seconds;
            let plan = plan(&seen);
            assert_eq!(plan.steps[0], Step::CreateWorkers);
            assert!(!plan.steps.contains(&Step::Cancel), "{plan:?}");
            plan.is_last_try
        };
        // What an operator before this one has written counts for nothing.
        assert_eq!([None, Some(599), Some(600)].map(tried), [false, false, true]);
    }

    let mut cancelled = remote("Cancelled");
    cancelled.has_ended = true;
    let refused = told("Reconciled", "ClusterRefused", false);
    let end = plan(&seen(&refused, Some(&cancelled), None));
    let failed = status_of(&end).condition("Failed").unwrap();
    assert_eq!(
        (failed.reason.as_str(), failed.message.as_str()),
        ("PodsCannotStart", "0 of 2 pods run; no")
    );
}

#[test]
fn once_there_is_a_job_nothing_is_said_of_its_refusal_any_more() {
    let (made, job) = (told("Reconciled", "ClusterRefused", false), pods(2, false));
    let idle = idle();
    let nothing = PodsSeen::default();
    let mut seen = seen_with(&made, &idle, &job, &nothing);
    seen.waited = Waited {
        for_job: Some(900),
        ..Waited::default()
    };
    let plan = plan(&seen);
    assert!(!plan.steps.contains(&Step::Cancel), "{plan:?}");
    assert_eq!(status_of(&plan).condition("Reconciled"), None);
}

#[test]
fn a_job_without_pods_is_made_anew_for_the_queue_that_the_resource_names_now() {
    let label = |queue: &str| json!({"kueue.x-k8s.io/queue-name": queue});
    let named = resource(|document| document["metadata"]["labels"] = label("night"));
    let idle = idle();
    let decided = |labels: Value, suspended: bool| {
        let mut job: Job = pods(2, suspended);
        job.metadata.labels = serde_json::from_value(labels).unwrap();
        plan(&seen(&named, Some(&idle), Some(&job))).steps[0] == Step::DeleteWorkers
    };
    assert!(decided(json!({}), true) && decided(label("day"), true));
    assert!(!decided(label("night"), true) && !decided(label("day"), false));
}

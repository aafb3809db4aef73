//! Which steps are taken, and in which order.

use std::{collections::BTreeMap, sync::Arc};

use firn_operator::controller::{Observed, PodsSeen, Remote, Silence, Step, plan};
use firn_operator::resource::{FineTuneJob, ResourceStatus};
use firn_operator::workers::{IDENTITY_ANNOTATION, QUEUE_LABEL, RUN_ANNOTATION, SUSPENDED_ANNOTATION};
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::{Value, json};

use crate::scene::{NOW, pods, remote, resource, seen, seen_with, steps, written};

#[test]
fn a_new_resource_is_held_then_submitted_then_given_pods() {
    let new = resource(|document| document["metadata"]["finalizers"] = json!([]));
    assert_eq!(steps(&new, None, None), [Step::AddFinalizer]);
    let held = resource(|_| {});
    assert_eq!(steps(&held, None, None), [Step::Submit { suspended: false }]);
    assert_eq!(steps(&held, Some(&remote("Queued")), None), [Step::CreateWorkers]);
    assert_eq!(steps(&held, Some(&remote("Running")), Some(&pods(2, false))), []);
}

#[test]
fn the_job_is_followed_until_it_is_over() {
    let held = resource(|_| {});
    for (summary, follow) in [
        ("Queued", true),
        ("Running", true),
        ("Suspended", true),
        ("Succeeded", false),
    ] {
        let remote = remote(summary);
        let plan = plan(&seen(&held, Some(&remote), Some(&pods(2, false))));
        assert_eq!(plan.follow, follow, "{summary}");
    }
}

#[test]
fn pods_go_when_the_ranks_of_a_suspended_job_have_left_and_come_before_it_goes_on() {
    let suspended = resource(|document| document["spec"]["suspend"] = json!(true));
    assert_eq!(steps(&suspended, None, None), [Step::Submit { suspended: true }]);
    assert_eq!(
        steps(&suspended, Some(&remote("Running")), Some(&pods(2, false))),
        [Step::Suspend]
    );
    assert_eq!(
        steps(&suspended, Some(&remote("Suspending")), Some(&pods(2, false))),
        []
    );
    assert_eq!(
        steps(&suspended, Some(&remote("Suspended")), Some(&pods(2, false))),
        [Step::SuspendWorkers(true)]
    );
    assert_eq!(steps(&suspended, Some(&remote("Suspended")), Some(&pods(2, true))), []);
    let goes_on = resource(|_| {});
    assert_eq!(
        steps(&goes_on, Some(&remote("Suspended")), Some(&pods(2, true))),
        [Step::SuspendWorkers(false), Step::Resume]
    );
}

#[test]
fn pods_come_before_a_job_may_use_them_and_go_after_its_ranks_have_left() {
    let update = |max| Step::Update {
        workers: (1, max),
        priority: 0,
    };
    let wide = resource(|document| document["spec"]["resources"]["workers"]["max"] = json!(4));
    let running = remote("Running");
    assert_eq!(
        steps(&wide, Some(&running), Some(&pods(2, false))),
        [Step::ScaleWorkers(4), update(4)]
    );

    let narrow = resource(|document| document["spec"]["resources"]["workers"]["max"] = json!(1));
    assert_eq!(steps(&narrow, Some(&running), Some(&pods(2, false))), [update(1)]);
    let told = Remote {
        workers: (1, 1),
        ..running
    };
    assert_eq!(
        steps(&narrow, Some(&told), Some(&pods(2, false))),
        [],
        "two workers still live"
    );
    let left = Remote { living: 1, ..told };
    assert_eq!(
        steps(&narrow, Some(&left), Some(&pods(2, false))),
        [Step::ScaleWorkers(1)]
    );
}

#[test]
fn pods_of_a_job_that_the_coordinator_has_lost_are_made_anew() {
    let ants = resource(|_| {});
    let taken_in = |run: &str| Remote {
        run: run.to_owned(),
        ..remote("Queued")
    };
    let mut made = pods(2, false);
    // An operator before this one noted nothing.
    assert_eq!(steps(&ants, Some(&taken_in("1.5")), Some(&made)), []);
    let noted = made.metadata.annotations.get_or_insert_default();
    noted.insert(RUN_ANNOTATION.to_owned(), "1.5".to_owned());
    assert_eq!(steps(&ants, Some(&taken_in("1.5")), Some(&made)), []);
    assert_eq!(steps(&ants, Some(&taken_in("7.0")), Some(&made)), [Step::DeleteWorkers]);
    assert_eq!(steps(&ants, Some(&taken_in("7.0")), None), [Step::CreateWorkers]);
}

#[test]
fn pods_whose_token_the_coordinator_has_lost_are_made_anew() {
    let (held, remote, workers) = (resource(|_| {}), remote("Queued"), pods(2, false));
    let mut lost = seen(&held, Some(&remote), Some(&workers));
    lost.has_lost_token = true;
    assert_eq!(plan(&lost).steps[0], Step::DeleteWorkers);
    // Then the Job is gone, and with it what was known of its token.
    assert_eq!(steps(&held, Some(&remote), None), [Step::CreateWorkers]);
}

#[test]
fn a_change_of_priority_is_carried_over() {
    let urgent = resource(|document| document["spec"]["scheduling"] = json!({"priority": 9}));
    let update = Step::Update {
        workers: (1, 2),
        priority: 9,
    };
    assert_eq!(steps(&urgent, Some(&remote("Queued")), Some(&pods(2, false))), [update]);
}

#[test]
fn where_a_queue_governs_the_pods_it_alone_says_how_many_there_are() {
    let queued = resource(|document| {
        document["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "night"});
        document["spec"]["resources"]["workers"]["max"] = json!(4);
    });
    let told = Remote {
        workers: (1, 4),
        ..remote("Queued")
    };
    let mut waiting = pods(1, true);
    waiting.metadata.labels = Some(BTreeMap::from([(QUEUE_LABEL.to_owned(), "night".to_owned())]));
    assert_eq!(steps(&queued, Some(&told), Some(&waiting)), []);
    assert_eq!(steps(&queued, Some(&told), None), [Step::CreateWorkers]);
}

#[test]
fn a_queue_that_takes_in_every_job_is_not_fought() {
    let told = Remote {
        workers: (1, 4),
        ..remote("Queued")
    };
    let wider = |suspended: bool| {
        resource(|document| {
            document["spec"]["suspend"] = json!(suspended);
            document["spec"]["resources"]["workers"]["max"] = json!(4);
        })
    };
    let asleep = Remote {
        workers: (1, 4),
        ..remote("Suspended")
    };
    // By a label that the namespace's default queue has put on the Job, or by a Workload alone.
    let mut labelled = pods(2, true);
    labelled.metadata.labels = Some(BTreeMap::from([(QUEUE_LABEL.to_owned(), "default".to_owned())]));
    let workload = PodsSeen {
        workload: Some(Arc::default()),
        ..PodsSeen::default()
    };
    let cases = [(labelled, PodsSeen::default()), (pods(2, true), workload)];
    for (job, pods_seen) in &cases {
        let steps = |suspended: bool, remote: &Remote| {
            let resource = wider(suspended);
            let steps = plan(&seen_with(&resource, remote, job, pods_seen)).steps.into_iter();
            steps
                .filter(|step| !matches!(step, Step::WriteStatus(_)))
                .collect::<Vec<_>>()
        };
        assert_eq!(steps(false, &told), []);
        assert_eq!(steps(true, &asleep), [Step::DeleteWorkers]);
    }
    // Nothing is made for it to take in before the job goes on.
    assert_eq!(steps(&wider(true), Some(&asleep), None), []);
    assert_eq!(
        steps(&wider(false), Some(&asleep), None),
        [Step::CreateWorkers, Step::Resume]
    );
    // Whoever holds it back, it was not the operator; and if it was, it lets go.
    let mut held = pods(4, true);
    assert_eq!(steps(&wider(false), Some(&told), Some(&held)), []);
    held.metadata
        .annotations
        .get_or_insert_default()
        .insert(SUSPENDED_ANNOTATION.to_owned(), "true".to_owned());
    assert_eq!(
        steps(&wider(false), Some(&told), Some(&held)),
        [Step::SuspendWorkers(false)]
    );
}

#[test]
fn a_queue_is_asked_for_nothing_while_a_person_has_suspended_the_job() {
    let queued = |suspended: bool| {
        resource(|document| {
            document["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "night"});
            document["spec"]["suspend"] = json!(suspended);
        })
    };
    // Its ranks leave first; then the Job goes, whether the queue has let it in or not.
    let workers = Some(&pods(2, false));
    assert_eq!(steps(&queued(true), Some(&remote("Running")), workers), [Step::Suspend]);
    assert_eq!(steps(&queued(true), Some(&remote("Suspending")), workers), []);
    assert_eq!(
        steps(&queued(true), Some(&remote("Suspended")), workers),
        [Step::DeleteWorkers]
    );
    let waiting = Some(&pods(2, true));
    assert_eq!(
        steps(&queued(true), Some(&remote("Suspended")), waiting),
        [Step::DeleteWorkers]
    );
    assert_eq!(steps(&queued(true), Some(&remote("Suspended")), None), []);
    // It stands in the queue anew when it goes on.
    assert_eq!(
        steps(&queued(false), Some(&remote("Suspended")), None),
        [Step::CreateWorkers, Step::Resume]
    );
}

#[test]
fn what_cannot_be_a_job_is_refused_with_every_field_and_never_submitted() {
    let broken = resource(|document| {
        document["spec"]["data"]["train"] = json!({"uri": "relative"});
        document["spec"]["resources"]["workers"] = json!({"min": 3, "max": 2});
    });
    assert_eq!(steps(&broken, None, None), []);
    let status = written(&broken, None).unwrap();
    assert_eq!(
        (status.summary.as_deref(), status.observed_generation),
        (Some("Failed"), Some(2))
    );
    let condition = &status.conditions[0];
    assert_eq!(
        (condition.r#type.as_str(), condition.reason.as_str()),
        ("Failed", "Misconfigured")
    );
    for field in ["spec.data.train.uri", "spec.resources.workers.max"] {
        assert!(condition.message.contains(field), "{}", condition.message);
    }
}

#[test]
fn a_status_is_written_only_when_it_changes() {
    let running = remote("Running");
    let before = resource(|_| {});
    let mut now = written(&before, Some(&running)).unwrap();
    assert_eq!(
        (now.summary.as_deref(), now.observed_generation),
        (Some("Running"), Some(2))
    );
    let mut after = resource(|_| {});
    after.status = Some(now.clone());
    assert_eq!(written(&after, Some(&running)), None);
    now.restarts = Some(1);
    after.status = Some(now);
    assert!(written(&after, Some(&running)).is_some());
}

#[test]
fn how_far_training_is_and_how_good_is_progress_and_all_else_is_news() {
    let status = |change: fn(&mut Value)| -> ResourceStatus {
        let mut document = json!({"summary": "Running", "losses": [], "conditions": [],
                                  "best": {"name": "validation/loss", "value": 0.5, "text": "loss 0.5", "epoch": 1}});
        change(&mut document);
        serde_json::from_value(document).unwrap()
    };
    let before = status(|_| {});
    let better = status(|document| document["best"]["epoch"] = json!(2));
    let further = status(|document| document["progress"] = json!({"epoch": 2, "step": 28}));
    let lost = status(|document| document["restarts"] = json!(1));
    assert!(better.differs_by_progress_alone(&before) && further.differs_by_progress_alone(&before));
    assert!(!lost.differs_by_progress_alone(&before));
}

#[test]
fn what_has_ended_is_left_alone() {
    let ended = resource(|document| document["status"] = json!({"summary": "Succeeded", "observedGeneration": 2}));
    assert_eq!(steps(&ended, None, None), []);
    assert_eq!(
        written(&ended, None),
        None,
        "also by an operator that has just started and knows nothing of its job"
    );
}

#[test]
fn a_resource_that_is_to_go_takes_its_job_with_it_and_waits_for_no_coordinator_for_ever() {
    let held = resource(|_| {});
    let steps = |resource: &FineTuneJob, remote: Option<&Remote>, seconds: i64| {
        let mut going = resource.clone();
        let deleted = Timestamp::from_second(NOW - seconds).unwrap();
        going.metadata.deletion_timestamp = Some(Time(deleted));
        plan(&seen(&going, remote, None)).steps
    };
    assert_eq!(steps(&held, Some(&remote("Running")), 0), [Step::Cancel]);
    assert_eq!(steps(&held, Some(&remote("Succeeded")), 0), [Step::RemoveFinalizer]);
    // An operator that died between submitting and noting it: the repeat says which job it was.
    assert_eq!(steps(&held, None, 0), [Step::Discover]);
    assert_eq!(steps(&held, None, 10), [Step::RemoveFinalizer]);
    assert_eq!(steps(&held, Some(&remote("Running")), 10), [Step::RemoveFinalizer]);
    let broken = resource(|document| document["spec"]["data"]["train"] = json!({"uri": "relative"}));
    assert_eq!(steps(&broken, None, 0), [Step::RemoveFinalizer]);
    let free = resource(|document| document["metadata"]["finalizers"] = json!([]));
    assert_eq!(steps(&free, None, 0), []);
}

#[test]
fn a_resource_that_another_controller_manages_is_not_touched() {
    let other = resource(|document| document["spec"]["managedBy"] = json!("kueue.x-k8s.io/multikueue"));
    assert_eq!(steps(&other, None, None), []);
    let ours = resource(|document| document["spec"]["managedBy"] = json!("firn.dev/operator"));
    assert_eq!(steps(&ours, None, None), [Step::Submit { suspended: false }]);
}

#[test]
fn workers_are_given_the_files_that_have_changed() {
    let held = resource(|_| {});
    let renewed = |workers: &Job| {
        let running = remote("Running");
        let plan = plan(&Observed {
            identity: "renewed",
            ..seen(&held, Some(&running), Some(workers))
        });
        plan.steps.contains(&Step::RefreshIdentity)
    };
    assert!(renewed(&pods(2, false)));
    let mut given = pods(2, false);
    let annotations = given.metadata.annotations.get_or_insert_default();
    annotations.insert(IDENTITY_ANNOTATION.to_owned(), "renewed".to_owned());
    assert!(!renewed(&given));
}

#[test]
fn a_coordinator_that_is_silent_is_told_until_it_is_heard_again() {
    let held = resource(|_| {});
    let silence = Silence {
        reason: "CoordinatorUnavailable",
        message: "nobody answers".to_owned(),
    };
    let plan = plan(&Observed {
        silence: Some(&silence),
        ..seen(&held, Some(&remote("Running")), Some(&pods(2, false)))
    });
    let Some(Step::WriteStatus(status)) = plan.steps.last() else {
        panic!("{plan:?}")
    };
    let reconciled = status.condition("Reconciled").unwrap();
    assert_eq!(
        (
            reconciled.status.as_str(),
            reconciled.reason.as_str(),
            reconciled.message.as_str()
        ),
        ("False", "CoordinatorUnavailable", "nobody answers")
    );
    assert_eq!(status.summary.as_deref(), Some("Running"));
    let heard = written(&held, Some(&remote("Running"))).unwrap();
    assert_eq!(heard.condition("Reconciled"), None);
}

//! What people change while a job runs.

use serde_json::json;

use crate::release::{Story, job, step};

#[test]
fn a_suspended_job_has_no_pods_and_goes_on_where_it_was() {
    let Some(story) = Story::begin() else { return };
    story.apply(&job("paused", 150, (1, 2)));
    story.trains("paused", 2, 20);
    story.patch("paused", &json!({"suspend": true}));
    story.wait("ftj/paused", "condition=Suspended");
    story.figure("suspended");
    story.wait("job/paused-workers", "jsonpath={.spec.suspend}=true");
    story.wait("job/paused-workers", "condition=Suspended");
    story.has_no_pods("paused");
    story.figure("no pods are left");
    let at = step(&story.get("ftj", "paused")["status"]);
    story.patch("paused", &json!({"suspend": false}));
    story.trains("paused", 2, at + 5);
    story.figure("two workers train again");
    let (status, receipt) = story.succeeds("paused");
    assert_eq!(
        (&status["restarts"], receipt.steps_taken_back()),
        (&json!(0), 0),
        "{status}"
    );
    story.delete("paused");
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn more_and_fewer_workers_come_and_go_while_it_runs_and_the_highest_go_first() {
    let Some(story) = Story::begin() else { return };
    story.apply(&job("elastic", 150, (1, 1)));
    story.trains("elastic", 1, 10);
    let first = story.pods("elastic");
    story.patch("elastic", &json!({"resources": {"workers": {"max": 3}}}));
    let three = story.trains("elastic", 3, 15);
    story.figure("three workers train");
    assert_eq!(story.pods("elastic").len(), 3);
    story.trains("elastic", 3, step(&three) + 5);
    story.patch("elastic", &json!({"resources": {"workers": {"max": 1}}}));
    story.trains("elastic", 1, step(&three) + 10);
    story.wait("job/elastic-workers", "jsonpath={.status.active}=1");
    story.figure("one worker trains");
    assert_eq!(story.pods("elastic"), first, "the first stays");
    let (status, receipt) = story.succeeds("elastic");
    assert_eq!(
        (&status["restarts"], receipt.steps_taken_back()),
        (&json!(0), 0),
        "{status}"
    );
    story.delete("elastic");
}

//! `firn watch`, `firn wait` and `firn logs`, also through a restart of the coordinator.

use serde_json::Value;

use crate::{
    fake::FakeCoordinator,
    firn::{Running, firn},
    jobs::{job, line},
};

#[test]
fn watch_and_wait_exit_with_the_outcome_of_the_job() {
    let fake = FakeCoordinator::start();
    for (summary, code) in [("Succeeded", 0), ("Failed", 1), ("Cancelled", 3)] {
        fake.put(job(summary));
        for verb in ["watch", "wait"] {
            let left = firn(&fake.url(), &[verb, "reviews"]);
            assert_eq!(left.code, code, "{verb} {summary}: {left:?}");
            assert!(left.data.starts_with("job reviews "), "{verb} {summary}: {left:?}");
        }
    }
}

#[test]
fn nothing_that_is_no_terminal_gets_colours() {
    let fake = FakeCoordinator::start();
    fake.put(job("Failed"));
    let left = firn(&fake.url(), &["watch", "reviews"]);
    assert!(!left.data.contains('\x1b') && !left.talk.contains('\x1b'), "{left:?}");
}

#[test]
fn watch_goes_on_when_the_coordinator_is_back() {
    let mut fake = FakeCoordinator::start();
    fake.put(job("Queued"));
    let mut running = Running::start(&fake.url(), &["watch", "reviews"]);
    running.wait_for_talk("queued: WaitingForSlots of reviews");

    fake.go_away();
    running.wait_for_talk("lost the coordinator");
    fake.come_back();
    running.wait_for_talk("the coordinator is back");
    fake.put(job("Succeeded"));

    let left = running.finish();
    assert_eq!(left.code, 0, "{left:?}");
    assert_eq!(left.data, "job reviews succeeded\n");
}

#[test]
fn watch_gives_up_when_the_coordinator_stays_away() {
    let mut fake = FakeCoordinator::start();
    fake.put(job("Queued"));
    let mut running = Running::start(&fake.url(), &["watch", "reviews", "--timeout", "2s"]);
    running.wait_for_talk("queued");
    fake.go_away();
    let left = running.finish();
    assert_eq!(left.code, 4, "{left:?}");
    assert!(left.talk.contains("cannot be reached"), "{left:?}");
}

#[test]
fn wait_says_when_its_time_limit_passes_first() {
    let fake = FakeCoordinator::start();
    fake.put(job("Running"));
    let left = firn(&fake.url(), &["wait", "reviews", "--timeout", "500ms"]);
    assert_eq!((left.code, left.data.as_str()), (5, ""), "{left:?}");
    assert!(left.talk.contains("job reviews has not ended"), "{left:?}");
}

#[test]
fn watch_prints_one_document_a_snapshot_for_programs() {
    let fake = FakeCoordinator::start();
    fake.put(job("Succeeded"));
    let left = firn(&fake.url(), &["watch", "reviews", "-o", "json"]);
    let documents: Vec<Value> = left
        .data
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0]["status"]["summary"], "Succeeded");
    assert_eq!(left.talk, "");
}

#[test]
fn logs_name_the_rank_unless_only_one_is_wanted() {
    let fake = FakeCoordinator::start();
    fake.put(job("Running"));
    fake.books().log_lines = vec![line(0, 0, "epoch 1"), line(1, 0, "ready")];
    assert_eq!(
        firn(&fake.url(), &["logs", "reviews"]).data,
        "[rank 0] epoch 1\n[rank 1] ready\n"
    );
    assert_eq!(firn(&fake.url(), &["logs", "reviews", "--rank", "1"]).data, "ready\n");
}

#[test]
fn followed_logs_print_every_line_once_through_a_break() {
    let fake = FakeCoordinator::start();
    fake.put(job("Running"));
    fake.books().log_lines = vec![line(0, 0, "first"), line(0, 1, "second")];
    fake.books().logs_break = [true, false].into();
    let left = firn(&fake.url(), &["logs", "reviews", "--follow"]);
    assert_eq!(
        (left.code, left.data.as_str()),
        (0, "[rank 0] first\n[rank 0] second\n"),
        "{left:?}"
    );
    assert!(left.talk.contains("lost the coordinator (shutting down)"), "{left:?}");
}

#[test]
fn logs_that_are_not_followed_report_a_break() {
    let fake = FakeCoordinator::start();
    fake.put(job("Running"));
    fake.books().logs_break = [true].into();
    assert_eq!(firn(&fake.url(), &["logs", "reviews"]).code, 4);
}

//! `firn submit` and `firn cancel`.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    fake::FakeCoordinator,
    firn::{Running, firn},
    jobs::{SPEC, job, named},
};

fn spec_file() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.yaml");
    fs::write(&path, SPEC).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn submit_prints_the_id_and_nothing_else_on_standard_output() {
    let fake = FakeCoordinator::start();
    let (_folder, spec) = spec_file();

    let left = firn(&fake.url(), &["submit", &spec]);

    assert_eq!((left.code, left.data.as_str()), (0, "reviews\n"), "{left:?}");
    assert!(left.talk.contains("firn watch reviews"), "{left:?}");
    let books = fake.books();
    let [request] = books.created.as_slice() else {
        panic!("one job is created")
    };
    let training = request.job.clone().unwrap().spec.unwrap().training.unwrap();
    assert_eq!((training.epochs, training.batch_size), (Some(2), Some(32)));
    assert!(!request.request_id.is_empty());
}

#[test]
fn every_submit_has_its_own_request_id_unless_one_is_given() {
    let fake = FakeCoordinator::start();
    let (_folder, spec) = spec_file();
    for arguments in [
        &["submit", &spec][..],
        &["submit", &spec],
        &["submit", &spec, "--request-id", "r-1"],
    ] {
        assert_eq!(firn(&fake.url(), arguments).code, 0);
    }
    let books = fake.books();
    let ids: Vec<&str> = books
        .created
        .iter()
        .map(|request| request.request_id.as_str())
        .collect();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[2], "r-1");
}

#[test]
fn submit_prints_the_stored_job_for_programs() {
    let fake = FakeCoordinator::start();
    let (_folder, spec) = spec_file();
    let left = firn(&fake.url(), &["submit", &spec, "-o", "json"]);
    let stored: Value = serde_json::from_str(&left.data).unwrap();
    assert_eq!(stored["metadata"]["resourceName"], "jobs/reviews");
    assert_eq!(stored["spec"]["training"]["batchSize"], 32);
    assert_eq!(stored["status"]["summary"], "Queued");
}

#[test]
fn what_the_coordinator_refuses_is_shown_field_by_field() {
    let fake = FakeCoordinator::start();
    let (_folder, spec) = spec_file();
    fake.books().violations = vec![
        ("spec.training.epochs".into(), "must be at least 1, found 0".into()),
        ("spec.data.train.uri".into(), "must be set".into()),
    ];

    let left = firn(&fake.url(), &["submit", &spec]);

    assert_eq!(left.code, 2, "{left:?}");
    let expected = format!(
        "firn: {spec} is not a valid job:\n  line 9: spec.data.train.uri: must be set\n  \
         line 11: spec.training.epochs: must be at least 1, found 0\n"
    );
    assert_eq!(left.talk, expected);
}

#[test]
fn submit_and_watch_exits_with_the_outcome_of_the_job() {
    let fake = FakeCoordinator::start();
    let (_folder, spec) = spec_file();
    let mut running = Running::start(&fake.url(), &["submit", &spec, "--watch"]);
    running.wait_for_talk("queued");

    fake.put(job("Failed"));

    let left = running.finish();
    assert_eq!(left.code, 1, "{left:?}");
    assert!(
        left.talk
            .contains("job reviews failed: BadData\n  BadData of reviews\n"),
        "{left:?}"
    );
}

#[test]
fn cancel_asks_for_the_end_of_each_job() {
    let fake = FakeCoordinator::start();
    fake.put(named("a", "Running"));
    fake.put(named("b", "Cancelled"));
    let left = firn(&fake.url(), &["cancel", "a", "jobs/b"]);
    assert_eq!(
        (left.code, left.data.as_str()),
        (0, "a Running\nb Cancelled\n"),
        "{left:?}"
    );
    let books = fake.books();
    let names: Vec<&str> = books.cancelled.iter().map(|request| request.name.as_str()).collect();
    assert_eq!(names, ["jobs/a", "jobs/b"]);
}

#[test]
fn cancel_can_wait_for_the_end() {
    let fake = FakeCoordinator::start();
    fake.put(job("Cancelled"));
    let left = firn(&fake.url(), &["cancel", "--wait", "reviews"]);
    assert_eq!((left.code, left.data.as_str()), (0, "reviews Cancelled\n"), "{left:?}");
}

#[test]
fn delete_removes_each_job_and_says_so() {
    let fake = FakeCoordinator::start();
    fake.put(named("a", "Succeeded"));
    fake.put(named("b", "Cancelled"));
    let left = firn(&fake.url(), &["delete", "a", "jobs/b"]);
    assert_eq!(
        (left.code, left.data.as_str()),
        (0, "a Deleted\nb Deleted\n"),
        "{left:?}"
    );
    let left = firn(&fake.url(), &["delete", "a", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&left.data).unwrap();
    assert_eq!(document, serde_json::json!({ "name": "jobs/a", "deleted": true }));
    let names: Vec<String> = fake
        .books()
        .deleted
        .iter()
        .map(|request| request.name.clone())
        .collect();
    assert_eq!(names, ["jobs/a", "jobs/b", "jobs/a"]);
}

#[test]
fn a_job_that_does_not_exist_is_a_usage_error() {
    let fake = FakeCoordinator::start();
    for verb in ["get", "watch", "wait", "cancel", "delete", "logs", "download"] {
        let left = firn(&fake.url(), &[verb, "nobody"]);
        assert_eq!(
            (left.code, left.talk.as_str()),
            (2, "firn: there is no job `nobody`\n"),
            "{verb}"
        );
    }
}

#[test]
fn a_mutation_whose_answer_got_lost_is_sent_again_under_the_same_request_id() {
    let fake = FakeCoordinator::start();
    let (_folder, spec) = spec_file();
    fake.books().lost_answers = 2;
    let left = firn(&fake.url(), &["submit", &spec]);
    assert_eq!((left.code, left.data.as_str()), (0, "reviews\n"), "{left:?}");
    fake.books().lost_answers = 1;
    assert_eq!(firn(&fake.url(), &["cancel", "reviews"]).code, 0);

    let books = fake.books();
    let created: Vec<&str> = books
        .created
        .iter()
        .map(|request| request.request_id.as_str())
        .collect();
    assert_eq!(created.len(), 3);
    assert!(
        created.iter().all(|id| *id == created[0] && !id.is_empty()),
        "{created:?}"
    );
    let cancelled: Vec<&str> = books
        .cancelled
        .iter()
        .map(|request| request.request_id.as_str())
        .collect();
    assert_eq!(cancelled.len(), 2);
    assert!(
        cancelled[0] == cancelled[1] && cancelled[0] != created[0],
        "{cancelled:?}"
    );
}

#[test]
fn no_verb_waits_for_ever_for_a_coordinator_that_says_nothing() {
    // The system accepts the connection; nobody ever answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let (folder, spec) = spec_file();
    let target = folder.path().to_str().unwrap();
    for verb in [
        &["list"][..],
        &["get", "reviews"],
        &["workers"],
        &["submit", &spec],
        &["cancel", "reviews"],
        &["watch", "reviews"],
        &["wait", "reviews"],
        &["logs", "reviews"],
        &["logs", "reviews", "--follow"],
        &["download", "reviews", "--directory", target],
    ] {
        let left = firn(&url, &[verb, &["--call-timeout", "100ms"]].concat());
        assert_eq!(left.code, 4, "{verb:?}: {left:?}");
        assert!(
            left.talk
                .contains("no answer within the time for one call (--call-timeout)"),
            "{verb:?}: {left:?}"
        );
    }
}

#[test]
fn namespace_and_priority_can_be_chosen_at_submission() {
    let fake = FakeCoordinator::start();
    let (_folder, spec) = spec_file();
    let arguments = ["submit", &spec, "--namespace", "team-a", "--priority", "7"];
    assert_eq!(firn(&fake.url(), &arguments).code, 0);
    let job = fake.books().created[0].job.clone().unwrap();
    assert_eq!(job.metadata.unwrap().namespace, "team-a");
    assert_eq!(job.spec.unwrap().scheduling.unwrap().priority, Some(7));
}

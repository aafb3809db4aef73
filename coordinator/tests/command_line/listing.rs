//! `firn list`, `firn get` and `firn workers`.

use serde_json::Value;

use firn_proto::v1alpha1::{Finding, Slot, VerificationReceipt, Worker};

use crate::{
    fake::FakeCoordinator,
    firn::{command, firn, run},
    jobs::{job, named},
};

#[test]
fn all_jobs_are_listed_page_by_page() {
    let fake = FakeCoordinator::start();
    for number in 0..1_100 {
        fake.put(named(&format!("job-{number:04}"), "Succeeded"));
    }
    let left = firn(&fake.url(), &["list", "--limit", "0", "-o", "json"]);
    let document: Value = serde_json::from_str(&left.data).unwrap();
    assert_eq!(document["jobs"].as_array().unwrap().len(), 1_100);
    assert_eq!(fake.books().pages, [500, 500, 500]);
}

#[test]
fn a_list_that_is_cut_says_so() {
    let fake = FakeCoordinator::start();
    for number in 0..5 {
        fake.put(named(&format!("job-{number}"), "Queued"));
    }
    let left = firn(&fake.url(), &["list", "-n", "3"]);
    assert_eq!(left.code, 0);
    assert_eq!(left.data.lines().count(), 4, "a header and three jobs: {left:?}");
    assert!(left.talk.contains("older jobs are not shown"), "{left:?}");
}

#[test]
fn an_empty_list_is_no_data() {
    let fake = FakeCoordinator::start();
    let left = firn(&fake.url(), &["list"]);
    assert_eq!(
        (left.code, left.data.as_str(), left.talk.as_str()),
        (0, "", "no jobs\n")
    );
    let left = firn(&fake.url(), &["list", "-o", "yaml"]);
    assert_eq!(left.data, "jobs: []\n");
}

#[test]
fn verify_prints_the_receipt_and_ends_with_1_where_something_was_found() {
    let fake = FakeCoordinator::start();
    fake.put(job("Succeeded"));
    let honest = VerificationReceipt {
        name: "jobs/reviews".into(),
        proven: true,
        outcome: "Succeeded".into(),
        ..Default::default()
    };
    fake.books().receipt = honest.clone();
    let left = firn(&fake.url(), &["verify", "reviews"]);
    assert_eq!(left.code, 0, "{left:?}");
    assert!(left.data.starts_with("Job:      reviews (Succeeded)\n"), "{left:?}");
    let finding = Finding {
        flaw: "StepOrder".into(),
        message: "expected step 1, found step 2".into(),
        step: Some(2),
        ..Default::default()
    };
    fake.books().receipt = VerificationReceipt {
        proven: false,
        findings: vec![finding],
        ..honest
    };
    let left = firn(&fake.url(), &["verify", "jobs/reviews", "-o", "json"]);
    assert_eq!(
        (left.code, left.talk.as_str()),
        (1, "not proven: 1 finding\n"),
        "{left:?}"
    );
    let document: Value = serde_json::from_str(&left.data).unwrap();
    assert_eq!(document["findings"][0]["step"], 2);
    assert_eq!(firn(&fake.url(), &["verify", "nobody"]).code, 2);
}

#[test]
fn get_shows_a_job_and_sends_the_token() {
    let fake = FakeCoordinator::start();
    fake.put(job("Queued"));
    let mut command = command(&["get", "reviews", "--coordinator", &fake.url()]);
    command.env("FIRN_TOKEN", "secret");
    let left = run(command);
    assert_eq!(left.code, 0, "{left:?}");
    assert!(left.data.starts_with("Name:"), "{left:?}");
    assert!(left.data.contains("Queued (WaitingForSlots of reviews)"), "{left:?}");
    assert_eq!(fake.books().authorization.as_deref(), Some("Bearer secret"));
}

#[test]
fn workers_are_listed_for_people_and_programs() {
    let fake = FakeCoordinator::start();
    let slot = Slot {
        device: "cpu".into(),
        job: "jobs/reviews".into(),
        ..Default::default()
    };
    let worker = Worker {
        name: "w0".into(),
        host: "h".into(),
        state: "Ready".into(),
        slots: vec![slot],
        ..Default::default()
    };
    fake.books().workers = vec![worker];
    let left = firn(&fake.url(), &["workers"]);
    assert!(left.data.contains("\nw0     Ready   h      1/1    cpu"), "{left:?}");
    let document: Value = serde_json::from_str(&firn(&fake.url(), &["workers", "-o", "json"]).data).unwrap();
    assert_eq!(document["workers"][0]["slots"][0]["job"], "jobs/reviews");
}

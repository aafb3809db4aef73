//! `firn suspend`, `firn resume`, `firn scale`, and what the other verbs say of a suspended job.

use firn_proto::v1alpha1::{Condition, FineTuneJob};

use crate::{fake::FakeCoordinator, firn::firn, jobs};

fn suspended(summary: &str) -> FineTuneJob {
    let mut job = jobs::job(summary);
    job.status.as_mut().unwrap().conditions = vec![Condition {
        r#type: "Suspended".into(),
        status: "True".into(),
        reason: summary.into(),
        message: "holds no slots until it is resumed".into(),
        last_transition_time: None,
    }];
    job
}

#[test]
fn a_job_is_suspended_and_resumed() {
    let fake = FakeCoordinator::start();
    fake.put(suspended("Suspending"));
    let left = firn(&fake.url(), &["suspend", "reviews"]);
    assert_eq!((left.code, left.data.as_str()), (0, "reviews Suspending\n"), "{left:?}");
    let left = firn(&fake.url(), &["suspend", "reviews", "--wait", "--timeout", "1s"]);
    assert_eq!(left.code, 5, "{left:?}");
    assert!(
        left.talk
            .contains("the time limit passed; the job is being suspended on"),
        "{left:?}"
    );
    fake.put(suspended("Suspended"));
    let left = firn(&fake.url(), &["suspend", "reviews", "--wait"]);
    assert_eq!((left.code, left.data.as_str()), (0, "reviews Suspended\n"), "{left:?}");
    let left = firn(&fake.url(), &["resume", "reviews"]);
    assert_eq!(left.code, 0, "{left:?}");
    let books = fake.books();
    assert_eq!((books.suspended.len(), books.resumed.len()), (3, 1));
    assert!(!books.resumed[0].request_id.is_empty());
}

#[test]
fn a_wait_says_that_the_job_is_suspended_and_waits_on() {
    let fake = FakeCoordinator::start();
    fake.put(suspended("Suspended"));
    let left = firn(&fake.url(), &["wait", "reviews", "--timeout", "1s"]);
    assert_eq!(left.code, 5, "{left:?}");
    assert!(
        left.talk
            .contains("job reviews is suspended; let it go on with: firn resume reviews"),
        "{left:?}"
    );
}

#[test]
fn only_what_is_given_is_changed() {
    let fake = FakeCoordinator::start();
    fake.put(jobs::job("Running"));
    let left = firn(&fake.url(), &["scale", "reviews", "--max", "4"]);
    assert_eq!((left.code, left.data.as_str()), (0, "reviews Running\n"), "{left:?}");
    assert_eq!(firn(&fake.url(), &["scale", "reviews"]).code, 2, "nothing would change");
    let books = fake.books();
    let request = &books.updated[0];
    assert_eq!(
        request.update_mask.as_ref().unwrap().paths,
        ["spec.resources.workers.max"]
    );
    assert_eq!(request.name, "jobs/reviews");
}

#[test]
fn a_job_can_be_submitted_suspended() {
    let fake = FakeCoordinator::start();
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("job.yaml");
    std::fs::write(&spec, jobs::SPEC).unwrap();
    let left = firn(&fake.url(), &["submit", "--suspend", spec.to_str().unwrap()]);
    assert_eq!((left.code, left.data.as_str()), (0, "reviews\n"), "{left:?}");
    assert!(left.talk.contains("firn resume reviews"), "{left:?}");
    assert!(fake.books().created[0].suspended);
}

//! `firn drain`.

use serde_json::Value;

use firn_proto::v1alpha1::{Slot, Worker};

use crate::{fake::FakeCoordinator, firn::firn};

fn worker(name: &str, job: &str) -> Worker {
    let slot = Slot {
        device: "cpu".into(),
        job: job.into(),
        ..Default::default()
    };
    Worker {
        name: name.into(),
        host: "h".into(),
        state: "Ready".into(),
        slots: vec![slot],
        ..Default::default()
    }
}

#[test]
fn a_worker_is_drained_and_taken_back() {
    let fake = FakeCoordinator::start();
    fake.books().workers = vec![worker("w0", "jobs/reviews"), worker("w1", "")];
    let left = firn(&fake.url(), &["drain", "w0"]);
    assert_eq!(
        (left.code, left.data.as_str()),
        (0, "w0 Draining: 1 rank on it\n"),
        "{left:?}"
    );
    let left = firn(&fake.url(), &["workers"]);
    assert!(left.data.contains("\nw0     Draining   h"), "{left:?}");
    let left = firn(&fake.url(), &["drain", "w0", "--undo", "-o", "json"]);
    let document: Value = serde_json::from_str(&left.data).unwrap();
    assert_eq!(document["workers"][0]["state"], "Ready");
    let left = firn(&fake.url(), &["drain", "nobody"]);
    assert_eq!(left.code, 2);
    assert!(left.talk.contains("worker nobody does not exist"), "{left:?}");
}

#[test]
fn a_drain_can_be_waited_for_until_no_rank_is_left() {
    let fake = FakeCoordinator::start();
    fake.books().workers = vec![worker("w0", "jobs/reviews"), worker("w1", "")];
    let left = firn(&fake.url(), &["drain", "w1", "--wait"]);
    assert_eq!(
        (left.code, left.data.as_str()),
        (0, "w1 Draining: no rank on it\n"),
        "{left:?}"
    );
    let left = firn(&fake.url(), &["drain", "w0", "w1", "--wait", "--timeout", "1s"]);
    assert_eq!(left.code, 5, "{left:?}");
    assert!(left.talk.contains("the time limit passed"), "{left:?}");
    // The worker that is gone has nothing left on it.
    fake.books().workers.remove(0);
    let left = firn(&fake.url(), &["drain", "w1", "--wait", "--timeout", "1m"]);
    assert_eq!(left.code, 0, "{left:?}");
    assert_eq!(
        firn(&fake.url(), &["drain", "w1", "--timeout", "1s"]).code,
        2,
        "a limit needs --wait"
    );
}

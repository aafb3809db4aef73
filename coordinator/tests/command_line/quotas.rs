//! `firn quota`, and where `firn submit` puts a job in the queue.

use serde_json::Value;

use crate::{fake::FakeCoordinator, firn::firn};

#[test]
fn a_quota_is_set_listed_and_taken_back() {
    let fake = FakeCoordinator::start();
    let left = firn(&fake.url(), &["quota"]);
    assert_eq!((left.code, left.data.as_str()), (0, ""), "{left:?}");
    let left = firn(&fake.url(), &["quota", "set", "team-a", "--slots", "8"]);
    assert_eq!(
        (left.code, left.data.as_str()),
        (0, "team-a: may hold at most 8 slots; holds 3 slots with 2 jobs\n"),
        "{left:?}"
    );
    let table = "NAMESPACE   SLOTS   JOBS   WAITING\nteam-a      3/8     2      1\n";
    for list in [&["quota"][..], &["quota", "list"]] {
        assert_eq!(firn(&fake.url(), list).data, table);
    }
    let left = firn(&fake.url(), &["quota", "set", "team-a", "--jobs", "1", "-o", "json"]);
    let document: Value = serde_json::from_str(&left.data).unwrap();
    assert_eq!(
        document["quota"]["slots"],
        Value::Null,
        "a limit that is not named is none"
    );
    assert_eq!(document["quota"]["jobs"], 1);
    let left = firn(&fake.url(), &["quota", "list", "-o", "yaml"]);
    assert!(left.data.starts_with("quotas:\n"), "{left:?}");
    let left = firn(&fake.url(), &["quota", "unset", "team-a"]);
    assert!(left.data.starts_with("team-a: may hold everything"), "{left:?}");
    assert_eq!(
        firn(&fake.url(), &["quota", "set", "team-a"]).code,
        2,
        "a limit is needed"
    );
}

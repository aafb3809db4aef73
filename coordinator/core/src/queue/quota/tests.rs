//! Tables: a quota, what is used of it, what a job asks for, and what it is told.

use super::*;

fn quota(slots: Option<u32>, jobs: Option<u32>) -> Quota {
    Quota { slots, jobs }
}

fn place(fewest: u64) -> Request {
    Request {
        next: fewest,
        fewest,
        has_gang: false,
    }
}

fn grow(next: u64, fewest: u64) -> Request {
    Request {
        next,
        fewest,
        has_gang: true,
    }
}

/// Quota, slots and jobs that are used, request, answer.
fn table() -> Vec<(Quota, (u64, u64), Request, &'static str)> {
    vec![
        (quota(None, None), (100, 100), place(8), "any"),
        (quota(Some(8), None), (0, 0), place(8), "8"),
        (quota(Some(8), None), (6, 1), place(2), "2"),
        (
            quota(Some(8), None),
            (7, 1),
            place(2),
            "namespace a uses 7 of its 8 slots; the job needs 2 more (later)",
        ),
        // one that could never fit says so, whatever is used
        (
            quota(Some(8), None),
            (8, 1),
            place(16),
            "needs at least 16 slots, and the quota of namespace a is 8 (never)",
        ),
        (
            quota(Some(0), None),
            (0, 0),
            place(1),
            "needs at least 1 slot, and the quota of namespace a is 0 (never)",
        ),
        // jobs
        (quota(None, Some(2)), (9, 1), place(4), "any"),
        (
            quota(None, Some(2)),
            (9, 2),
            place(4),
            "namespace a runs 2 of its 2 jobs (later)",
        ),
        (
            quota(None, Some(0)),
            (0, 0),
            place(1),
            "the quota of namespace a lets it run no job (never)",
        ),
        // a gang is a job that counts already
        (quota(Some(8), Some(1)), (4, 1), grow(2, 6), "4"),
        (
            quota(Some(8), Some(1)),
            (7, 1),
            grow(2, 6),
            "namespace a uses 7 of its 8 slots; the job needs 2 more (later)",
        ),
        // lowered below what is used
        (
            quota(Some(4), None),
            (8, 2),
            place(1),
            "namespace a uses 8 slots, more than its quota of 4; the job needs 1 more (later)",
        ),
        (
            quota(None, Some(1)),
            (8, 2),
            place(1),
            "namespace a runs 2 jobs, more than its quota of 1 (later)",
        ),
    ]
}

#[test]
fn a_job_gets_what_is_left_of_the_quota_or_a_sentence_with_numbers() {
    for (quota, (slots, jobs), request, expected) in table() {
        let quotas = BTreeMap::from([(Namespace::from("a"), quota)]);
        let accounts = Accounts::new(&quotas, [("a", Use { slots, jobs })], 100);
        let answer = match accounts.room("a", request) {
            Ok(u64::MAX) => "any".to_owned(),
            Ok(room) => room.to_string(),
            Err(exhausted) => {
                let when = if exhausted.later { "later" } else { "never" };
                format!("{} ({when})", exhausted.reason)
            }
        };
        assert_eq!(answer, expected, "{quota:?} with {slots} slots and {jobs} jobs");
    }
}

#[test]
fn a_share_is_of_the_quota_or_of_all_slots() {
    let quotas = BTreeMap::from([(Namespace::from("a"), quota(Some(4), None))]);
    let one = Use { slots: 1, jobs: 1 };
    let mut accounts = Accounts::new(&quotas, [("a", one), ("b", one), ("a", one)], 8);
    assert_eq!(accounts.share("a"), Share { used: 2, of: 4 });
    assert_eq!(accounts.share("b"), Share { used: 1, of: 8 });
    assert_eq!(accounts.share("c"), Share { used: 0, of: 8 });
    accounts.take("b", Use { slots: 3, jobs: 0 });
    assert_eq!(accounts.share("b"), accounts.share("a"));
    assert_eq!(accounts.room("b", place(1_000)), Ok(u64::MAX));
}

#[test]
fn a_quota_is_stored_without_the_limits_that_it_does_not_have() {
    let text = serde_json::to_string(&quota(Some(8), None)).unwrap();
    assert_eq!(text, r#"{"slots":8}"#);
    assert_eq!(serde_json::from_str::<Quota>(&text).unwrap(), quota(Some(8), None));
}

//! Tables that can be read aloud: who waits, what is used, and who is served in which order.
//!
//! A job is written `namespace priority slots`; its number is its place in the order of submission. A namespace is written `name used/of`.

use proptest::prelude::*;

use super::*;

struct Asking<'a> {
    place: Place<'a>,
    slots: u64,
}

fn asking(text: &str) -> Vec<Asking<'_>> {
    let jobs = text.split(", ").enumerate().map(|(number, job)| {
        let words: Vec<&str> = job.split_whitespace().collect();
        Asking {
            place: Place {
                namespace: words[0],
                priority: words[1].parse().unwrap(),
                sequence: number as u64,
            },
            slots: words[2].parse().unwrap(),
        }
    });
    jobs.collect()
}

fn shares(text: &str) -> BTreeMap<&str, Share> {
    text.split(", ")
        .map(|entry| {
            let (name, share) = entry.split_once(' ').unwrap();
            let (used, of) = share.split_once('/').unwrap();
            let (used, of) = (used.parse().unwrap(), of.parse().unwrap());
            (name, Share { used, of })
        })
        .collect()
}

/// The numbers of the jobs in their order, if each gets the slots that it asks for.
fn served(jobs: &[Asking<'_>], mut shares: BTreeMap<&str, Share>) -> Vec<usize> {
    let places = jobs.iter().enumerate().map(|(number, job)| (job.place, number));
    let mut order = Order::new(places, |namespace| shares[namespace]);
    let mut served = Vec::new();
    while let Some(number) = order.next() {
        served.push(number);
        let share = shares.get_mut(jobs[number].place.namespace).unwrap();
        share.used += jobs[number].slots;
        order.set_share(jobs[number].place.namespace, *share);
    }
    served
}

/// Jobs, shares, the order of their numbers.
const ORDERS: &[(&str, &str, &[usize])] = &[
    // one namespace: as they came
    ("a 0 1, a 0 4, a 0 1", "a 0/8", &[0, 1, 2]),
    // the higher priority first, whatever its namespace uses
    ("a 0 1, a 5 1, b 7 1", "a 0/8, b 8/8", &[2, 1, 0]),
    // the smaller share first; who was served falls back
    ("a 0 1, a 0 1, b 0 1, b 0 1", "a 0/8, b 0/8", &[0, 2, 1, 3]),
    ("a 0 1, a 0 1, b 0 1, b 0 1", "a 3/8, b 0/8", &[2, 3, 0, 1]),
    // a large job weighs as much as many small ones
    ("a 0 3, a 0 3, b 0 1, b 0 1, b 0 1", "a 0/8, b 0/8", &[0, 2, 3, 4, 1]),
    // a share is that of a quota: 2 of 4 is more than 3 of 8
    ("a 0 1, b 0 1", "a 2/4, b 3/8", &[1, 0]),
    // equal shares of different quotas: as they came
    ("b 0 1, a 0 1", "a 2/4, b 4/8", &[0, 1]),
    // nothing may be held: it comes after everybody who holds less than all
    ("a 0 1, b 0 1", "a 1/0, b 7/8", &[1, 0]),
    // a namespace that was served by its urgent job waits with the others
    ("a 0 1, a 9 4, b 0 1, b 0 1", "a 0/8, b 0/8", &[1, 2, 3, 0]),
];

#[test]
fn jobs_are_served_by_priority_then_share_then_submission() {
    for &(jobs, used, expected) in ORDERS {
        assert_eq!(served(&asking(jobs), shares(used)), expected, "{jobs} with {used}");
    }
}

#[test]
fn a_share_is_compared_exactly() {
    let share = |used, of| Share { used, of };
    assert!(share(u64::MAX - 1, u64::MAX) < share(1, 1));
    assert_eq!(share(1, 2), share(2, 4));
    assert_eq!(share(0, 0), share(0, 7));
}

#[test]
fn the_rest_of_a_lane_that_is_passed_over_is_not_served() {
    let jobs = asking("a 1 1, a 1 1, b 1 1, a 0 1, b 0 1, b 1 1");
    let places = jobs.iter().enumerate().map(|(number, job)| (job.place, number));
    let mut order = Order::new(places, |_| Share { used: 0, of: 8 });
    assert_eq!(order.next(), Some(0));
    order.pass_over((Reverse(1), "a"));
    // A lane that is gone already, one of a priority whose turn has not come, and one that never was.
    order.pass_over((Reverse(1), "a"));
    order.pass_over((Reverse(0), "b"));
    order.pass_over((Reverse(1), "c"));
    assert_eq!(order.next(), Some(2));
    order.pass_over((Reverse(1), "b"));
    assert_eq!(order.collect::<Vec<_>>(), [3, 4], "the next priority has its turn");
}

#[test]
fn lanes_without_jobs_are_as_none() {
    let lanes = [
        ((Reverse(2), "a"), vec![]),
        ((Reverse(1), "b"), vec![(0, "wasps")]),
        ((Reverse(0), "a"), vec![]),
    ];
    let lanes = lanes.into_iter().map(|(of, lane)| (of, lane.into_iter()));
    let order = Order::of_lanes(lanes, |_| Share { used: 0, of: 8 });
    assert_eq!(order.collect::<Vec<_>>(), ["wasps"]);
}

proptest! {
    /// Whatever is asked for, each job is served once, none before one of a higher priority or an earlier one of its own namespace.
    #[test]
    fn every_job_comes_once_and_in_its_turn(wishes in prop::collection::vec((0..4usize, 0..3u32, 1..5u64), 0..40)) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let jobs: Vec<Asking<'_>> = (0..)
            .zip(&wishes)
            .map(|(sequence, (namespace, priority, slots))| Asking {
                place: Place { namespace: NAMES[*namespace], priority: *priority, sequence },
                slots: *slots,
            })
            .collect();
        let shares = NAMES.into_iter().map(|name| (name, Share { used: 0, of: 16 })).collect();
        let order = served(&jobs, shares);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..jobs.len()).collect::<Vec<_>>());
        for (place, later) in order.iter().enumerate() {
            for earlier in &order[..place] {
                let (earlier, later) = (jobs[*earlier].place, jobs[*later].place);
                prop_assert!(earlier.priority >= later.priority);
                let is_own = earlier.namespace == later.namespace && earlier.priority == later.priority;
                prop_assert!(!is_own || earlier.sequence < later.sequence);
            }
        }
    }
}

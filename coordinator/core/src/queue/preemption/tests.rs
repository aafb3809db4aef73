//! Tables that can be read aloud: what is wanted, what is free, who holds what, and who makes room.
//!
//! Wanted is `priority workers x slots`; free is `worker:slots`; a holder is `name priority surplus worker:slots …`, the later the younger.

use proptest::prelude::*;

use super::*;

fn parts(words: &[&str]) -> Vec<(WorkerName, usize)> {
    let part = |word: &&str| {
        let (name, slots) = word.split_once(':').unwrap();
        (WorkerName::from(name), slots.parse().unwrap())
    };
    words.iter().map(part).collect()
}

fn wanted(text: &str, free: &str) -> Wanted {
    let words: Vec<&str> = text.split_whitespace().collect();
    Wanted {
        priority: words[0].parse().unwrap(),
        workers: words[1].parse().unwrap(),
        slots_per_worker: words[3].parse().unwrap(),
        free: parts(&free.split_whitespace().collect::<Vec<_>>())
            .into_iter()
            .collect(),
    }
}

fn holders(text: &str) -> Vec<Holder> {
    let holder = |(sequence, entry): (u64, &str)| {
        let words: Vec<&str> = entry.split_whitespace().collect();
        Holder {
            job: JobId::from(words[0]),
            priority: words[1].parse().unwrap(),
            sequence,
            surplus: words[2].parse().unwrap(),
            workers: parts(&words[3..]),
        }
    };
    (0..)
        .zip(text.split(", ").filter(|entry| !entry.is_empty()))
        .map(holder)
        .collect()
}

fn show(room: Option<Room>) -> String {
    match room {
        None => "nobody".to_owned(),
        Some(Room::Drain(jobs)) => {
            let names: Vec<&str> = jobs.iter().map(JobId::as_str).collect();
            format!("drain {}", names.join(" "))
        }
        Some(Room::Shrink(parts)) => {
            let part = |(job, workers): &(JobId, Vec<WorkerName>)| {
                let workers: Vec<&str> = workers.iter().map(WorkerName::as_str).collect();
                format!("{job} by {}", workers.join(","))
            };
            format!("shrink {}", parts.iter().map(part).collect::<Vec<_>>().join(" "))
        }
    }
}

/// Wanted, free, holders, who makes room.
const ROOMS: &[(&str, &str, &str, &str)] = &[
    ("5 1 x 1", "w1:0", "low 0 0 w1:1", "drain low"),
    // never within a priority, nor a higher one
    ("5 1 x 1", "w1:0", "equal 5 0 w1:1", "nobody"),
    ("5 1 x 1", "w1:0", "high 7 0 w1:1", "nobody"),
    // never if it would not help
    ("5 2 x 1", "w1:0", "low 0 0 w1:1", "nobody"),
    ("5 2 x 1", "w1:0 w2:0", "low 0 0 w1:1, equal 5 0 w2:1", "nobody"),
    ("5 1 x 2", "w1:0", "low 0 0 w1:1, equal 5 0 w1:1", "nobody"),
    // what is free, or being given up, counts: nobody is drained twice for it
    ("5 1 x 1", "w1:0 w2:1", "low 0 0 w1:1", "nobody"),
    (
        "5 2 x 1",
        "w1:0 w2:1 w3:0",
        "low 0 0 w1:1, lower 0 0 w3:1",
        "drain lower",
    ),
    // the lowest priority, then the youngest
    ("5 1 x 1", "w1:0 w2:0", "one 1 0 w1:1, two 2 0 w2:1", "drain one"),
    ("5 1 x 1", "w1:0 w2:0", "old 1 0 w1:1, young 1 0 w2:1", "drain young"),
    // slots on workers that could not take the job are of no use
    ("5 1 x 1", "w1:0", "other 0 0 w9:1, here 1 0 w1:1", "drain here"),
    // one gang rather than two, none of a higher priority than it takes
    (
        "5 2 x 1",
        "w1:0 w2:0 w3:0",
        "pair 1 0 w1:1 w2:1, single 1 0 w3:1",
        "drain pair",
    ),
    (
        "5 2 x 1",
        "w1:0 w2:0 w3:0 w4:0",
        "pair 1 0 w1:1 w2:1, a 0 0 w3:1, b 0 0 w4:1",
        "drain b a",
    ),
    // the fewest of two and three
    (
        "5 4 x 1",
        "w1:0 w2:0 w3:0 w4:0 w5:0 w6:0",
        "big 0 0 w1:1 w2:1 w3:1, a 0 0 w4:1, b 0 0 w5:1, c 0 0 w6:1",
        "drain c big",
    ),
    // several gangs on one worker
    (
        "5 1 x 4",
        "w1:1 w2:0",
        "a 0 0 w1:1, b 0 0 w1:2, c 1 0 w2:4",
        "drain b a",
    ),
    ("5 1 x 2", "w1:0", "a 0 0 w1:2, b 0 0 w1:1, c 0 0 w1:1", "drain a"),
    // nobody who is not needed: the young one on another worker is spared
    ("5 1 x 2", "w1:1 w2:0", "a 0 0 w1:1, young 0 0 w2:1", "drain a"),
    // elastic gangs shrink if that is enough, the last ranks first
    (
        "5 1 x 1",
        "w1:0 w2:0 w3:0",
        "elastic 0 2 w1:1 w2:1 w3:1",
        "shrink elastic by w3",
    ),
    (
        "5 2 x 1",
        "w1:0 w2:0 w3:0",
        "elastic 0 2 w1:1 w2:1 w3:1, rigid 0 0 w4:1",
        "shrink elastic by w3,w2",
    ),
    (
        "5 3 x 1",
        "w1:0 w2:0 w3:0",
        "elastic 0 2 w1:1 w2:1 w3:1",
        "drain elastic",
    ),
    (
        "5 2 x 1",
        "w1:0 w2:0 w3:0 w4:0",
        "one 0 1 w1:1 w2:1, two 1 1 w3:1 w4:1",
        "shrink one by w2 two by w4",
    ),
    // the surplus of the lowest and youngest first
    (
        "5 1 x 1",
        "w1:0 w2:0 w3:0 w4:0",
        "old 0 1 w1:1 w2:1, young 0 1 w3:1 w4:1",
        "shrink young by w4",
    ),
];

#[test]
fn the_fewest_lowest_and_youngest_make_room() {
    for &(asked, free, held, expected) in ROOMS {
        let answer = make_room(&wanted(asked, free), &holders(held));
        assert_eq!(show(answer), expected, "{asked} with {free} beside {held}");
    }
}

fn any_case() -> impl Strategy<Value = (Wanted, Vec<Holder>)> {
    let free = prop::collection::btree_map(
        (0..6u8).prop_map(|n| WorkerName::from(format!("w{n}"))),
        0..3usize,
        1..6,
    );
    let holder = (0..5u32, 0..3usize, prop::collection::btree_map(0..6u8, 1..3usize, 1..4));
    let holders = prop::collection::vec(holder, 0..8);
    (1..5u32, 1..5usize, 1..4usize, free, holders).prop_map(|(priority, workers, slots_per_worker, free, holders)| {
        let holder = |(sequence, (priority, surplus, parts)): (u64, (u32, usize, BTreeMap<u8, usize>))| {
            let workers: Vec<_> = parts
                .into_iter()
                .map(|(n, slots)| (WorkerName::from(format!("w{n}")), slots))
                .collect();
            let surplus = surplus.min(workers.len() - 1);
            let job = JobId::from(format!("j{sequence}"));
            Holder {
                job,
                priority,
                sequence,
                workers,
                surplus,
            }
        };
        let holders = (0..).zip(holders).map(holder).collect();
        (
            Wanted {
                priority,
                workers,
                slots_per_worker,
                free,
            },
            holders,
        )
    })
}

/// Whether there is enough once these are given up.
fn suffices<'a>(wanted: &Wanted, given: impl Iterator<Item = &'a (WorkerName, usize)>) -> bool {
    let mut floor = Floor::of(wanted);
    given.for_each(|part| floor.change(part, false));
    floor.is_enough()
}

proptest! {
    #[test]
    fn whoever_makes_room_is_lower_and_enough_and_all_of_them_are_needed((wanted, holders) in any_case()) {
        let known = |job: &JobId| holders.iter().find(|holder| holder.job == *job).unwrap();
        let lower: Vec<&Holder> = holders.iter().filter(|holder| holder.priority < wanted.priority).collect();
        let could = !suffices(&wanted, std::iter::empty()) && suffices(&wanted, lower.iter().flat_map(|holder| &holder.workers));
        match make_room(&wanted, &holders) {
            None => prop_assert!(!could),
            Some(Room::Drain(jobs)) => {
                prop_assert!(could);
                let highest = jobs.iter().map(|job| known(job).priority).max().unwrap();
                prop_assert!(highest < wanted.priority);
                let given = |left_out: Option<&JobId>| {
                    let kept: Vec<_> = jobs.iter().filter(|job| Some(*job) != left_out).collect();
                    suffices(&wanted, kept.into_iter().flat_map(|job| &known(job).workers))
                };
                prop_assert!(given(None));
                for job in &jobs {
                    prop_assert!(!given(Some(job)), "{job} is not needed");
                }
                let below = lower.iter().filter(|holder| holder.priority < highest);
                prop_assert!(!suffices(&wanted, below.flat_map(|holder| &holder.workers)), "lower ones would do");
                let one_does = lower.iter().filter(|holder| holder.priority <= highest);
                let one_does = one_does.clone().any(|holder| suffices(&wanted, holder.workers.iter()));
                prop_assert_eq!(one_does, jobs.len() == 1);
            }
            Some(Room::Shrink(parts)) => {
                prop_assert!(could);
                let mut given = Vec::new();
                for (job, workers) in &parts {
                    let holder = known(job);
                    prop_assert!(holder.priority < wanted.priority);
                    prop_assert!(!workers.is_empty() && workers.len() <= holder.surplus);
                    given.extend(holder.workers.iter().filter(|(worker, _)| workers.contains(worker)));
                }
                prop_assert!(suffices(&wanted, given.iter().copied()));
                for number in 0..given.len() {
                    let others = given.iter().enumerate().filter(|(other, _)| *other != number);
                    prop_assert!(!suffices(&wanted, others.map(|(_, part)| *part)), "a part is not needed");
                }
            }
        }
    }
}

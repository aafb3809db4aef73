//! Tables that can be read aloud: what is asked for, what there is, what comes out.
//!
//! A worker is written `name:slots`; `c` and `g` are free slots, `C` and `G` taken ones. A request is `min..max x slots device`.

use proptest::prelude::*;

use super::*;
use crate::spec::WorkersSpec;

fn workers(text: &str) -> Vec<WorkerSlots> {
    let slot = |(index, letter): (u32, char)| SlotState {
        index,
        kind: if letter.eq_ignore_ascii_case(&'c') {
            DeviceKind::Cpu
        } else {
            DeviceKind::Gpu
        },
        free: letter.is_ascii_lowercase(),
    };
    let worker = |word: &str| {
        let (name, slots) = word.split_once(':').unwrap();
        WorkerSlots {
            name: WorkerName::from(name),
            slots: (0..).zip(slots.chars()).map(slot).collect(),
        }
    };
    text.split_whitespace().map(worker).collect()
}

fn request(text: &str) -> ResourcesSpec {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (min, max) = words[0].split_once("..").unwrap();
    let device = match words[3] {
        "auto" => DeviceRequest::Auto,
        "cpu" => DeviceRequest::Cpu,
        _ => DeviceRequest::Gpu,
    };
    ResourcesSpec {
        workers: WorkersSpec {
            min: min.parse().unwrap(),
            max: max.parse().unwrap(),
        },
        slots_per_worker: words[2].parse().unwrap(),
        device,
    }
}

fn placement(text: &str) -> Placement {
    let worker = |word: &str| {
        let (name, slots) = word.split_once(':').unwrap();
        (
            WorkerName::from(name),
            slots.split(',').map(|slot| slot.parse().unwrap()).collect(),
        )
    };
    Placement {
        workers: text.split_whitespace().map(worker).collect(),
    }
}

fn show(answer: Result<Placement, Blocked>) -> String {
    match answer {
        Ok(placement) => {
            let worker = |(name, slots): (WorkerName, Vec<u32>)| {
                let slots: Vec<String> = slots.iter().map(u32::to_string).collect();
                format!("{name}:{}", slots.join(","))
            };
            placement.workers.into_iter().map(worker).collect::<Vec<_>>().join(" ")
        }
        Err(blocked) => format!(
            "{} ({})",
            blocked.reason,
            if blocked.enough_in_all { "later" } else { "never" }
        ),
    }
}

/// Request, workers, answer.
const PLACEMENTS: &[(&str, &str, &str)] = &[
    ("1..1 x 1 auto", "a:c", "a:0"),
    (
        "1..1 x 1 auto",
        "",
        "needs 1 worker with 1 free cpu slot; no worker is attached (never)",
    ),
    (
        "1..1 x 1 auto",
        "a:C",
        "needs 1 worker with 1 free cpu slot; 0 of 1 attached workers have one, 1 more is busy (later)",
    ),
    (
        "2..2 x 1 auto",
        "a:c",
        "needs 2 workers with 1 free cpu slot each; 1 of 1 attached workers has one (never)",
    ),
    (
        "2..2 x 1 cpu",
        "a:c b:C c:C",
        "needs 2 workers with 1 free cpu slot each; 1 of 3 attached workers has one, 2 more are busy (later)",
    ),
    ("2..2 x 1 auto", "a:cc b:cc", "a:0 b:0"),
    // as many as it takes, at least the fewest
    ("1..3 x 1 auto", "a:c b:c", "a:0 b:0"),
    ("1..2 x 1 auto", "a:c b:c c:c", "a:0 b:0"),
    ("2..3 x 1 auto", "a:c b:C c:c", "a:0 c:0"),
    // several slots at one place, never spread
    ("1..1 x 2 auto", "a:c b:cc", "b:0,1"),
    (
        "1..1 x 2 auto",
        "a:c b:cC",
        "needs 1 worker with 2 free cpu slots; 0 of 2 attached workers have them, 1 more is busy (later)",
    ),
    (
        "2..2 x 2 auto",
        "a:c b:cc",
        "needs 2 workers with 2 free cpu slots each; 1 of 2 attached workers has them (never)",
    ),
    // auto is GPUs wherever there are any, and kinds are never mixed
    ("1..1 x 1 auto", "a:c b:g", "b:0"),
    (
        "1..1 x 1 auto",
        "a:c b:G",
        "needs 1 worker with 1 free gpu slot; 0 of 2 attached workers have one, 1 more is busy (later)",
    ),
    (
        "2..2 x 1 auto",
        "a:c b:g",
        "needs 2 workers with 1 free gpu slot each; 1 of 2 attached workers has one (never)",
    ),
    ("1..2 x 1 auto", "a:cg b:c", "a:1"),
    (
        "1..1 x 2 auto",
        "a:cg",
        "needs 1 worker with 2 free gpu slots; 0 of 1 attached workers have them (never)",
    ),
    ("1..2 x 1 cpu", "a:cg b:c", "a:0 b:0"),
    (
        "1..1 x 1 gpu",
        "a:c",
        "needs 1 worker with 1 free gpu slot; 0 of 1 attached workers have one (never)",
    ),
    // the fullest worker first, so that whole workers stay free; the lowest slots
    ("1..1 x 1 auto", "a:ccc b:Ccc c:cccc", "b:1"),
];

#[test]
fn workers_that_do_not_count_are_named_with_the_reason_three_of_them_at_most() {
    let blocked = Blocked {
        kind: DeviceKind::Cpu,
        enough_in_all: false,
        reason: "needs 1 worker with 1 free cpu slot; no worker is attached".to_owned(),
    };
    let too_old = |number: u32| {
        format!("worker w{number} speaks revision 1 (build 0.1.0); the job needs 2 because of spec.task.type")
    };
    assert_eq!(blocked.clone().because(&[]), blocked);
    assert_eq!(
        blocked.clone().because(&[too_old(1)]).reason,
        "needs 1 worker with 1 free cpu slot; no worker is attached; worker w1 speaks revision 1 (build 0.1.0); the job needs 2 \
         because of spec.task.type"
    );
    let many: Vec<String> = (1..=5).map(too_old).collect();
    let reason = blocked.because(&many).reason;
    assert!(
        reason.contains("worker w3") && !reason.contains("worker w4"),
        "{reason}"
    );
    assert!(reason.ends_with("; and 2 more like this"), "{reason}");
}

#[test]
fn gangs_are_placed_whole_or_the_reason_says_what_is_missing() {
    for &(asked, there, expected) in PLACEMENTS {
        let problem = Problem {
            request: request(asked),
            workers: workers(there),
            in_addition: false,
            is_choice: false,
        };
        assert_eq!(show(solve(&problem, None)), expected, "{asked} on {there}");
    }
}

#[test]
fn a_gang_goes_back_to_where_it_ran() {
    let table = [
        // request, workers, earlier placement, answer
        ("1..1 x 1 auto", "a:c b:c", "b:0", "b:0"),
        ("2..2 x 1 auto", "a:c b:c c:c", "c:0 b:0", "c:0 b:0"),
        ("2..2 x 1 auto", "a:c b:C c:c", "c:0 b:0", "c:0 a:0"),
        ("1..1 x 1 auto", "a:ccc", "a:2", "a:2"),
        ("1..1 x 2 auto", "a:cccC", "a:2,3", "a:0,2"),
        ("1..2 x 1 auto", "a:c b:c", "b:0", "b:0 a:0"),
    ];
    for (asked, there, earlier, expected) in table {
        let problem = Problem {
            request: request(asked),
            workers: workers(there),
            in_addition: false,
            is_choice: false,
        };
        let earlier = placement(earlier);
        assert_eq!(
            show(solve(&problem, Some(&earlier))),
            expected,
            "{asked} on {there} after {earlier:?}"
        );
    }
}

fn any_problem() -> impl Strategy<Value = Problem> {
    let slots = prop::collection::vec((prop::bool::ANY, prop::bool::weighted(0.7)), 0..4);
    let workers = prop::collection::vec(slots, 0..6);
    let device = prop_oneof![
        Just(DeviceRequest::Auto),
        Just(DeviceRequest::Cpu),
        Just(DeviceRequest::Gpu)
    ];
    (workers, 1..4u32, 0..3u32, 1..3u32, device).prop_map(|(workers, min_workers, more, slots_per_worker, device)| {
        let slot = |(index, (gpu, free)): (u32, (bool, bool))| {
            let kind = if gpu { DeviceKind::Gpu } else { DeviceKind::Cpu };
            SlotState { index, kind, free }
        };
        let worker = |(number, slots): (u32, Vec<(bool, bool)>)| WorkerSlots {
            name: WorkerName::from(format!("w{number}")),
            slots: (0..).zip(slots).map(slot).collect(),
        };
        Problem {
            request: ResourcesSpec {
                workers: WorkersSpec {
                    min: min_workers,
                    max: min_workers + more,
                },
                slots_per_worker,
                device,
            },
            workers: (0..).zip(workers).map(worker).collect(),
            in_addition: false,
            is_choice: false,
        }
    })
}

proptest! {
    #[test]
    fn a_placement_is_whole_and_on_free_slots_of_one_kind_and_stays_when_solved_again(
        problem in any_problem(), earlier in any_problem(),
    ) {
        let earlier = solve(&earlier, None).ok();
        let Ok(placement) = solve(&problem, earlier.as_ref()) else { return Ok(()) };
        let request = problem.request;
        let workers = placement.workers.len();
        prop_assert!((request.workers.min as usize..=request.workers.max as usize).contains(&workers));
        let mut kinds = Vec::new();
        for (name, slots) in &placement.workers {
            prop_assert_eq!(placement.workers.iter().filter(|(other, _)| other == name).count(), 1);
            prop_assert_eq!(slots.len(), request.slots_per_worker as usize);
            let worker = problem.workers.iter().find(|worker| worker.name == *name).unwrap();
            for (position, index) in slots.iter().enumerate() {
                prop_assert!(!slots[..position].contains(index));
                let slot = worker.slots.iter().find(|slot| slot.index == *index).unwrap();
                prop_assert!(slot.free);
                kinds.push(slot.kind);
            }
        }
        prop_assert!(kinds.iter().all(|found| *found == kind(request.device, &problem.workers)));
        prop_assert_eq!(solve(&problem, Some(&placement)), Ok(placement.clone()));
    }
}

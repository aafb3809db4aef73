//! What ranks that all work get: exact sums, broadcasts and barriers.

use std::sync::mpsc;
use std::thread;

use firn_collective::{Buffer, Collective, Ring};
use proptest::prelude::*;

use super::{SOON, check_sum, gang, on_all, values};

#[test]
fn the_sum_is_exact_on_every_rank_for_one_to_five_ranks_and_any_length() {
    for world in 1..=5 {
        let mut rings = gang(world);
        for elements in [
            0,
            1,
            world as usize - 1,
            world as usize,
            997,
            4096,
            4097,
            10_007,
            1_000_000,
        ] {
            check_sum(&mut rings, elements);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_sum_is_exact_for_lengths_nobody_chose(world in 1u32..=5, lengths in prop::collection::vec(0usize..60_000, 1..4)) {
        let mut rings = gang(world);
        for elements in lengths {
            check_sum(&mut rings, elements);
        }
    }
}

#[test]
fn all_ranks_hold_the_same_bytes_and_a_second_run_gives_them_again() {
    for elements in [100, 50_000] {
        let mut rings = gang(4);
        let run = |ring: &mut Ring| {
            let mut sum: Vec<f32> = values(ring.rank(), elements)
                .iter()
                .map(|value| (value * 0.1).exp2())
                .collect();
            ring.all_reduce_sum(Buffer::Host(&mut sum)).unwrap();
            sum.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        };
        let first = on_all(&mut rings, run);
        assert!(
            first.windows(2).all(|pair| pair[0] == pair[1]),
            "ranks disagree on {elements} elements"
        );
        assert!(first == on_all(&mut rings, run), "the order of addition changed");
    }
}

#[test]
fn a_broadcast_reaches_everyone_from_every_root() {
    for world in 1..=4 {
        let mut rings = gang(world);
        for root in 0..world {
            for elements in [0, 1, 5000, 300_001] {
                let results = on_all(&mut rings, |ring| {
                    let mut buffer = values(ring.rank(), elements);
                    ring.broadcast(Buffer::Host(&mut buffer), root).unwrap();
                    buffer
                });
                assert!(results.iter().all(|buffer| *buffer == values(root, elements)));
            }
        }
    }
}

#[test]
fn nobody_passes_a_barrier_before_the_last_has_come() {
    let mut rings = gang(3);
    let late = rings.pop().unwrap();
    let (passed, passes) = mpsc::channel();
    thread::scope(|scope| {
        let handles: Vec<_> = rings.iter().map(Collective::abort_handle).collect();
        for mut ring in rings {
            let passed = passed.clone();
            scope.spawn(move || {
                ring.barrier().unwrap();
                passed.send(ring.rank()).unwrap();
                ring
            });
        }
        while handles.iter().any(|handle| handle.sequence() == 0) {
            thread::yield_now();
        }
        assert!(passes.try_recv().is_err(), "a rank passed the barrier alone");
        let mut late = late;
        late.barrier().unwrap();
        let mut ranks = [passes.recv_timeout(SOON).unwrap(), passes.recv_timeout(SOON).unwrap()];
        ranks.sort_unstable();
        assert_eq!(ranks, [0, 1]);
    });
}

#[test]
fn different_operations_follow_each_other_without_confusion() {
    let mut rings = gang(3);
    on_all(&mut rings, |ring| {
        for round in 0..50 {
            let mut sum = values(ring.rank(), 7 + round * 199);
            ring.all_reduce_sum(Buffer::Host(&mut sum)).unwrap();
            ring.barrier().unwrap();
            ring.broadcast(Buffer::Host(&mut sum), round as u32 % 3).unwrap();
        }
        assert_eq!(ring.sequence(), 150);
    });
}

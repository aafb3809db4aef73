//! Rings of threads on the loopback interface: exact sums, and every way in which a neighbour can fail.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use firn_collective::{Buffer, Collective, CollectiveError, Operation, Ring, RingListener, RingOptions};
use proptest::prelude::*;

const SOON: Duration = Duration::from_secs(20);

fn options() -> RingOptions {
    RingOptions {
        deadline: SOON,
        connect_deadline: SOON,
        session: 7,
    }
}

/// Connected rings in rank order.
fn gang(world: u32) -> Vec<Ring> {
    let listeners: Vec<_> = (0..world).map(|_| RingListener::bind("127.0.0.1").unwrap()).collect();
    let addresses: Vec<_> = listeners.iter().map(RingListener::address).collect();
    thread::scope(|scope| {
        let joining: Vec<_> = (0..world)
            .zip(listeners)
            .map(|(rank, listener)| {
                let addresses = &addresses;
                scope.spawn(move || listener.connect(rank, addresses, 1, options()).unwrap())
            })
            .collect();
        joining.into_iter().map(|ring| ring.join().unwrap()).collect()
    })
}

/// Runs `work` on every ring at once; the results in rank order. The rings live until all are done.
fn on_all<T: Send>(rings: &mut [Ring], work: impl Fn(&mut Ring) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let running: Vec<_> = rings.iter_mut().map(|ring| scope.spawn(|| work(ring))).collect();
        running.into_iter().map(|result| result.join().unwrap()).collect()
    })
}

/// Small whole numbers, so that any order of addition gives the same exact sum.
fn value(rank: u32, index: usize) -> f32 {
    ((index * 31 + rank as usize * 17) % 1000) as f32 - 300.0
}

fn values(rank: u32, elements: usize) -> Vec<f32> {
    (0..elements).map(|index| value(rank, index)).collect()
}

fn check_sum(rings: &mut [Ring], elements: usize) {
    let world = rings.len() as u32;
    let expected: Vec<f32> = (0..elements)
        .map(|index| (0..world).map(|rank| value(rank, index)).sum())
        .collect();
    let sums = on_all(rings, |ring| {
        let mut sum = values(ring.rank(), elements);
        ring.all_reduce_sum(Buffer::Host(&mut sum)).unwrap();
        sum
    });
    for (rank, sum) in sums.iter().enumerate() {
        assert!(
            *sum == expected,
            "rank {rank} of {world} has another sum of {elements} elements"
        );
    }
}

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

#[test]
fn an_abort_unblocks_a_waiting_rank_at_once_and_for_good() {
    for elements in [10, 3_000_000] {
        let mut rings = gang(2);
        let _absent = rings.pop().unwrap();
        let mut ring = rings.pop().unwrap();
        let handle = ring.abort_handle();
        let waiting = thread::spawn(move || {
            let first = ring.all_reduce_sum(Buffer::Host(&mut vec![1.0; elements])).unwrap_err();
            (first, Instant::now(), ring.barrier().unwrap_err())
        });
        while handle.sequence() == 0 {
            thread::yield_now();
        }
        let aborted = Instant::now();
        handle.abort();
        let (first, noticed, later) = waiting.join().unwrap();
        assert!(
            matches!(
                first,
                CollectiveError::Aborted {
                    operation: Operation::AllReduceSum,
                    ..
                }
            ),
            "{first}"
        );
        assert!(
            matches!(
                later,
                CollectiveError::Aborted {
                    operation: Operation::Barrier,
                    ..
                }
            ),
            "{later}"
        );
        assert!(noticed.duration_since(aborted) < Duration::from_secs(1));
    }
}

#[test]
fn an_abort_unblocks_a_rank_that_still_looks_for_its_neighbours() {
    let listener = RingListener::bind("127.0.0.1").unwrap();
    let handle = listener.abort_handle();
    let addresses = vec![listener.address(), closed_address()];
    let connecting = thread::spawn(move || listener.connect(0, &addresses, 1, options()).unwrap_err());
    handle.abort();
    let error = connecting.join().unwrap();
    assert!(
        matches!(
            error,
            CollectiveError::Aborted {
                operation: Operation::Connect,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn an_abort_is_noticed_by_the_neighbours_too() {
    let mut rings = gang(3);
    let aborting = rings.remove(0);
    aborting.abort_handle().abort();
    let errors = on_all(&mut rings, |ring| ring.barrier().unwrap_err());
    assert!(
        errors
            .iter()
            .all(|error| matches!(error, CollectiveError::PeerLost { .. })),
        "{errors:?}"
    );
    assert!(errors[0].to_string().starts_with("rank 1 lost rank "), "{}", errors[0]);
}

#[test]
fn a_lost_peer_is_noticed_and_named_by_both_neighbours() {
    for elements in [1, 2_000_000] {
        let mut rings = gang(2);
        let lost = rings.pop().unwrap();
        let mut ring = rings.pop().unwrap();
        let handle = ring.abort_handle();
        let waiting = thread::spawn(move || {
            let error = ring.all_reduce_sum(Buffer::Host(&mut vec![1.0; elements])).unwrap_err();
            (error, ring.barrier().unwrap_err())
        });
        while handle.sequence() == 0 {
            thread::yield_now();
        }
        drop(lost);
        let (error, later) = waiting.join().unwrap();
        assert!(
            matches!(
                error,
                CollectiveError::PeerLost {
                    rank: 0,
                    lost: 1,
                    sequence: 1,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            matches!(&later, CollectiveError::Broken { cause, .. } if *cause == error.to_string()),
            "{later}"
        );
    }
}

#[test]
fn a_loss_travels_round_the_ring_to_ranks_that_are_not_neighbours() {
    let mut rings = gang(5);
    drop(rings.remove(2));
    let errors = on_all(&mut rings, |ring| {
        ring.all_reduce_sum(Buffer::Host(&mut vec![1.0; 100_000])).unwrap_err()
    });
    assert!(
        errors
            .iter()
            .all(|error| matches!(error, CollectiveError::PeerLost { .. })),
        "{errors:?}"
    );
}

#[test]
fn ranks_that_disagree_about_the_length_name_each_other() {
    for (short, long) in [(3, 4), (100, 100_000), (100_000, 100_001)] {
        let mut rings = gang(2);
        let errors = on_all(&mut rings, |ring| {
            let elements = if ring.rank() == 0 { short } else { long };
            ring.all_reduce_sum(Buffer::Host(&mut vec![1.0; elements])).unwrap_err()
        });
        assert_eq!(
            errors[0].to_string(),
            format!(
                "ranks are out of step: rank 0 is in all-reduce #1 of {short} elements, rank 1 is in all-reduce #1 of {long} elements"
            )
        );
        assert!(
            matches!(errors[1], CollectiveError::Desync { rank: 1, peer: 0, .. }),
            "{}",
            errors[1]
        );
    }
}

#[test]
fn ranks_in_different_operations_name_each_other() {
    let mut rings = gang(3);
    let errors = on_all(&mut rings, |ring| match ring.rank() {
        0 => ring.broadcast(Buffer::Host(&mut [0.0; 8]), 1).unwrap_err(),
        _ => ring.all_reduce_sum(Buffer::Host(&mut vec![0.0; 50_000])).unwrap_err(),
    });
    let named = errors.iter().any(|error| {
        let text = error.to_string();
        text.contains("broadcast #1 of 8 elements from rank 1") && text.contains("all-reduce #1 of 50000 elements")
    });
    assert!(named, "{errors:?}");
}

#[test]
fn a_rank_that_skipped_an_operation_is_found_by_its_number() {
    let mut rings = gang(2);
    on_all(&mut rings, |ring| ring.barrier().unwrap());
    let errors = on_all(&mut rings, |ring| {
        if ring.rank() == 1 {
            ring.broadcast(Buffer::Host(&mut []), 1)
                .and_then(|()| ring.barrier())
                .unwrap_err()
        } else {
            ring.barrier().unwrap_err()
        }
    });
    let text = errors[0].to_string();
    assert!(
        text.contains("rank 0 is in barrier #2") && text.contains("rank 1 is in broadcast #2"),
        "{text}"
    );
}

#[test]
fn a_deadline_ends_an_operation_and_says_who_is_missing() {
    let mut rings = gang(2);
    let _absent = rings.pop().unwrap();
    let mut ring = rings.pop().unwrap();
    ring.set_deadline(Duration::from_millis(30));
    let error = ring
        .all_reduce_sum(Buffer::Host(&mut vec![1.0; 1_000_000]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "all-reduce #1 on rank 0 did not end within 30ms: waiting for rank 1 (0 of 4000000 bytes received)"
    );
}

/// An address on which nobody listens. Each is on a loopback address of its own, where no other test can be given the same port.
fn closed_address() -> String {
    static TAKEN: AtomicU8 = AtomicU8::new(2);
    let host = format!("127.0.1.{}", TAKEN.fetch_add(1, Ordering::Relaxed));
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().to_string()
}

/// An address that accepts calls and never answers, as long as the listener lives.
fn silent_address() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap().to_string(), listener)
}

#[test]
fn a_neighbour_that_never_listens_is_named_at_the_deadline() {
    let listener = RingListener::bind("127.0.0.1").unwrap();
    let address = closed_address();
    let addresses = vec![listener.address(), address.clone()];
    let brief = RingOptions {
        connect_deadline: Duration::from_millis(50),
        ..options()
    };
    let error = listener.connect(0, &addresses, 1, brief).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(
            error,
            CollectiveError::DeadlineExpired {
                operation: Operation::Connect,
                ..
            }
        ),
        "{text}"
    );
    assert!(text.contains(&format!("rank 1 at {address} does not answer")), "{text}");
}

#[test]
fn a_neighbour_may_start_later() {
    let first = RingListener::bind("127.0.0.1").unwrap();
    let reserved = closed_address();
    let addresses = vec![first.address(), reserved.clone()];
    thread::scope(|scope| {
        let joining = scope.spawn(|| first.connect(0, &addresses, 1, options()).unwrap());
        // Calls are refused until the port listens; then a plain peer that knows the protocol answers.
        let late = TcpListener::bind(&reserved).unwrap();
        let (mut caller, _) = late.accept().unwrap();
        let mut hello = [0; 40];
        caller.read_exact(&mut hello).unwrap();
        // The answer: rank 1, welcome. Then the call to rank 0 in its place.
        hello[24..28].copy_from_slice(&1u32.to_le_bytes());
        hello[32..36].copy_from_slice(&1u32.to_le_bytes());
        caller.write_all(&hello).unwrap();
        let mut call = std::net::TcpStream::connect(&addresses[0]).unwrap();
        hello[32..36].copy_from_slice(&0u32.to_le_bytes());
        call.write_all(&hello).unwrap();
        assert_eq!(joining.join().unwrap().world_size(), 2);
    });
}

#[test]
fn a_rank_of_an_older_generation_is_refused_with_both_named_and_the_new_ring_still_forms() {
    let listeners: Vec<_> = (0..2).map(|_| RingListener::bind("127.0.0.1").unwrap()).collect();
    let addresses: Vec<_> = listeners.iter().map(RingListener::address).collect();
    let stale = RingListener::bind("127.0.0.1").unwrap();
    let mut listeners = listeners.into_iter();
    let (first, second) = (listeners.next().unwrap(), listeners.next().unwrap());
    thread::scope(|scope| {
        let one = scope.spawn(|| second.connect(1, &addresses, 5, options()).unwrap());
        // The stale rank 0 calls rank 1 first; only when it was refused does the true rank 0 call.
        let error = stale.connect(0, &addresses, 4, options()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{} refused this rank: we are rank 0 of 2, generation 4, session 0000000000000007; \
                 there is rank 1 of 2, generation 5, session 0000000000000007",
                addresses[1]
            )
        );
        let mut zero = first.connect(0, &addresses, 5, options()).unwrap();
        let mut one = one.join().unwrap();
        let other = scope.spawn(move || one.barrier().unwrap());
        zero.barrier().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn a_rank_of_another_job_or_another_world_is_refused() {
    for (world, theirs) in [
        (
            2,
            RingOptions {
                session: 8,
                ..options()
            },
        ),
        (3, options()),
    ] {
        let listener = RingListener::bind("127.0.0.1").unwrap();
        let (door, handle) = (listener.address(), listener.abort_handle());
        let (silent, _listener) = silent_address();
        let known = vec![silent.clone(), door.clone()];
        let mut called = vec![silent.clone(), door];
        called.resize(world, silent);
        thread::scope(|scope| {
            let host = scope.spawn(move || listener.connect(1, &known, 1, options()).unwrap_err());
            let error = RingListener::bind("127.0.0.1")
                .unwrap()
                .connect(0, &called, 1, theirs)
                .unwrap_err();
            assert!(matches!(error, CollectiveError::Refused { .. }), "{error}");
            handle.abort();
            assert!(matches!(host.join().unwrap(), CollectiveError::Aborted { .. }));
        });
    }
}

#[test]
fn a_server_that_speaks_something_else_is_recognised() {
    let (address, server) = silent_address();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut caller, _) = server.accept().unwrap();
            let mut hello = [0; 40];
            caller.read_exact(&mut hello).unwrap();
            caller
                .write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                .unwrap();
        });
        let listener = RingListener::bind("127.0.0.1").unwrap();
        let addresses = vec![listener.address(), address];
        let error = listener.connect(0, &addresses, 1, options()).unwrap_err();
        assert!(matches!(error, CollectiveError::ForeignProtocol { .. }), "{error}");
    });
}

#[test]
fn wrong_arguments_are_refused_and_leave_the_ring_usable() {
    let listener = RingListener::bind("127.0.0.1").unwrap();
    let addresses = vec![listener.address()];
    let mut ring = listener.connect(0, &addresses, 1, options()).unwrap();
    let error = ring.broadcast(Buffer::Host(&mut []), 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "broadcast root must be below the world size 1, found 1"
    );
    let error = ring
        .all_reduce_sum(Buffer::Device {
            pointer: 64,
            elements: 1,
        })
        .unwrap_err();
    assert_eq!(error.to_string(), "ring takes host buffers, found a device buffer");
    ring.barrier().unwrap();
    let error = RingListener::bind("127.0.0.1")
        .unwrap()
        .connect(1, &addresses, 1, options())
        .unwrap_err();
    assert_eq!(error.to_string(), "rank 1 of 1 cannot be formed from 1 addresses");
}

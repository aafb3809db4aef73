//! A rank that is lost, or gives up: its neighbours are told at once, and no one waits for ever.

use std::thread;
use std::time::{Duration, Instant};

use firn_collective::{Buffer, Collective, CollectiveError, Operation, RingListener};

use super::{closed_address, gang, on_all, options};

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

//! Ranks that do different things name each other; wrong arguments are refused.

use std::time::Duration;

use firn_collective::{Buffer, Collective, CollectiveError, RingListener};

use super::{gang, on_all, options};

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

//! How ranks find each other, and whom they turn away.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use firn_collective::{Collective, CollectiveError, Operation, RingListener, RingOptions};

use super::{closed_address, options};

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

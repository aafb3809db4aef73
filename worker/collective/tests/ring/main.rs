//! Rings of threads on the loopback interface: exact sums, and every way in which a neighbour can fail.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod disagreements;
mod losses;
mod rendezvous;
mod sums;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use firn_collective::{Buffer, Collective, Ring, RingListener, RingOptions};

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

/// An address on which nobody listens. Each is on a loopback address of its own, where no other test can be given the same port.
fn closed_address() -> String {
    static TAKEN: AtomicU8 = AtomicU8::new(2);
    let host = format!("127.0.1.{}", TAKEN.fetch_add(1, Ordering::Relaxed));
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().to_string()
}

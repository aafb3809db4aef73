//! The ring beside plain TCP, in one run: `cargo bench -p firn-collective --bench ring [-- --json]`.
//!
//! The plain side moves, in each direction at once, as many bytes as each rank of a two-rank all-reduce sends, with one thread that writes
//! and one that reads on each side: nothing but the copies through the kernel. It is timed twice, from and into 25 MiB of memory as the ring
//! must, and from and into one small buffer over and over, which stays in the cache; the faster one counts. Rounds alternate, so that
//! whatever else the machine does falls on all. The ring also adds; its time must be at most twice the plain time.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use firn_collective::{Buffer, Collective, Ring, RingListener, RingOptions};

const MIB: usize = 1 << 20;
const LARGE: usize = 25 * MIB;
const ROUNDS: usize = 31;
const SMALL: usize = 4 << 10;
const SMALL_CALLS: u32 = 2000;

fn gang(world: u32) -> Vec<Ring> {
    let listeners: Vec<_> = (0..world)
        .map(|_| RingListener::bind("127.0.0.1").expect("loopback"))
        .collect();
    let addresses: Vec<_> = listeners.iter().map(RingListener::address).collect();
    let joining: Vec<_> = (0..world)
        .zip(listeners)
        .map(|(rank, listener)| {
            let addresses = addresses.clone();
            thread::spawn(move || {
                listener
                    .connect(rank, &addresses, 1, RingOptions::default())
                    .expect("loopback")
            })
        })
        .collect();
    joining.into_iter().map(|ring| ring.join().expect("joins")).collect()
}

/// Two sockets that are connected to each other.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let one = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let (two, _) = listener.accept().expect("loopback");
    for socket in [&one, &two] {
        socket.set_nodelay(true).expect("a TCP socket");
    }
    (one, two)
}

/// Seconds of each of `rounds` calls of `work` on each worker, which all start together; the slowest worker counts.
struct Crew {
    gate: Arc<Barrier>,
}

impl Crew {
    fn timed(&self, work: impl FnOnce()) -> (Instant, Instant) {
        self.gate.wait();
        let start = Instant::now();
        work();
        (start, Instant::now())
    }
}

fn span(times: impl IntoIterator<Item = (Instant, Instant)>) -> Duration {
    let times: Vec<_> = times.into_iter().collect();
    let start = times.iter().map(|time| time.0).min().expect("one worker at least");
    times.iter().map(|time| time.1).max().expect("one worker at least") - start
}

/// One round of plain streams: 25 MiB each way at once, through buffers of any size that divides it.
fn plain(sockets: &mut (TcpStream, TcpStream), buffers: &mut [Vec<u8>; 4]) -> Duration {
    let passes = LARGE / buffers[0].len();
    let crew = Crew {
        gate: Arc::new(Barrier::new(4)),
    };
    let (mut write_one, mut write_two) = (&sockets.0, &sockets.1);
    let (mut read_one, mut read_two) = (&sockets.0, &sockets.1);
    let [from_one, from_two, to_one, to_two] = buffers;
    let crew = &crew;
    thread::scope(|scope| {
        let running = [
            scope.spawn(move || {
                crew.timed(|| (0..passes).for_each(|_| write_one.write_all(from_one).expect("peer reads")))
            }),
            scope.spawn(move || {
                crew.timed(|| (0..passes).for_each(|_| write_two.write_all(from_two).expect("peer reads")))
            }),
            scope.spawn(move || {
                crew.timed(|| (0..passes).for_each(|_| read_one.read_exact(to_one).expect("peer writes")))
            }),
            scope.spawn(move || {
                crew.timed(|| (0..passes).for_each(|_| read_two.read_exact(to_two).expect("peer writes")))
            }),
        ];
        span(running.map(|worker| worker.join().expect("no panic")))
    })
}

/// One round of all-reduces, `calls` each.
fn reduce(rings: &mut [Ring], buffers: &mut [Vec<f32>], calls: u32) -> Duration {
    let crew = Crew {
        gate: Arc::new(Barrier::new(rings.len())),
    };
    let crew = &crew;
    thread::scope(|scope| {
        let running: Vec<_> = rings
            .iter_mut()
            .zip(buffers)
            .map(|(ring, buffer)| {
                scope.spawn(move || {
                    crew.timed(|| {
                        for _ in 0..calls {
                            ring.all_reduce_sum(Buffer::Host(black_box(buffer)))
                                .expect("all ranks are here");
                        }
                    })
                })
            })
            .collect();
        span(running.into_iter().map(|worker| worker.join().expect("no panic")))
    })
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let mut sockets = pair();
    let mut bytes = [(); 4].map(|()| vec![0u8; LARGE]);
    let mut few_bytes = [(); 4].map(|()| vec![0u8; LARGE / 100]);
    let (mut two, mut four) = (gang(2), gang(4));
    let mut numbers: Vec<Vec<f32>> = (0..4).map(|_| vec![0.0; LARGE / 4]).collect();
    let mut rounds: [Vec<Duration>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let times = [
            plain(&mut sockets, &mut bytes),
            plain(&mut sockets, &mut few_bytes),
            reduce(&mut two, &mut numbers[..2], 1),
            reduce(&mut four, &mut numbers, 1),
        ];
        // The first round touches memory and opens the windows.
        if round > 0 {
            rounds.iter_mut().zip(times).for_each(|(times, time)| times.push(time));
        }
    }
    let mut small: Vec<Vec<f32>> = (0..4).map(|_| vec![0.0; SMALL / 4]).collect();
    let latency = |rings: &mut [Ring], small: &mut [Vec<f32>]| {
        let rounds = (0..5).map(|_| reduce(rings, small, SMALL_CALLS)).collect();
        median(rounds) / f64::from(SMALL_CALLS) * 1e6
    };
    let latencies = [latency(&mut two, &mut small[..2]), latency(&mut four, &mut small)];
    report(rounds.map(median), latencies, json);
}

fn report([memory, cache, ring2, ring4]: [f64; 4], latencies: [f64; 2], json: bool) {
    let ratio = ring2 / memory.min(cache);
    if json {
        println!(
            "{{\"plainSeconds\":{memory:.6},\"plainCachedSeconds\":{cache:.6},\"ring2Seconds\":{ring2:.6},\"ring4Seconds\":{ring4:.6},\
             \"ratio\":{ratio:.3},\"latency2Microseconds\":{:.1},\"latency4Microseconds\":{:.1}}}",
            latencies[0], latencies[1]
        );
        return;
    }
    println!("25 MiB, median of {ROUNDS} interleaved rounds");
    for (name, seconds) in [
        ("plain TCP, both directions", memory),
        ("plain TCP, from and into the cache", cache),
        ("ring all-reduce, 2 ranks", ring2),
        ("ring all-reduce, 4 ranks", ring4),
    ] {
        println!(
            "  {name:<36}{:8.2} ms {:7.0} MiB/s",
            seconds * 1e3,
            (LARGE / MIB) as f64 / seconds
        );
    }
    println!("  ring (2 ranks) / faster plain stream{ratio:8.2}    (at most 2.00)");
    println!(
        "4 KiB all-reduce: {:.1} us with 2 ranks, {:.1} us with 4",
        latencies[0], latencies[1]
    );
}

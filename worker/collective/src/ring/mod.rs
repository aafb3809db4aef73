//! All-reduce, broadcast and barrier over TCP, each rank talking to the next and the previous one only.
//!
//! This is the collective of machines without GPUs, and the fallback wherever NCCL cannot be used. Two algorithms, chosen by length alone
//! so that all ranks choose alike:
//!
//! - **Chunked ring** (Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations"): the buffer is cut into
//!   one segment a rank; in n-1 steps each segment travels round the ring and is summed on the way (reduce-scatter), in n-1 more the sums
//!   travel on (all-gather). Each rank sends and receives 2(n-1)/n of the buffer, both at once. Segment s is summed in the order
//!   s, s+1, …, and its bytes are then copied, so the result is the same bytes on all ranks.
//! - **Gather** for buffers up to [`GATHER_BYTES`]: everyone's buffer goes to everyone, both ways round the ring at once, in ⌈(n-1)/2⌉ hops
//!   instead of 2(n-1); each rank then adds in rank order. Recursive doubling needs ⌈log₂ n⌉ hops but log₂ n connections a rank, and gains
//!   nothing up to five ranks.

mod attempt;
mod exchange;
mod flow;
mod message;
mod rendezvous;

use std::ops::Range;
use std::time::Duration;

use attempt::Attempt;
use exchange::{Links, Memory};
use flow::{Direction, Flow, PIECE_BYTES, Route};
pub use rendezvous::RingListener;

use crate::{AbortHandle, Announcement, Buffer, Collective, CollectiveError, Operation};

/// Buffers up to this many bytes take the low-latency path.
pub const GATHER_BYTES: usize = 16 << 10;

/// How long things may take, and who belongs together.
#[derive(Debug, Clone, Copy)]
pub struct RingOptions {
    /// Of each operation, from its call on this rank: includes waiting for slower ranks.
    pub deadline: Duration,
    /// For finding and greeting both neighbours.
    pub connect_deadline: Duration,
    /// The same number on all ranks of a job and on no others, so that a reused port of another job is noticed.
    pub session: u64,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(300),
            connect_deadline: Duration::from_secs(60),
            session: 0,
        }
    }
}

/// One rank of a ring.
#[derive(Debug)]
pub struct Ring {
    rank: u32,
    world_size: u32,
    deadline: Duration,
    abort: AbortHandle,
    /// `None` in a ring of one.
    links: Option<Links>,
    /// Why the ring takes no more work.
    broken: Option<String>,
    scratch: Vec<f32>,
    gathered: Vec<f32>,
}

impl Ring {
    fn new(rank: u32, world_size: u32, options: &RingOptions, abort: AbortHandle, links: Option<Links>) -> Self {
        let scratch = vec![0.0; if links.is_some() { PIECE_BYTES / 4 } else { 0 }];
        let deadline = options.deadline;
        Self {
            rank,
            world_size,
            deadline,
            abort,
            links,
            broken: None,
            scratch,
            gathered: Vec::new(),
        }
    }

    /// Changes the deadline of the operations that follow.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Numbers, announces and runs one operation; any error is the last one.
    fn operate(
        &mut self,
        announcement: Announcement,
        work: impl FnOnce(&mut Self, &Links, &Attempt<'_>) -> Result<(), CollectiveError>,
    ) -> Result<(), CollectiveError> {
        let abort = self.abort.clone();
        let running = abort.begin_operation(announcement.operation);
        let sequence = running.sequence;
        let announcement = Announcement {
            sequence,
            ..announcement
        };
        let attempt = Attempt::new(self.rank, announcement, self.deadline, &abort);
        if abort.is_aborted() {
            return Err(attempt.aborted());
        }
        if let Some(cause) = self.broken.clone() {
            let operation = announcement.operation;
            return Err(CollectiveError::Broken {
                rank: self.rank,
                operation,
                sequence,
                cause,
            });
        }
        let Some(links) = self.links.take() else { return Ok(()) };
        let outcome = work(self, &links, &attempt);
        self.links = Some(links);
        if let Err(error) = &outcome {
            tracing::debug!(rank = self.rank, sequence, %error, "collective failed");
            self.broken = Some(error.to_string());
            // The neighbours would otherwise wait for us until their deadline.
            abort.shut_down_writes();
        }
        outcome
    }

    fn host<'a>(&self, buffer: Buffer<'a>) -> Result<&'a mut [f32], CollectiveError> {
        let found = buffer.place();
        match buffer {
            Buffer::Host(values) => Ok(values),
            Buffer::Device { .. } => Err(CollectiveError::WrongBuffer {
                collective: "ring",
                expected: "host",
                found,
            }),
        }
    }

    fn gather_sum(&mut self, values: &mut [f32], links: &Links, attempt: &Attempt<'_>) -> Result<(), CollectiveError> {
        let (rank, world, length) = (self.rank as usize, self.world_size as usize, values.len());
        self.gathered.clear();
        self.gathered.resize(world * length, 0.0);
        self.gathered[rank * length..][..length].copy_from_slice(values);
        let header = message::encode_header(&attempt.announcement);
        let mut flows: Vec<Flow> = gather_routes(rank, world, length * 4)
            .into_iter()
            .map(|route| Flow::new(route, header))
            .collect();
        let mut memory = Memory {
            buffer: &mut self.gathered,
            scratch: &mut self.scratch,
        };
        links.exchange(attempt, &mut flows, &mut memory)?;
        values.copy_from_slice(&self.gathered[..length]);
        for other in self.gathered[length..].chunks_exact(length.max(1)) {
            for (sum, term) in values.iter_mut().zip(other) {
                *sum += *term;
            }
        }
        Ok(())
    }

    fn route(
        &mut self,
        route: Route,
        values: &mut [f32],
        links: &Links,
        attempt: &Attempt<'_>,
    ) -> Result<(), CollectiveError> {
        let mut flows = [Flow::new(route, message::encode_header(&attempt.announcement))];
        let mut memory = Memory {
            buffer: values,
            scratch: &mut self.scratch,
        };
        links.exchange(attempt, &mut flows, &mut memory)
    }
}

impl Collective for Ring {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn world_size(&self) -> u32 {
        self.world_size
    }

    fn all_reduce_sum(&mut self, buffer: Buffer<'_>) -> Result<(), CollectiveError> {
        let values = self.host(buffer)?;
        let announcement = announce(Operation::AllReduceSum, values.len(), 0);
        self.operate(announcement, |ring, links, attempt| {
            if values.len() * 4 <= GATHER_BYTES {
                return ring.gather_sum(values, links, attempt);
            }
            let route = reduce_route(ring.rank as usize, ring.world_size as usize, values.len());
            ring.route(route, values, links, attempt)
        })
    }

    fn broadcast(&mut self, buffer: Buffer<'_>, root: u32) -> Result<(), CollectiveError> {
        let world_size = self.world_size;
        if root >= world_size {
            return Err(CollectiveError::InvalidRoot { root, world_size });
        }
        let values = self.host(buffer)?;
        let announcement = announce(Operation::Broadcast, values.len(), root);
        self.operate(announcement, |ring, links, attempt| {
            let from_root = (ring.rank + world_size - root) % world_size;
            let route = broadcast_route(from_root, world_size, values.len() * 4);
            ring.route(route, values, links, attempt)
        })
    }

    fn barrier(&mut self) -> Result<(), CollectiveError> {
        // One number from everyone to everyone: nobody can have it before all have come.
        self.operate(announce(Operation::Barrier, 0, 0), |ring, links, attempt| {
            ring.gather_sum(&mut [0.0], links, attempt)
        })
    }

    fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    fn sequence(&self) -> u64 {
        self.abort.sequence()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.abort.release();
    }
}

fn announce(operation: Operation, elements: usize, root: u32) -> Announcement {
    Announcement {
        sequence: 0,
        operation,
        elements: elements as u64,
        root,
    }
}

/// Bytes of segment `index` of `world` balanced segments of `elements` f32.
fn segment(index: usize, world: usize, elements: usize) -> Range<usize> {
    let edge = |index: usize| (elements / world * index + (elements % world).min(index)) * 4;
    edge(index)..edge(index + 1)
}

/// Segments r, r-1, r-2, … go out; r-1, r-2, … come in, and are added for the first world-1 steps.
fn reduce_route(rank: usize, world: usize, elements: usize) -> Route {
    let steps = 2 * (world - 1);
    let path: Vec<Range<usize>> = (0..=steps)
        .map(|step| segment((rank + 2 * world - step) % world, world, elements))
        .collect();
    Route {
        direction: Direction::Forward,
        outgoing: path[..steps].to_vec(),
        incoming: path[1..].to_vec(),
        lead: path[0].len(),
        added: path[1..world].iter().map(Range::len).sum(),
    }
}

/// Blocks travel both ways, the farthest half each; with an even world the forward way has one more.
fn gather_routes(rank: usize, world: usize, bytes: usize) -> Vec<Route> {
    let block = |index: usize| (index % world) * bytes..(index % world + 1) * bytes;
    let forward: Vec<Range<usize>> = (0..=world / 2).map(|hop| block(rank + world - hop)).collect();
    let backward: Vec<Range<usize>> = (0..=(world - 1) / 2).map(|hop| block(rank + hop)).collect();
    [(Direction::Forward, forward), (Direction::Backward, backward)]
        .into_iter()
        .filter(|(_, path)| path.len() > 1)
        .map(|(direction, path)| Route {
            direction,
            outgoing: path[..path.len() - 1].to_vec(),
            incoming: path[1..].to_vec(),
            lead: bytes,
            added: 0,
        })
        .collect()
}

/// The root sends, the last rank before it receives, those between do both.
fn broadcast_route(from_root: u32, world: u32, bytes: usize) -> Route {
    let whole = 0..bytes;
    let (is_root, is_last) = (from_root == 0, from_root == world - 1);
    Route {
        direction: Direction::Forward,
        outgoing: if is_last { Vec::new() } else { vec![whole.clone()] },
        incoming: if is_root { Vec::new() } else { vec![whole] },
        lead: if is_root { bytes } else { 0 },
        added: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_the_buffer_without_gap_for_any_world() {
        for world in 1..8 {
            for elements in [0, 1, world - 1, world, 17, 1000] {
                let segments: Vec<_> = (0..world).map(|index| segment(index, world, elements)).collect();
                assert_eq!((segments[0].start, segments[world - 1].end), (0, elements * 4));
                assert!(segments.windows(2).all(|pair| pair[0].end == pair[1].start));
            }
        }
    }

    #[test]
    fn what_a_rank_sends_is_what_the_next_one_expects() {
        for world in 2..7 {
            for rank in 0..world {
                let next = (rank + 1) % world;
                let (mine, theirs) = (reduce_route(rank, world, 1003), reduce_route(next, world, 1003));
                assert_eq!(mine.outgoing, theirs.incoming);
                for (mine, theirs) in gather_routes(rank, world, 8)
                    .into_iter()
                    .zip(gather_routes(next, world, 8))
                {
                    match mine.direction {
                        Direction::Forward => assert_eq!(mine.outgoing, theirs.incoming),
                        Direction::Backward => assert_eq!(mine.incoming, theirs.outgoing),
                    }
                }
            }
        }
    }
}

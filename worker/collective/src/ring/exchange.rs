//! Moves the flows of one operation over the two connections of a rank until all have ended, or one thing goes wrong.
//!
//! One thread, sockets that never block, and `poll` only when nothing moves. A sender thread beside a receiver was the alternative; it
//! costs a wake-up for each operation and a third and fourth thread on machines whose cores compute.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use super::attempt::Attempt;
use super::flow::{Direction, Flow};
use super::message::{HEADER_BYTES, decode_header};
use crate::CollectiveError;

/// A connection to a neighbour.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: u32,
    pub(super) socket: TcpStream,
}

/// The two connections of a rank. With two ranks both lead to the same peer.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) next: Link,
    pub(super) previous: Link,
}

/// The memory that an operation works on.
#[derive(Debug)]
pub(super) struct Memory<'a> {
    /// What the flows' routes are laid over.
    pub(super) buffer: &'a mut [f32],
    /// Room for one piece.
    pub(super) scratch: &'a mut [f32],
}

impl Links {
    fn target(&self, direction: Direction) -> &Link {
        match direction {
            Direction::Forward => &self.next,
            Direction::Backward => &self.previous,
        }
    }

    fn source(&self, direction: Direction) -> &Link {
        match direction {
            Direction::Forward => &self.previous,
            Direction::Backward => &self.next,
        }
    }

    /// Runs the flows to their end.
    pub(super) fn exchange(
        &self,
        attempt: &Attempt<'_>,
        flows: &mut [Flow],
        memory: &mut Memory<'_>,
    ) -> Result<(), CollectiveError> {
        let outcome = self.run(attempt, flows, memory);
        if !matches!(outcome, Err(CollectiveError::PeerLost { .. })) {
            return outcome;
        }
        // A neighbour that found us out of step hangs up; its header may still lie unread, and says more than its silence.
        for flow in flows.iter_mut() {
            let source = self.source(flow.direction);
            if let Ok(Some(true)) = flow.receive(&source.socket, memory.buffer, memory.scratch) {
                compare(attempt, source.peer, &flow.their_header)?;
            }
        }
        outcome
    }

    fn run(&self, attempt: &Attempt<'_>, flows: &mut [Flow], memory: &mut Memory<'_>) -> Result<(), CollectiveError> {
        loop {
            let mut moved = false;
            for flow in flows.iter_mut() {
                let (target, source) = (self.target(flow.direction), self.source(flow.direction));
                moved |= flow
                    .send(&target.socket, bytemuck::cast_slice(memory.buffer))
                    .map_err(|error| attempt.lost(target.peer, error))?;
                let received = flow
                    .receive(&source.socket, memory.buffer, memory.scratch)
                    .map_err(|error| attempt.lost(source.peer, describe(&error)))?;
                if received == Some(true) {
                    compare(attempt, source.peer, &flow.their_header)?;
                }
                moved |= received.is_some();
            }
            if !flows.iter().any(|flow| flow.send_due() || flow.receive_due()) {
                return Ok(());
            }
            if moved {
                attempt.check(|| self.missing(flows))?;
            } else {
                self.wait(attempt, flows)?;
            }
        }
    }

    fn wait(&self, attempt: &Attempt<'_>, flows: &[Flow]) -> Result<(), CollectiveError> {
        let links = [&self.next, &self.previous];
        let interests = [Interest::in_next(flows), Interest::in_previous(flows)];
        let mut descriptors = vec![attempt.wake()];
        let mut polled = Vec::with_capacity(2);
        for (link, interest) in links.into_iter().zip(&interests) {
            if let Some(events) = interest.events() {
                descriptors.push(PollFd::new(link.socket.as_fd(), events));
                polled.push((link, interest));
            }
        }
        attempt.wait(&mut descriptors, Duration::MAX, || self.missing(flows))?;
        for ((link, interest), descriptor) in polled.into_iter().zip(&descriptors[1..]) {
            let noticed = descriptor.revents().unwrap_or(PollFlags::empty());
            if !interest.receive_due && noticed.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR)
            {
                probe(attempt, link)?;
            }
        }
        Ok(())
    }

    /// For a message: what has not come or gone yet.
    fn missing(&self, flows: &[Flow]) -> String {
        let mut parts = Vec::new();
        for flow in flows {
            if flow.receive_due() {
                parts.push(format!(
                    "waiting for rank {} ({})",
                    self.source(flow.direction).peer,
                    flow.received()
                ));
            } else if flow.send_due() {
                parts.push(format!("rank {} takes no data", self.target(flow.direction).peer));
            }
        }
        parts.join(", ")
    }
}

/// What an operation still wants of one connection.
#[derive(Debug, Default)]
struct Interest {
    receive_due: bool,
    send_due: bool,
    can_send: bool,
}

impl Interest {
    fn in_next(flows: &[Flow]) -> Self {
        Self::of(flows, Direction::Backward, Direction::Forward)
    }

    fn in_previous(flows: &[Flow]) -> Self {
        Self::of(flows, Direction::Forward, Direction::Backward)
    }

    fn of(flows: &[Flow], receiving: Direction, sending: Direction) -> Self {
        Self {
            receive_due: flows
                .iter()
                .any(|flow| flow.direction == receiving && flow.receive_due()),
            send_due: flows.iter().any(|flow| flow.direction == sending && flow.send_due()),
            can_send: flows.iter().any(|flow| flow.direction == sending && flow.can_send()),
        }
    }

    /// `None`: the operation is done with this connection, and its end would be no loss: the peer may have finished and left.
    fn events(&self) -> Option<PollFlags> {
        if !self.receive_due && !self.send_due {
            return None;
        }
        // A peer that still has to take data from us cannot be done, so anything to read is its end or its mistake.
        let sending = if self.can_send {
            PollFlags::POLLOUT
        } else {
            PollFlags::empty()
        };
        Some(PollFlags::POLLIN | sending)
    }
}

fn compare(attempt: &Attempt<'_>, peer: u32, header: &[u8; HEADER_BYTES]) -> Result<(), CollectiveError> {
    let theirs = decode_header(header)
        .ok_or_else(|| attempt.lost(peer, "it sent bytes that are not the start of an operation"))?;
    let ours = attempt.announcement;
    if theirs == ours {
        return Ok(());
    }
    Err(CollectiveError::Desync {
        rank: attempt.rank,
        peer,
        ours,
        theirs,
    })
}

/// Looks at a connection on which nothing should arrive before this operation ends.
fn probe(attempt: &Attempt<'_>, link: &Link) -> Result<(), CollectiveError> {
    let mut header = [0; HEADER_BYTES];
    match link.socket.peek(&mut header) {
        Ok(0) => Err(attempt.lost(link.peer, "it closed the connection")),
        Ok(HEADER_BYTES) => {
            compare(attempt, link.peer, &header)?;
            Err(attempt.lost(link.peer, "it announced the same operation twice"))
        }
        Ok(_) => Err(attempt.lost(link.peer, "it sent bytes that no operation expects")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
        Err(error) => Err(attempt.lost(link.peer, error)),
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

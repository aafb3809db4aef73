//! One direction of one operation: bytes that go out to one neighbour while bytes come in from the other.
//!
//! In a ring each rank passes on what it received, so an operation is one long outgoing and one long incoming byte stream, each laid over
//! pieces of the buffer. A byte may go out as soon as the byte that it depends on has come in: position p of the outgoing stream needs
//! position p - lead of the incoming one. Nothing waits for the end of a step, so the pipeline is always full, and receiving never waits
//! for sending, so it cannot deadlock whatever the size.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use super::message::HEADER_BYTES;

/// Bytes of one read or write: small enough for what was read to be still in the second-level cache when it is added and sent on.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// Which way the bytes of a flow go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the next rank, from the previous one.
    Forward,
    /// To the previous rank, from the next one.
    Backward,
}

/// A stream laid over pieces of a buffer.
#[derive(Debug, Default)]
struct Track {
    pieces: Vec<Range<usize>>,
    piece: usize,
    within: usize,
    done: usize,
    total: usize,
}

impl Track {
    fn new(pieces: Vec<Range<usize>>) -> Self {
        let total = pieces.iter().map(Range::len).sum();
        let mut track = Self {
            pieces,
            total,
            ..Self::default()
        };
        track.advance(0);
        track
    }

    fn rest_of_piece(&self) -> Range<usize> {
        self.pieces
            .get(self.piece)
            .map_or(0..0, |piece| piece.start + self.within..piece.end)
    }

    fn advance(&mut self, bytes: usize) {
        self.done += bytes;
        self.within += bytes;
        while self
            .pieces
            .get(self.piece)
            .is_some_and(|piece| self.within >= piece.len())
        {
            self.within -= self.pieces[self.piece].len();
            self.piece += 1;
        }
    }
}

/// One direction of one operation.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) direction: Direction,
    outgoing: Track,
    incoming: Track,
    /// Outgoing bytes that need nothing from the neighbour.
    lead: usize,
    /// The first bytes that come in are added to the buffer, the rest replaces it.
    added: usize,
    header: [u8; HEADER_BYTES],
    header_sent: usize,
    header_received: usize,
    pub(super) their_header: [u8; HEADER_BYTES],
    /// Bytes at the start of the scratch space that are not a whole number yet.
    fragment: usize,
}

/// What a flow carries, in bytes of the buffer.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) direction: Direction,
    pub(super) outgoing: Vec<Range<usize>>,
    pub(super) incoming: Vec<Range<usize>>,
    pub(super) lead: usize,
    pub(super) added: usize,
}

impl Flow {
    pub(super) fn new(route: Route, header: [u8; HEADER_BYTES]) -> Self {
        Self {
            direction: route.direction,
            outgoing: Track::new(route.outgoing),
            incoming: Track::new(route.incoming),
            lead: route.lead,
            added: route.added,
            header,
            header_sent: 0,
            header_received: 0,
            their_header: [0; HEADER_BYTES],
            fragment: 0,
        }
    }

    /// Something has still to be sent, now or later.
    pub(super) fn send_due(&self) -> bool {
        self.header_sent < HEADER_BYTES || self.outgoing.done < self.outgoing.total
    }

    /// Something can be sent now.
    pub(super) fn can_send(&self) -> bool {
        self.header_sent < HEADER_BYTES || self.sendable() > 0
    }

    /// Something has still to come in.
    pub(super) fn receive_due(&self) -> bool {
        self.header_received < HEADER_BYTES || self.incoming.done < self.incoming.total
    }

    /// For a message: how far the flow is.
    pub(super) fn received(&self) -> String {
        format!("{} of {} bytes received", self.incoming.done, self.incoming.total)
    }

    fn sendable(&self) -> usize {
        (self.lead + self.incoming.done).min(self.outgoing.total) - self.outgoing.done
    }

    /// Sends at most one piece; `Ok(false)`: nothing could be sent.
    pub(super) fn send(&mut self, mut socket: &TcpStream, bytes: &[u8]) -> io::Result<bool> {
        if !self.can_send() {
            return Ok(false);
        }
        let rest = self.outgoing.rest_of_piece();
        let length = rest.len().min(self.sendable()).min(PIECE_BYTES);
        let data = &bytes[rest.start..rest.start + length];
        let header = &self.header[self.header_sent..];
        let sent = if header.is_empty() {
            retry(|| socket.write(data))?
        } else {
            retry(|| socket.write_vectored(&[IoSlice::new(header), IoSlice::new(data)]))?
        };
        let Some(sent) = sent else { return Ok(false) };
        let of_header = sent.min(HEADER_BYTES - self.header_sent);
        self.header_sent += of_header;
        self.outgoing.advance(sent - of_header);
        Ok(true)
    }

    /// Receives at most one piece; `Ok(None)`: nothing was there; `Ok(Some(true))`: the neighbour's header has just become complete.
    /// The end of the stream is an `UnexpectedEof`.
    pub(super) fn receive(
        &mut self,
        socket: &TcpStream,
        buffer: &mut [f32],
        scratch: &mut [f32],
    ) -> io::Result<Option<bool>> {
        if !self.receive_due() {
            return Ok(None);
        }
        let rest = self.incoming.rest_of_piece();
        let adding = self.incoming.done < self.added;
        let length = rest.len().min(PIECE_BYTES);
        let target: &mut [u8] = if adding {
            &mut bytemuck::cast_slice_mut(scratch)[self.fragment..length]
        } else {
            &mut bytemuck::cast_slice_mut(buffer)[rest.start..rest.start + length]
        };
        let header = &mut self.their_header[self.header_received..];
        let Some(received) = read(socket, header, target)? else {
            return Ok(None);
        };
        let of_header = received.min(HEADER_BYTES - self.header_received);
        self.header_received += of_header;
        let data = received - of_header;
        if adding {
            self.add(data, rest.start, buffer, scratch);
        } else {
            self.incoming.advance(data);
        }
        Ok(Some(of_header > 0 && self.header_received == HEADER_BYTES))
    }

    /// Adds the whole numbers among the bytes in the scratch space to the buffer.
    fn add(&mut self, data: usize, start: usize, buffer: &mut [f32], scratch: &mut [f32]) {
        let available = self.fragment + data;
        let numbers = available / 4;
        for (sum, term) in buffer[start / 4..][..numbers].iter_mut().zip(&scratch[..numbers]) {
            *sum += *term;
        }
        self.fragment = available % 4;
        if self.fragment > 0 {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(scratch);
            bytes.copy_within(numbers * 4..available, 0);
        }
        self.incoming.advance(numbers * 4);
    }
}

fn read(mut socket: &TcpStream, header: &mut [u8], target: &mut [u8]) -> io::Result<Option<usize>> {
    let received = if header.is_empty() {
        retry(|| socket.read(target))?
    } else {
        retry(|| socket.read_vectored(&mut [IoSliceMut::new(header), IoSliceMut::new(target)]))?
    };
    match received {
        Some(0) => Err(ErrorKind::UnexpectedEof.into()),
        received => Ok(received),
    }
}

/// `Ok(None)`: the socket is not ready.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_skips_empty_pieces_and_counts_bytes() {
        let mut track = Track::new(vec![0..0, 8..12, 4..4, 0..8]);
        assert_eq!((track.total, track.rest_of_piece()), (12, 8..12));
        track.advance(3);
        assert_eq!(track.rest_of_piece(), 11..12);
        track.advance(1);
        assert_eq!(track.rest_of_piece(), 0..8);
        track.advance(8);
        assert_eq!((track.done, track.rest_of_piece()), (12, 0..0));
    }
}

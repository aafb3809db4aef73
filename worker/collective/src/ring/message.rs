//! The bytes that ranks exchange beside the data: who they are when they connect, and what they are about to do before they do it.
//!
//! All numbers are little-endian. Data follows as raw f32 in the machine's own order, which this check makes little-endian too.

use crate::{Announcement, Identity, Operation};

const _: () = assert!(cfg!(target_endian = "little"), "ranks exchange raw little-endian f32");

/// First 8 bytes of a hello and of its answer; the last digit is the version of this protocol.
pub(super) const MARK: u64 = u64::from_le_bytes(*b"firnrng1");
/// Bytes of a hello and of its answer.
pub(super) const HELLO_BYTES: usize = 40;
/// Bytes ahead of the data of each operation.
pub(super) const HEADER_BYTES: usize = 32;
const HEADER_MARK: u32 = u32::from_le_bytes(*b"step");

/// What a rank says when it connects, and what it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) identity: Identity,
    /// In a hello: the rank that should answer. In an answer: 1 if the caller is welcome, else 0.
    pub(super) word: u32,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the caller gives at least the bytes of the message")
}

impl Hello {
    pub(super) fn encode(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[0..8].copy_from_slice(&MARK.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.identity.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.identity.session.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.identity.rank.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.identity.world_size.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.word.to_le_bytes());
        bytes
    }

    /// The message, or the mark that was found instead of ours.
    pub(super) fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, u64> {
        let mark = u64::from_le_bytes(number(bytes, 0));
        if mark != MARK {
            return Err(mark);
        }
        let identity = Identity {
            generation: u64::from_le_bytes(number(bytes, 8)),
            session: u64::from_le_bytes(number(bytes, 16)),
            rank: u32::from_le_bytes(number(bytes, 24)),
            world_size: u32::from_le_bytes(number(bytes, 28)),
        };
        Ok(Self {
            identity,
            word: u32::from_le_bytes(number(bytes, 32)),
        })
    }
}

pub(super) fn encode_header(announcement: &Announcement) -> [u8; HEADER_BYTES] {
    let kind: u32 = match announcement.operation {
        Operation::Connect => 0,
        Operation::AllReduceSum => 1,
        Operation::Broadcast => 2,
        Operation::Barrier => 3,
    };
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..4].copy_from_slice(&HEADER_MARK.to_le_bytes());
    bytes[4..8].copy_from_slice(&kind.to_le_bytes());
    bytes[8..16].copy_from_slice(&announcement.sequence.to_le_bytes());
    bytes[16..24].copy_from_slice(&announcement.elements.to_le_bytes());
    bytes[24..28].copy_from_slice(&announcement.root.to_le_bytes());
    bytes
}

/// `None`: these bytes are no header; the stream is broken.
pub(super) fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Option<Announcement> {
    if u32::from_le_bytes(number(bytes, 0)) != HEADER_MARK {
        return None;
    }
    let operation = match u32::from_le_bytes(number(bytes, 4)) {
        1 => Operation::AllReduceSum,
        2 => Operation::Broadcast,
        3 => Operation::Barrier,
        _ => return None,
    };
    Some(Announcement {
        sequence: u64::from_le_bytes(number(bytes, 8)),
        operation,
        elements: u64::from_le_bytes(number(bytes, 16)),
        root: u32::from_le_bytes(number(bytes, 24)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let identity = Identity {
            generation: 1 << 40,
            session: u64::MAX,
            rank: 3,
            world_size: 5,
        };
        let hello = Hello { identity, word: 4 };
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        let announcement = Announcement {
            sequence: 1 << 50,
            operation: Operation::Broadcast,
            elements: 1 << 33,
            root: 2,
        };
        assert_eq!(decode_header(&encode_header(&announcement)), Some(announcement));
    }

    #[test]
    fn foreign_bytes_are_recognised() {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(b"GET / HT");
        assert_eq!(Hello::decode(&bytes), Err(u64::from_le_bytes(*b"GET / HT")));
        assert_eq!(decode_header(&[7; HEADER_BYTES]), None);
    }
}

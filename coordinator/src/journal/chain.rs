//! The hash chain over the records.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// BLAKE3 over the hash before, the sequence number (little endian) and the digest of the record.
///
/// The record enters by its digest, so that the chain can still be followed where a record's text was compacted away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What the first record follows.
    pub const ORIGIN: Self = Self([0; 32]);

    /// The hash of the record with number `sequence` and this digest that comes after the one with this hash.
    #[must_use]
    pub fn followed_by(self, sequence: u64, digest: &RecordDigest) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&sequence.to_le_bytes());
        hasher.update(&digest.0);
        Self(*hasher.finalize().as_bytes())
    }

    /// As schema 1 had it: over the record's JSON itself.
    #[must_use]
    pub(super) fn followed_in_schema_1(self, sequence: u64, json: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&sequence.to_le_bytes());
        hasher.update(json);
        Self(*hasher.finalize().as_bytes())
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From 64 hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected 64 hexadecimal digits")]
pub struct NoHash;

impl FromStr for ChainHash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        Self::from_hex(text).ok_or(NoHash)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

/// Context of the derived digest of a record that may be compacted: no digest of a JSON text is one of these.
const COMPACTABLE: &str = "firn journal schema 3: a record that may be compacted";

/// BLAKE3 of a record's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordDigest([u8; 32]);

impl RecordDigest {
    /// Of this text.
    pub fn of(json: &[u8]) -> Self {
        Self(*blake3::hash(json).as_bytes())
    }

    /// As it enters the chain for a record that may be compacted.
    ///
    /// A digest does not tell what it is of. So the chain itself has to tell of which records the text may be missing: of those whose digest
    /// was derived in this way when they were written.
    #[must_use]
    pub fn compactable(self) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(COMPACTABLE);
        hasher.update(&self.0);
        Self(*hasher.finalize().as_bytes())
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A place in the chain: so many records come before it, and the last of them has this hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Records before it; the number of the next one.
    pub sequence: u64,
    /// Hash of the last of them.
    pub hash: ChainHash,
}

impl Position {
    /// Before the first record.
    pub const ORIGIN: Self = Self {
        sequence: 0,
        hash: ChainHash::ORIGIN,
    };

    /// After the record that comes here: the one of the two ways for its digest to enter the chain that gives `stored`, and whether it may be
    /// compacted. `None`: neither does.
    pub(super) fn followed(self, digest: RecordDigest, stored: &[u8; 32]) -> Option<(Self, bool)> {
        let ways = [(digest, false), (digest.compactable(), true)];
        let places = ways.map(|(digest, is_compactable)| (self.after(&digest), is_compactable));
        places.into_iter().find(|(place, _)| place.hash.as_bytes() == stored)
    }

    /// After one more record.
    #[must_use]
    pub(super) fn after(self, digest: &RecordDigest) -> Self {
        Self {
            sequence: self.sequence + 1,
            hash: self.hash.followed_by(self.sequence, digest),
        }
    }
}

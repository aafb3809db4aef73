//! Reading the journal: beside the engine, from any thread, as of the newest commit.

use std::{path::Path, sync::Arc};

use firn_core::{Record, identifiers::JobId};
use redb::{AccessGuard, ReadOnlyTable, ReadableDatabase, ReadableTable};
use serde::de::DeserializeOwned;

use super::{
    JournalError,
    chain::{ChainHash, Position, RecordDigest},
    guard::{self, Pages},
    schema::{self, COMPACTED, HEAD, RECORDS, bounds},
};

const ANOTHER: &str = "it is not the record that was expected there";
const CHANGED: &str = "its content does not match its hash: it was changed after it was written";

/// Reads the journal while somebody else may be appending. Cheap to clone. Its calls block on the disk.
#[derive(Debug, Clone)]
pub struct JournalReader {
    path: Arc<Path>,
    database: Arc<Pages>,
}

/// A record and its number.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedRecord {
    /// Position in the journal, from 0 over all jobs.
    pub sequence: u64,
    /// What was recorded, and when.
    pub record: Record,
}

/// What is proven of the journal when its whole chain has been followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedChain {
    /// Records of the whole history.
    pub records: u64,
    /// Of these, how many are kept by their digest alone, or are before the anchor. A coordinator compacts none that names a job.
    pub compacted: u64,
    /// Number of the first record of which anything is kept; 0: the chain was followed from its origin.
    pub anchor: u64,
    /// Hash of the newest record: it stands for the whole history.
    pub head: ChainHash,
}

/// All records of one job, and the chain in which they were found.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecords {
    /// In order.
    pub records: Vec<NumberedRecord>,
    /// The chain that holds them.
    pub chain: VerifiedChain,
}

/// What is kept of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// All of it.
    Whole(Record),
    /// Its digest, and the chain proves that it was written as one of those that may be compacted: it concerned no job.
    Digest,
    /// Its digest, which could be that of anything: it was compacted under an older schema, or was made to look so.
    BareDigest,
}

/// What is kept of one record.
struct Entry<'a> {
    sequence: u64,
    /// The place after it.
    end: Position,
    /// `None`: compacted.
    json: Option<&'a [u8]>,
    /// Whether the chain says that it may be compacted.
    is_compactable: bool,
}

/// Where following the chain has led.
struct Walked {
    end: Position,
    anchor: Position,
    texts: u64,
}

impl JournalReader {
    pub(super) fn new(path: &Path, database: Arc<Pages>) -> Self {
        Self {
            path: Arc::from(path),
            database,
        }
    }

    /// Follows the whole chain.
    ///
    /// # Errors
    /// When a record is missing or was changed: the message names its number.
    pub fn verify_chain(&self) -> Result<VerifiedChain, JournalError> {
        self.walk(None, |_| Ok(())).map(|walked| walked.chain())
    }

    /// Whether a place is one of this journal.
    ///
    /// # Errors
    /// When the record before it cannot be read.
    pub fn has(&self, place: Position) -> Result<bool, JournalError> {
        guard::unpanicked(&self.path, || self.find(place))
    }

    fn find(&self, place: Position) -> Result<bool, JournalError> {
        let failed = |source: redb::Error| JournalError::from_storage(&self.path, source);
        let transaction = self.database.begin_read().map_err(|source| failed(source.into()))?;
        let open = |source: redb::TableError| failed(source.into());
        let heads = transaction.open_table(HEAD).map_err(open)?;
        let records = transaction.open_table(RECORDS).map_err(open)?;
        let compacted = transaction.open_table(COMPACTED).map_err(open)?;
        let bounds = bounds(&heads, &self.path)?;
        if place.sequence > bounds.head.sequence {
            return Ok(false);
        }
        let found = self.hash_before(place.sequence, bounds.anchor, (&records, &compacted))?;
        Ok(found == Some(place.hash))
    }

    /// All records of one job, found while following the whole chain. None, if there is no such job.
    ///
    /// # Errors
    /// When any record is missing, was changed, or cannot be understood: the message names its number.
    pub fn records_of(&self, job: &JobId) -> Result<JobRecords, JournalError> {
        let mut records = Vec::new();
        let walked = self.walk(None, |entry| {
            if let Some(json) = entry.json {
                let record: Record = self.understand(entry.sequence, json)?;
                if record.job() == Some(job) {
                    records.push(NumberedRecord {
                        sequence: entry.sequence,
                        record,
                    });
                }
            }
            Ok(())
        })?;
        Ok(JobRecords {
            records,
            chain: walked.chain(),
        })
    }

    /// Gives the records from `from` on (from the first, if `None`) to `visit`, with their numbers, following the chain. Compacted records
    /// are passed over. Returns where the journal ends.
    ///
    /// # Errors
    /// When `from` is no place in this journal, or a record is missing, was changed, or cannot be understood: the message names its number.
    pub fn replay<R: DeserializeOwned>(
        &self,
        from: Option<Position>,
        mut visit: impl FnMut(u64, R),
    ) -> Result<Position, JournalError> {
        let walked = self.walk(from, |entry| {
            if let Some(json) = entry.json {
                visit(entry.sequence, self.understand(entry.sequence, json)?);
            }
            Ok(())
        })?;
        Ok(walked.end)
    }

    /// Follows the whole chain, and gives what is kept of each record after the anchor to `visit`, with the place after it.
    ///
    /// # Errors
    /// When a record is missing, was changed, or cannot be understood: the message names its number.
    pub fn examine(&self, mut visit: impl FnMut(Position, Kept)) -> Result<VerifiedChain, JournalError> {
        let walked = self.walk(None, |entry| {
            let kept = match entry.json {
                Some(json) => Kept::Whole(self.understand(entry.sequence, json)?),
                None if entry.is_compactable => Kept::Digest,
                None => Kept::BareDigest,
            };
            visit(entry.end, kept);
            Ok(())
        })?;
        Ok(walked.chain())
    }

    fn understand<R: DeserializeOwned>(&self, sequence: u64, json: &[u8]) -> Result<R, JournalError> {
        serde_json::from_slice(json).map_err(|source| JournalError::Record {
            path: self.path.to_path_buf(),
            sequence,
            source,
        })
    }

    /// Follows the chain in one read transaction.
    fn walk(
        &self,
        from: Option<Position>,
        visit: impl FnMut(Entry<'_>) -> Result<(), JournalError>,
    ) -> Result<Walked, JournalError> {
        let mut reading = from.map_or(0, |from| from.sequence);
        guard::unpanicked_at(&self.path, &mut reading, |reading| self.follow(from, reading, visit))
    }

    fn follow(
        &self,
        from: Option<Position>,
        reading: &mut u64,
        mut visit: impl FnMut(Entry<'_>) -> Result<(), JournalError>,
    ) -> Result<Walked, JournalError> {
        let failed = |source: redb::Error| JournalError::from_storage(&self.path, source);
        let transaction = self.database.begin_read().map_err(|source| failed(source.into()))?;
        let open = |source: redb::TableError| failed(source.into());
        let heads = transaction.open_table(HEAD).map_err(open)?;
        let records = transaction.open_table(RECORDS).map_err(open)?;
        let compacted = transaction.open_table(COMPACTED).map_err(open)?;
        let bounds = bounds(&heads, &self.path)?;
        if let Some(from) = from {
            let found = self.hash_before(from.sequence, bounds.anchor, (&records, &compacted))?;
            if found != Some(from.hash) {
                return Err(self.damaged(from.sequence.saturating_sub(1), ANOTHER));
            }
        }
        let mut place = from.unwrap_or(bounds.anchor);
        let mut texts = Feed::new(&self.path, &records, place.sequence)?;
        let mut digests = Feed::new(&self.path, &compacted, place.sequence)?;
        let mut count = 0;
        while place.sequence < bounds.head.sequence {
            let sequence = place.sequence;
            *reading = sequence;
            let (compacted, text) = match digests.take(sequence)? {
                None => (None, texts.take(sequence)?),
                found => (found, None),
            };
            let (stored, digest, json) = match (&compacted, &text) {
                (Some(guard), _) => {
                    let (stored, digest) = guard.value();
                    (stored, RecordDigest::from_bytes(*digest), None)
                }
                (None, Some(guard)) => {
                    let (stored, json) = guard.value();
                    (stored, RecordDigest::of(json), Some(json))
                }
                (None, None) => return Err(self.damaged(sequence, "it is missing")),
            };
            let followed = place.followed(digest, stored);
            let (end, is_compactable) = followed.ok_or_else(|| self.damaged(sequence, CHANGED))?;
            place = end;
            count += u64::from(json.is_some());
            visit(Entry {
                sequence,
                end,
                json,
                is_compactable,
            })?;
        }
        if place != bounds.head || texts.next.is_some() || digests.next.is_some() {
            return Err(self.damaged(
                place.sequence,
                "the newest records are missing or do not match the head of the chain",
            ));
        }
        Ok(Walked {
            end: place,
            anchor: bounds.anchor,
            texts: count,
        })
    }

    /// The hash of the last record before a place; `None`: there is no such record, or nothing is kept of it.
    fn hash_before(
        &self,
        sequence: u64,
        anchor: Position,
        tables: Tables<'_>,
    ) -> Result<Option<ChainHash>, JournalError> {
        let failed = |source| JournalError::from_reading(&self.path, sequence.saturating_sub(1), source);
        schema::hash_before(sequence, anchor, tables).map_err(failed)
    }

    fn damaged(&self, sequence: u64, reason: &str) -> JournalError {
        JournalError::damaged(&self.path, sequence, reason)
    }
}

/// The entries of one table in order, for a walk over two of them at once.
struct Feed<'a, V: redb::Value + 'static> {
    path: &'a Path,
    entries: redb::Range<'a, u64, V>,
    /// The entry that comes next.
    next: Option<(u64, AccessGuard<'a, V>)>,
}

impl<'a, V: redb::Value + 'static> Feed<'a, V> {
    fn new(path: &'a Path, table: &'a ReadOnlyTable<u64, V>, first: u64) -> Result<Self, JournalError> {
        let entries = ReadableTable::range(table, first..);
        let entries = entries.map_err(|source| JournalError::from_reading(path, first, source))?;
        let mut feed = Self {
            path,
            entries,
            next: None,
        };
        feed.advance(first)?;
        Ok(feed)
    }

    /// The entry with this number, if it is the one that comes next.
    fn take(&mut self, sequence: u64) -> Result<Option<AccessGuard<'a, V>>, JournalError> {
        match self.next.take_if(|(next, _)| *next == sequence) {
            None => Ok(None),
            Some((_, value)) => {
                self.advance(sequence + 1)?;
                Ok(Some(value))
            }
        }
    }

    fn advance(&mut self, sequence: u64) -> Result<(), JournalError> {
        let next = self.entries.next().transpose();
        let next = next.map_err(|source| JournalError::from_reading(self.path, sequence, source))?;
        self.next = next.map(|(key, value)| (key.value(), value));
        Ok(())
    }
}

type Texts = ReadOnlyTable<u64, (&'static [u8; 32], &'static [u8])>;
type Digests = ReadOnlyTable<u64, (&'static [u8; 32], &'static [u8; 32])>;
type Tables<'a> = (&'a Texts, &'a Digests);

impl Walked {
    fn chain(&self) -> VerifiedChain {
        VerifiedChain {
            records: self.end.sequence,
            compacted: self.end.sequence - self.texts,
            anchor: self.anchor.sequence,
            head: self.end.hash,
        }
    }
}

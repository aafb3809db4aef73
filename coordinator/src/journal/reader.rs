//! Reading the journal: beside the engine, from any thread, as of the newest commit.

use std::{path::Path, sync::Arc};

use firn_core::Record;
use redb::{ReadTransaction, ReadableDatabase as _};
use serde::de::DeserializeOwned;

use super::{
    JournalError,
    chain::{ChainHash, Position},
    guard::{self, Pages},
    schema::{self, Bounds},
    strands::Tally,
    tables::{Feeds, Tables},
};

/// What the strands of the jobs are found to be where the chain ends.
const ANOTHER_STRAND: &str = "the records of its job are not those that were chained";
const ANOTHER: &str = "it is not the record that was expected there";
pub(super) const CHANGED: &str = "its content does not match its hash: it was changed after it was written";

/// Reads the journal while somebody else may be appending. Cheap to clone. Its calls block on the disk.
#[derive(Debug, Clone)]
pub struct JournalReader {
    pub(super) path: Arc<Path>,
    pub(super) database: Arc<Pages>,
}

/// What is proven of the journal when its whole chain has been followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedChain {
    /// Records of the whole history.
    pub records: u64,
    /// Of these, how many are kept by their digest alone, or are before the anchor. A coordinator compacts none that names a job, but for
    /// jobs that were deleted.
    pub compacted: u64,
    /// Number of the first record of which anything is kept; 0: the chain was followed from its origin.
    pub anchor: u64,
    /// Stands for the whole history, and for the records of each job.
    pub head: ChainHash,
}

/// A record, or what is left of one, for whoever folds them.
#[derive(Debug, Clone, PartialEq)]
pub enum Replayed<R> {
    /// It is there.
    Record(R),
    /// A job was submitted that has been deleted since: its records are gone, and its number in the order of submission stays taken.
    RemovedJob,
}

/// What is kept of a record.
#[allow(
    clippy::large_enum_variant,
    reason = "most records are whole, and each is looked at alone"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// All of it.
    Whole(Record),
    /// Its digest, and the chain proves that it was written as one of those that may be compacted: it concerned no job.
    Digest,
    /// Its digest, which could be that of anything: it was compacted under an older schema, or was made to look so.
    BareDigest,
    /// Its digest, which is in the strand of a job that was deleted.
    Removed,
}

/// A place that the walk has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// After the record.
    pub place: Position,
    /// The head that the journal had there.
    pub head: ChainHash,
}

/// What is kept of one record.
struct Entry<'a> {
    sequence: u64,
    /// The place after it.
    end: Position,
    /// The head of the journal there; the hash of the place alone where the walk does not begin at the anchor.
    head: ChainHash,
    /// `None`: compacted or removed.
    json: Option<&'a [u8]>,
    /// Whether the chain says that it may be compacted.
    is_compactable: bool,
    /// The text went with its job; whether it was the first one of it.
    removed: Option<IsFirst>,
}

type IsFirst = bool;

/// Where following the chain has led.
pub(super) struct Walked {
    pub(super) end: Position,
    anchor: Position,
    texts: u64,
    /// Of a walk from the anchor.
    pub(super) tally: Tally,
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
        let transaction = self.begin()?;
        let tables = Tables::open(&transaction, &self.path)?;
        if place.sequence > tables.bounds.head.sequence {
            return Ok(false);
        }
        Ok(self.hash_before(place.sequence, &tables)? == Some(place.hash))
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
        self.replay_all(from, |sequence, replayed| match replayed {
            Replayed::Record(record) => visit(sequence, record),
            Replayed::RemovedJob => {}
        })
    }

    /// Like [`Self::replay`], and tells of submissions whose records are gone too.
    ///
    /// # Errors
    /// As of [`Self::replay`].
    pub fn replay_all<R: DeserializeOwned>(
        &self,
        from: Option<Position>,
        mut visit: impl FnMut(u64, Replayed<R>),
    ) -> Result<Position, JournalError> {
        let walked = self.walk(from, |entry| {
            match (entry.json, entry.removed) {
                (Some(json), _) => visit(entry.sequence, Replayed::Record(self.understand(entry.sequence, json)?)),
                (None, Some(true)) => visit(entry.sequence, Replayed::RemovedJob),
                (None, _) => {}
            }
            Ok(())
        })?;
        Ok(walked.end)
    }

    /// Follows the whole chain, and gives what is kept of each record after the anchor to `visit`, with the place after it.
    ///
    /// # Errors
    /// When a record is missing, was changed, or cannot be understood: the message names its number.
    pub fn examine(&self, mut visit: impl FnMut(Passed, Kept)) -> Result<VerifiedChain, JournalError> {
        let walked = self.walk(None, |entry| {
            let kept = match entry.json {
                Some(json) => Kept::Whole(self.understand(entry.sequence, json)?),
                None if entry.removed.is_some() => Kept::Removed,
                None if entry.is_compactable => Kept::Digest,
                None => Kept::BareDigest,
            };
            let (place, head) = (entry.end, entry.head);
            visit(Passed { place, head }, kept);
            Ok(())
        })?;
        Ok(walked.chain())
    }

    /// Follows the whole chain of a file that has no strands yet, and makes them. With it, the number after the last record that is kept by a
    /// digest that could be that of anything.
    pub(super) fn make_strands(&self) -> Result<(Walked, u64), JournalError> {
        let mut bare_before = 0;
        let visit = |entry: Entry<'_>| {
            if entry.json.is_none() && !entry.is_compactable {
                bare_before = entry.sequence + 1;
            }
            Ok(())
        };
        let mut reading = 0;
        let walked = guard::unpanicked_at(&self.path, &mut reading, |reading| {
            self.follow(None, Tally::with_members(), reading, visit)
        })?;
        Ok((walked, bare_before))
    }

    pub(super) fn understand<R: DeserializeOwned>(&self, sequence: u64, json: &[u8]) -> Result<R, JournalError> {
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
        guard::unpanicked_at(&self.path, &mut reading, |reading| {
            self.follow(from, Tally::new(), reading, visit)
        })
    }

    pub(super) fn begin(&self) -> Result<ReadTransaction, JournalError> {
        let begun = self.database.begin_read();
        begun.map_err(|source| JournalError::from_storage(&self.path, source.into()))
    }

    /// A walk from the anchor makes the strands anew, and those of the file must be the same; with a tally of members they are not there yet.
    fn follow(
        &self,
        from: Option<Position>,
        mut tally: Tally,
        reading: &mut u64,
        mut visit: impl FnMut(Entry<'_>) -> Result<(), JournalError>,
    ) -> Result<Walked, JournalError> {
        let transaction = self.begin()?;
        let tables = Tables::open(&transaction, &self.path)?;
        let Bounds { anchor, head } = tables.bounds;
        if let Some(from) = from {
            let found = self.hash_before(from.sequence, &tables)?;
            if found != Some(from.hash) {
                return Err(self.damaged(from.sequence.saturating_sub(1), ANOTHER));
            }
        }
        let mut place = from.unwrap_or(anchor);
        let mut feeds = Feeds::new(&self.path, &tables, place.sequence)?;
        let mut texts = 0;
        while place.sequence < head.sequence {
            let sequence = place.sequence;
            *reading = sequence;
            let row = feeds.take(sequence)?;
            let row = row.ok_or_else(|| self.damaged(sequence, "it is missing"))?;
            let (stored, digest, json) = row.parts();
            let followed = place.followed(digest, stored);
            let (end, is_compactable) = followed.ok_or_else(|| self.damaged(sequence, CHANGED))?;
            place = end;
            texts += u64::from(json.is_some());
            let removed = match row.strand() {
                None => None,
                Some(number) => {
                    let strand = tables.strand(number, &self.path)?;
                    if from.is_none() {
                        tally.see_removed(sequence, &digest, number, strand.as_ref());
                    }
                    Some(strand.is_some_and(|strand| strand.first == sequence))
                }
            };
            if let Some(json) = json.filter(|_| from.is_none()) {
                tally.see(sequence, json);
            }
            visit(Entry {
                sequence,
                end,
                head: if from.is_none() { tally.root.seal(end) } else { end.hash },
                json,
                is_compactable,
                removed,
            })?;
        }
        if place != head || feeds.has_more() {
            return Err(self.damaged(
                place.sequence,
                "the newest records are missing or do not match the head of the chain",
            ));
        }
        if from.is_none() && !tally.is_made_anew() {
            self.compare(&tally, &tables)?;
        }
        Ok(Walked {
            end: place,
            anchor,
            texts,
            tally,
        })
    }

    /// Whether the strands of the file are those of its records.
    fn compare(&self, tally: &Tally, tables: &Tables) -> Result<(), JournalError> {
        for (number, expected) in (0..).zip(&tally.strands) {
            if tables.strand(number, &self.path)?.as_ref() != Some(expected) {
                return Err(self.damaged(expected.last, ANOTHER_STRAND));
            }
        }
        for (job, number) in &tally.names {
            if tables.number_of(job, &self.path)? != Some(*number) {
                let first = tally.strands.get(*number as usize).map_or(0, |strand| strand.first);
                return Err(self.damaged(first, "its job is not found by its name"));
            }
        }
        if tables.root != tally.root {
            return Err(self.damaged(
                tables.bounds.head.sequence,
                "the root over the jobs is not that of their records",
            ));
        }
        Ok(())
    }

    /// The hash of the last record before a place; `None`: there is no such record, or nothing is kept of it.
    pub(super) fn hash_before(&self, sequence: u64, tables: &Tables) -> Result<Option<ChainHash>, JournalError> {
        let failed = |source| JournalError::from_reading(&self.path, sequence.saturating_sub(1), source);
        let all = (&tables.texts, &tables.digests, &tables.removed);
        schema::hash_before(sequence, tables.bounds.anchor, all).map_err(failed)
    }

    pub(super) fn damaged(&self, sequence: u64, reason: &str) -> JournalError {
        JournalError::damaged(&self.path, sequence, reason)
    }
}

impl Walked {
    fn chain(&self) -> VerifiedChain {
        VerifiedChain {
            records: self.end.sequence,
            compacted: self.end.sequence - self.texts,
            anchor: self.anchor.sequence,
            head: self.tally.root.seal(self.end),
        }
    }
}

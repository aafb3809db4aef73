//! The tables of a journal as of one moment, and the walk over those that hold records, in order.

use std::path::Path;

use redb::{AccessGuard, ReadOnlyTable, ReadTransaction};

use super::{
    JournalError,
    chain::RecordDigest,
    directory::Root,
    schema::{self, Bounds, COMPACTED, DIRECTORY, HEAD, MEMBERS, NAMES, NUMBERS, RECORDS, REMOVED, STRANDS},
    strands::Strand,
};

type Text = (&'static [u8; 32], &'static [u8]);
type Digest = (&'static [u8; 32], &'static [u8; 32]);
type Gone = (&'static [u8; 32], &'static [u8; 32], u64);

/// What can be read in one transaction.
pub(super) struct Tables {
    pub(super) bounds: Bounds,
    /// Over the strands.
    pub(super) root: Root,
    pub(super) texts: ReadOnlyTable<u64, Text>,
    pub(super) digests: ReadOnlyTable<u64, Digest>,
    pub(super) removed: ReadOnlyTable<u64, Gone>,
    names: ReadOnlyTable<&'static str, u64>,
    pub(super) members: ReadOnlyTable<(u64, u64), ()>,
    pub(super) directory: ReadOnlyTable<(u8, u64), &'static [u8; 32]>,
    pub(super) numbers: ReadOnlyTable<&'static str, u64>,
    strands: ReadOnlyTable<u64, (u64, u64, u64, &'static [u8; 32], &'static str)>,
}

impl Tables {
    pub(super) fn open(transaction: &ReadTransaction, path: &Path) -> Result<Self, JournalError> {
        let failed = |source: redb::TableError| JournalError::from_storage(path, source.into());
        let heads = transaction.open_table(HEAD).map_err(failed)?;
        Ok(Self {
            bounds: schema::bounds(&heads, path)?,
            root: schema::root(&heads, path)?,
            texts: transaction.open_table(RECORDS).map_err(failed)?,
            digests: transaction.open_table(COMPACTED).map_err(failed)?,
            removed: transaction.open_table(REMOVED).map_err(failed)?,
            names: transaction.open_table(NAMES).map_err(failed)?,
            members: transaction.open_table(MEMBERS).map_err(failed)?,
            directory: transaction.open_table(DIRECTORY).map_err(failed)?,
            numbers: transaction.open_table(NUMBERS).map_err(failed)?,
            strands: transaction.open_table(STRANDS).map_err(failed)?,
        })
    }

    /// The strand of a job that is not gone.
    pub(super) fn number_of(&self, job: &str, path: &Path) -> Result<Option<u64>, JournalError> {
        let failed = |source: redb::StorageError| JournalError::from_storage(path, source.into());
        Ok(self.names.get(job).map_err(failed)?.map(|guard| guard.value()))
    }

    pub(super) fn strand(&self, number: u64, path: &Path) -> Result<Option<Strand>, JournalError> {
        let failed = |source: redb::StorageError| JournalError::from_storage(path, source.into());
        let found = self.strands.get(number).map_err(failed)?;
        Ok(found.map(|row| Strand::from_row(row.value())))
    }
}

/// What is kept of a record.
pub(super) enum Row<'a> {
    Text(AccessGuard<'a, Text>),
    Compacted(AccessGuard<'a, Digest>),
    Removed(AccessGuard<'a, Gone>),
}

impl Row<'_> {
    /// The hash that is stored with it, its digest, and its text.
    pub(super) fn parts(&self) -> (&[u8; 32], RecordDigest, Option<&[u8]>) {
        match self {
            Self::Text(guard) => {
                let (stored, json) = guard.value();
                (stored, RecordDigest::of(json), Some(json))
            }
            Self::Compacted(guard) => {
                let (stored, digest) = guard.value();
                (stored, RecordDigest::from_bytes(*digest), None)
            }
            Self::Removed(guard) => {
                let (stored, digest, _) = guard.value();
                (stored, RecordDigest::from_bytes(*digest), None)
            }
        }
    }

    /// The strand of a record whose text went with its job.
    pub(super) fn strand(&self) -> Option<u64> {
        match self {
            Self::Removed(guard) => Some(guard.value().2),
            _ => None,
        }
    }
}

/// All that is kept of records, in order.
pub(super) struct Feeds<'a> {
    texts: Feed<'a, Text>,
    digests: Feed<'a, Digest>,
    removed: Feed<'a, Gone>,
}

impl<'a> Feeds<'a> {
    pub(super) fn new(path: &'a Path, tables: &'a Tables, first: u64) -> Result<Self, JournalError> {
        Ok(Self {
            texts: Feed::new(path, &tables.texts, first)?,
            digests: Feed::new(path, &tables.digests, first)?,
            removed: Feed::new(path, &tables.removed, first)?,
        })
    }

    /// What is kept of the record with this number, if it is what comes next.
    pub(super) fn take(&mut self, sequence: u64) -> Result<Option<Row<'a>>, JournalError> {
        if let Some(row) = self.digests.take(sequence)? {
            return Ok(Some(Row::Compacted(row)));
        }
        if let Some(row) = self.removed.take(sequence)? {
            return Ok(Some(Row::Removed(row)));
        }
        Ok(self.texts.take(sequence)?.map(Row::Text))
    }

    /// Whether something is left over.
    pub(super) fn has_more(&self) -> bool {
        self.texts.next.is_some() || self.digests.next.is_some() || self.removed.next.is_some()
    }
}

/// The entries of one table in order, for a walk over several of them at once.
struct Feed<'a, V: redb::Value + 'static> {
    path: &'a Path,
    entries: redb::Range<'a, u64, V>,
    /// The entry that comes next.
    next: Option<(u64, AccessGuard<'a, V>)>,
}

impl<'a, V: redb::Value + 'static> Feed<'a, V> {
    fn new(path: &'a Path, table: &'a ReadOnlyTable<u64, V>, first: u64) -> Result<Self, JournalError> {
        let entries = table.range(first..);
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

//! The journal: every record of the state machine, on disk before anyone is told.
//!
//! Records are JSON under consecutive sequence numbers in one redb file. Each entry carries a BLAKE3 hash over the hash of the entry before
//! it and the digest of itself, and the newest number and hash stand apart in a head entry. So a record that was changed, inserted or taken
//! out after the fact is found by whoever follows the chain: a start does so from its snapshot on, and over everything where it has none or,
//! beside its work, where it has one; and anyone who verifies a copy later. Records cut off at the end together with a rewritten head leave
//! a whole chain: only who has noted a later head can tell. A commit is `Durability::Immediate` in two phases:
//! redb's own checksums tell a torn write from a whole one, and the god byte only flips once the data is on disk.
//!
//! **One job costs what it is.** The records of each job are chained on their own, too (`strands`), under one root over all jobs
//! (`directory`), and the head that is shown stands for the chain and for that root. So a job is read and proven from its own
//! records, however many others there are.
//!
//! JSON rather than a compact form: a journal outlives the program that wrote it, and a person can read it.
//!
//! **A failed write is final.** After a failed sync the kernel may have dropped the pages and forgotten the failure, so a second try would
//! succeed and prove nothing. The journal takes nothing more until the coordinator is restarted; the next one reads from the disk, not from
//! the page cache, what is there.
//!
//! **It does not grow without bound, nor does a start.** A snapshot of the state stands for all records before it, so that a start replays
//! only those after it; snapshots are files beside the journal and can be thrown away at any time. Records without which the replay comes
//! to the same state lose their text in a compaction: their digest stays, so that the chain can be followed, and where nothing else is left
//! at the beginning, one anchor stands for it. The records of jobs are never compacted: what `firn verify` proves, it proves from them. They
//! go with their job, when that is deleted; its tombstone (`removal`) stays. The
//! digest of a record that may be compacted enters the chain in another way, so that no record of a job can be made to look like one.

mod chain;
mod directory;
mod encoded;
mod error;
mod file;
mod folder;
mod guard;
mod membership;
mod proof;
mod reader;
mod removal;
mod schema;
mod snapshot;
mod space;
mod strands;
mod tables;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Database, ReadableTable as _};
use serde::de::DeserializeOwned;

pub use chain::{ChainHash, NoHash, Position, RecordDigest};
pub use encoded::{Encoded, Recordable};
pub use error::JournalError;
pub use folder::FolderLock;
pub use proof::{JobRecords, NumberedRecord};
pub use reader::{JournalReader, Kept, Passed, Replayed, VerifiedChain};
pub use snapshot::{Snapshot, SnapshotError, SnapshotStore};
pub use space::Room;

use crate::fail_point::{self, FailPoint};
use directory::Root;
use file::JournalFile;
use guard::Pages;
use schema::{COMPACTED, HEAD, RECORDS, REMOVED, begin_durable};
use space::Space;

/// The journal's file, in a coordinator's folder.
pub const JOURNAL_FILE: &str = "journal.redb";
/// Pages that redb may keep in memory, bytes.
const CACHE: usize = 64 * 1024 * 1024;

/// The open journal of one data folder. Only one process can hold it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    database: Arc<Pages>,
    /// After the newest record.
    end: Position,
    /// Over the records of each job.
    root: Root,
    /// A write has failed: what is on disk is unknown, so nothing more is written.
    is_broken: bool,
    /// `None`: the journal is in memory.
    space: Option<Space>,
}

impl Journal {
    /// Opens or creates `journal.redb` in `folder`, which the caller has locked.
    ///
    /// # Errors
    /// When the file cannot be opened, was written under a newer schema, or is damaged.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join(JOURNAL_FILE);
        // The reserve is laid, and given back if need be, before the first write.
        let mut space = Space::open(folder);
        space.draw_on_reserve(0);
        if !path.exists() {
            create(folder, &path)?;
        }
        let database = open_file(&path, &path)?;
        Self::with_database(path, database, Some(space))
    }

    fn with_database(path: PathBuf, database: Database, space: Option<Space>) -> Result<Self, JournalError> {
        let database = Arc::new(Pages::from(database));
        let schema::Prepared { end, root } = guard::unpanicked(&path, || schema::prepare(&database, &path))?;
        let root = match root {
            Some(root) => root,
            None => make_strands(&JournalReader::new(&path, Arc::clone(&database)))?,
        };
        Ok(Self {
            path,
            database,
            end,
            root,
            is_broken: false,
            space,
        })
    }

    /// Reads beside the appends.
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(&self.path, Arc::clone(&self.database))
    }

    /// Reads all records in order, verifying the chain, and gives each to `visit`. Returns how many there were, compacted ones included.
    ///
    /// # Errors
    /// When a record is missing, was changed, or cannot be understood: the message names its number.
    pub fn replay<R: DeserializeOwned>(&self, mut visit: impl FnMut(R)) -> Result<u64, JournalError> {
        let end = self.reader().replay(None, |_, record| visit(record))?;
        Ok(end.sequence)
    }

    /// The text of a record, as it is stored.
    ///
    /// # Errors
    /// When it could not be read back: JSON has no NaN and no infinity, and what cannot be read back must never be written.
    pub fn encode<R: Recordable>(record: &R) -> Result<Encoded, serde_json::Error> {
        Encoded::of(record)
    }

    /// Appends records, as [`Self::encode`] gave them, in one commit. When it returns, they are on disk.
    ///
    /// # Errors
    /// When the disk fails. After that the journal takes nothing more: whether the commit reached the disk is only known after a restart.
    pub fn append(&mut self, encoded: &[Encoded]) -> Result<(), JournalError> {
        self.check_whole()?;
        if let Some(space) = &mut self.space {
            space.draw_on_reserve(encoded.iter().map(Encoded::bytes).sum());
        }
        fail_point::pass(FailPoint::JournalBeforeWrite);
        (self.end, self.root) = self.fenced(|journal| journal.write(encoded))?;
        Ok(())
    }

    fn write(&self, encoded: &[Encoded]) -> Result<(Position, Root), redb::Error> {
        let transaction = begin_durable(&self.database)?;
        let mut end = self.end;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for record in encoded {
                let sequence = end.sequence;
                end = end.after(&record.digest());
                table.insert(sequence, (end.hash.as_bytes(), record.json()))?;
            }
            let mut heads = transaction.open_table(HEAD)?;
            heads.insert("head", (end.sequence, end.hash.as_bytes()))?;
        }
        let root = strands::extend(&transaction, self.end.sequence, encoded, self.root)?;
        transaction.commit()?;
        Ok((end, root))
    }

    /// Drops the text of records, all in one commit. Their digests stay, except at the very beginning, where the anchor moves past them.
    /// Numbers of records that are compacted already are passed over, and so are records of which the chain does not say that they may be.
    ///
    /// # Errors
    /// As of [`Self::append`]: after a disk error the journal takes nothing more.
    pub fn compact(&mut self, sequences: &BTreeSet<u64>) -> Result<(), JournalError> {
        self.check_whole()?;
        fail_point::pass(FailPoint::CompactionBeforeCommit);
        self.fenced(|journal| journal.write_compacted(sequences))
    }

    fn write_compacted(&self, sequences: &BTreeSet<u64>) -> Result<(), redb::Error> {
        let transaction = begin_durable(&self.database)?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            let mut compacted = transaction.open_table(COMPACTED)?;
            let removed = transaction.open_table(REMOVED)?;
            let mut heads = transaction.open_table(HEAD)?;
            let mut anchor = schema::anchor(&heads)?;
            for &sequence in sequences.range(anchor.sequence..) {
                let hash = schema::hash_before(sequence, anchor, (&records, &compacted, &removed))?;
                let before = hash.map(|hash| Position { sequence, hash });
                let found = records.get(sequence)?.and_then(|guard| {
                    let (hash, json) = guard.value();
                    let digest = RecordDigest::of(json);
                    let (place, is_compactable) = before?.followed(digest, hash)?;
                    is_compactable.then_some((place.hash, digest))
                });
                if let Some((hash, digest)) = found {
                    records.remove(sequence)?;
                    compacted.insert(sequence, (hash.as_bytes(), digest.as_bytes()))?;
                }
            }
            while let Some(guard) = compacted.remove(anchor.sequence)? {
                anchor = Position {
                    sequence: anchor.sequence + 1,
                    hash: ChainHash::from_bytes(*guard.value().0),
                };
            }
            heads.insert("anchor", (anchor.sequence, anchor.hash.as_bytes()))?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// How much room the disk has for more.
    pub fn room(&mut self) -> Room {
        self.space.as_mut().map_or(Room::Ample, Space::room)
    }

    /// The folder that holds the journal.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Where the next record goes.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Records of the whole history.
    pub fn len(&self) -> u64 {
        self.end.sequence
    }

    /// Whether nothing has ever been recorded.
    pub fn is_empty(&self) -> bool {
        self.end.sequence == 0
    }

    /// Stands for the whole history, and for the records of each job.
    pub fn head(&self) -> ChainHash {
        self.root.seal(self.end)
    }

    fn check_whole(&self) -> Result<(), JournalError> {
        if self.is_broken {
            return Err(JournalError::Broken {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// Writes, and remembers a failure: nothing is written after it.
    fn fenced<T>(&mut self, write: impl FnOnce(&Self) -> Result<T, redb::Error>) -> Result<T, JournalError> {
        let written = guard::unpanicked(&self.path, || {
            write(self).map_err(|source| JournalError::from_storage(&self.path, source))
        });
        self.is_broken = written.is_err();
        written
    }
}

/// Of a file of an older schema. The whole chain is followed for it, once.
fn make_strands(reader: &JournalReader) -> Result<Root, JournalError> {
    let (walked, bare_before) = reader.make_strands()?;
    let filled = walked.tally.fill(&reader.database, walked.end, bare_before);
    filled.map_err(|source| JournalError::from_storage(&reader.path, source))?;
    Ok(walked.tally.root)
}

fn open_file(file: &Path, path: &Path) -> Result<Database, JournalError> {
    guard::unpanicked(path, || {
        let file = JournalFile::open(file).map_err(|source| JournalError::from_open(path, source))?;
        let database = redb::Builder::new().set_cache_size(CACHE).create_with_backend(file);
        database.map_err(|source| JournalError::from_open(path, source))
    })
}

/// Makes a new file under another name first: a crash in the middle of that leaves nothing that looks like a journal.
fn create(folder: &Path, path: &Path) -> Result<(), JournalError> {
    let io = |source| JournalError::Io {
        path: path.to_owned(),
        source,
    };
    let unfinished = path.with_extension("redb.new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let database = Pages::from(open_file(&unfinished, path)?);
    schema::prepare(&database, path)?;
    // Closing writes too.
    drop(database);
    File::open(&unfinished).and_then(|file| file.sync_all()).map_err(io)?;
    fs::rename(&unfinished, path).map_err(io)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

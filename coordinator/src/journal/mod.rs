//! The journal: every record of the state machine, on disk before anyone is told.
//!
//! Records are JSON under consecutive sequence numbers in one redb file. Each entry carries the BLAKE3 hash of the entry before it and
//! of itself, and the newest number and hash stand apart in a head entry. So a record that was changed, inserted or taken out after
//! the fact is found at the next start, and by anyone who verifies a copy later. A commit is `Durability::Immediate` in two phases:
//! redb's own checksums tell a torn write from a whole one, and the god byte only flips once the data is on disk.
//!
//! JSON rather than a compact form: a journal outlives the program that wrote it, and a person can read it.

mod chain;
mod error;
mod folder;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};

pub use chain::ChainHash;
pub use error::JournalError;
pub use folder::FolderLock;

/// Layout of the file. Raised when an older program could not read what a newer one writes.
const SCHEMA_VERSION: u64 = 1;

/// Sequence number -> (hash, record as JSON).
const RECORDS: TableDefinition<'_, u64, (&[u8; 32], &[u8])> = TableDefinition::new("records");
/// Numbers that are not records: `schema`.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// The one entry `head`: number of records, and the hash of the newest.
const HEAD: TableDefinition<'_, &str, (u64, &[u8; 32])> = TableDefinition::new("head");

/// The open journal of one data folder. Only one process can hold it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    database: Database,
    /// Records stored; the next one gets this number.
    length: u64,
    /// Hash of the newest record.
    head: ChainHash,
    /// A write has failed: what is on disk is unknown, so nothing more is written.
    broken: bool,
}

impl Journal {
    /// Opens or creates `journal.redb` in `folder`, which the caller has locked.
    ///
    /// # Errors
    /// When the file cannot be opened, was written under another schema, or is damaged.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join("journal.redb");
        let database = Database::create(&path).map_err(|source| JournalError::from_open(&path, source))?;
        Self::with_database(path, database)
    }

    fn with_database(path: PathBuf, database: Database) -> Result<Self, JournalError> {
        let mut journal = Self {
            path,
            database,
            length: 0,
            head: ChainHash::ORIGIN,
            broken: false,
        };
        journal.prepare()?;
        Ok(journal)
    }

    /// Creates the tables of a new file, or checks the schema and reads the head of an old one.
    fn prepare(&mut self) -> Result<(), JournalError> {
        let transaction = begin_durable(&self.database).map_err(|source| self.failed(source))?;
        let (length, head) = {
            let mut numbers = transaction.open_table(NUMBERS).map_err(|source| self.failed(source))?;
            transaction.open_table(RECORDS).map_err(|source| self.failed(source))?;
            let mut heads = transaction.open_table(HEAD).map_err(|source| self.failed(source))?;
            let schema = numbers
                .get("schema")
                .map_err(|source| self.failed(source))?
                .map(|guard| guard.value());
            match schema {
                None => {
                    numbers
                        .insert("schema", SCHEMA_VERSION)
                        .map_err(|source| self.failed(source))?;
                    let origin = (0, ChainHash::ORIGIN.as_bytes());
                    heads.insert("head", origin).map_err(|source| self.failed(source))?;
                }
                Some(SCHEMA_VERSION) => {}
                Some(found) => {
                    return Err(JournalError::Schema {
                        path: self.path.clone(),
                        found,
                        expected: SCHEMA_VERSION,
                    });
                }
            }
            let head = heads.get("head").map_err(|source| self.failed(source))?;
            let Some(head) = head else {
                return Err(self.damaged(0, "its head entry is missing"));
            };
            let (length, hash) = head.value();
            (length, ChainHash::from_bytes(*hash))
        };
        transaction.commit().map_err(|source| self.failed(source))?;
        (self.length, self.head) = (length, head);
        Ok(())
    }

    /// Reads all records in order, verifying the chain, and gives each to `visit`. Returns how many there were.
    ///
    /// # Errors
    /// When a record is missing, was changed, or cannot be understood: the message names its number.
    pub fn replay<R: DeserializeOwned>(&self, mut visit: impl FnMut(R)) -> Result<u64, JournalError> {
        let transaction = self.database.begin_read().map_err(|source| self.failed(source))?;
        let table = transaction.open_table(RECORDS).map_err(|source| self.failed(source))?;
        let mut hash = ChainHash::ORIGIN;
        let mut expected = 0;
        for entry in table.iter().map_err(|source| self.failed(source))? {
            let (key, value) = entry.map_err(|source| self.failed(source))?;
            let sequence = key.value();
            if sequence != expected {
                return Err(self.damaged(expected, "it is missing"));
            }
            let (stored, json) = value.value();
            hash = hash.followed_by(sequence, json);
            if hash.as_bytes() != stored {
                return Err(self.damaged(
                    sequence,
                    "its content does not match its hash: it was changed after it was written",
                ));
            }
            let record = serde_json::from_slice(json).map_err(|source| JournalError::Record {
                path: self.path.clone(),
                sequence,
                source,
            })?;
            visit(record);
            expected += 1;
        }
        if expected != self.length || hash != self.head {
            return Err(self.damaged(
                expected,
                "the newest records are missing or do not match the head of the chain",
            ));
        }
        Ok(expected)
    }

    /// Appends records in one commit. When it returns, they are on disk.
    ///
    /// # Errors
    /// When a record cannot be read back from its JSON (nothing is written then), or the disk fails. After a disk error the journal
    /// takes nothing more: whether the commit reached the disk is only known after a restart.
    pub fn append<R: Serialize + DeserializeOwned>(&mut self, records: &[R]) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Broken {
                path: self.path.clone(),
            });
        }
        let mut encoded = Vec::with_capacity(records.len());
        for (sequence, record) in (self.length..).zip(records) {
            let failed = |source| JournalError::Record {
                path: self.path.clone(),
                sequence,
                source,
            };
            let json = serde_json::to_vec(record).map_err(failed)?;
            // JSON has no NaN and no infinity: what cannot be read back must never be written.
            serde_json::from_slice::<R>(&json).map_err(failed)?;
            encoded.push(json);
        }
        match self.write(&encoded) {
            Ok(head) => {
                self.length += encoded.len() as u64;
                self.head = head;
                Ok(())
            }
            Err(source) => {
                self.broken = true;
                Err(self.failed(source))
            }
        }
    }

    fn write(&self, encoded: &[Vec<u8>]) -> Result<ChainHash, redb::Error> {
        let transaction = begin_durable(&self.database)?;
        let mut hash = self.head;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (sequence, json) in (self.length..).zip(encoded) {
                hash = hash.followed_by(sequence, json);
                table.insert(sequence, (hash.as_bytes(), json.as_slice()))?;
            }
            let length = self.length + encoded.len() as u64;
            transaction
                .open_table(HEAD)?
                .insert("head", (length, hash.as_bytes()))?;
        }
        transaction.commit()?;
        Ok(hash)
    }

    /// Records stored.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing has ever been recorded.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Hash of the newest record: it stands for the whole history.
    pub fn head(&self) -> ChainHash {
        self.head
    }

    fn failed(&self, source: impl Into<redb::Error>) -> JournalError {
        JournalError::from_storage(&self.path, source.into())
    }

    fn damaged(&self, sequence: u64, reason: &'static str) -> JournalError {
        JournalError::Damaged {
            path: self.path.clone(),
            sequence,
            reason,
        }
    }
}

fn begin_durable(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

//! How the journal lies in its file, and how files of an older layout become it.
//!
//! Schema 1 hashed the JSON of each record itself; schema 2 hashes its digest, so that a record's text can be dropped and the chain still be
//! followed. A file of schema 1 is verified and rewritten once, in one transaction, when it is opened.
//!
//! Schema 3 derives the digests of records that may be compacted, so that the chain tells which these are. What a file of schema 2 holds
//! stays as it is; of its records, those that have no text any more are not proven to be of such a kind.
//!
//! Schema 4 adds the [strands](super::strands) of the jobs, which are made of the records once, when an older file is opened. The chain
//! itself stays as it is, and so do the heads of it that were noted. From then on records may have forms that builds of schema 3 cannot read
//! (metrics by name, sparse confusion counts). The file says which build gave it its schema, so that an older program can name it.
//!
//! Schema 5 lies as schema 4 does. Its records hold specs, datasets and metrics of tasks that builds of schema 4 do not know.
//! Those of schema 6 hold namespaces, priorities, quotas, tokens and suspended jobs besides, and those of schema 7 what came to the spec with
//! revision 5 of the protocol, and that a journal was put back from a backup.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};

use super::{
    JournalError,
    chain::{ChainHash, Position, RecordDigest},
    directory::Root,
};

/// Layout of the file and form of its records. Raised when an older program could not read what a newer one writes.
pub(super) const SCHEMA_VERSION: u64 = 7;

/// Sequence number -> (hash, record as JSON).
pub(super) const RECORDS: TableDefinition<'_, u64, (&[u8; 32], &[u8])> = TableDefinition::new("records");
/// Sequence number -> (hash, digest) of records whose text was compacted away.
pub(super) const COMPACTED: TableDefinition<'_, u64, (&[u8; 32], &[u8; 32])> = TableDefinition::new("compacted");
/// Sequence number -> (hash, digest, strand) of records whose text went with their job.
pub(super) const REMOVED: TableDefinition<'_, u64, (&[u8; 32], &[u8; 32], u64)> = TableDefinition::new("removed");
/// Job -> number of its strand; none of a job that is gone.
pub(super) const NAMES: TableDefinition<'_, &str, u64> = TableDefinition::new("names");
/// Number of a strand -> (first record, last record, records, hash, job).
pub(super) const STRANDS: TableDefinition<'_, u64, (u64, u64, u64, &[u8; 32], &str)> = TableDefinition::new("strands");
/// (Number of a strand, sequence number): the records of a strand of which a text is kept.
pub(super) const MEMBERS: TableDefinition<'_, (u64, u64), ()> = TableDefinition::new("members");
/// (Level, number) -> node of the [directory](super::directory).
pub(super) const DIRECTORY: TableDefinition<'_, (u8, u64), &[u8; 32]> = TableDefinition::new("directory");
/// Number of a strand whose texts are to be removed -> the first record that was not looked at yet.
pub(super) const CLOSED: TableDefinition<'_, u64, u64> = TableDefinition::new("closed");
/// Builds of the program. `schema`: the one that gave the file its schema; files before schema 4 have no such table.
pub(super) const BUILDS: TableDefinition<'_, &str, &str> = TableDefinition::new("builds");
/// Numbers that are not records. `schema`. `strands since`: records before this one were there before there were strands. `bare before`: no
/// record from this one on was compacted under a schema whose chain does not tell which records may be.
pub(super) const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Positions in the chain. `head`: after the newest record. `anchor`: before the oldest one of which anything is kept. `schema 1`: the head
/// that a file of schema 1 had when it was rewritten. `directory`: strands, and the root over them.
pub(super) const HEAD: TableDefinition<'_, &str, (u64, &[u8; 32])> = TableDefinition::new("head");

/// The table [`HEAD`], for reading or writing.
pub(super) trait Heads: ReadableTable<&'static str, (u64, &'static [u8; 32])> {}

impl<T: ReadableTable<&'static str, (u64, &'static [u8; 32])>> Heads for T {}

/// The table [`RECORDS`], for reading or writing.
pub(super) trait Texts: ReadableTable<u64, (&'static [u8; 32], &'static [u8])> {}

impl<T: ReadableTable<u64, (&'static [u8; 32], &'static [u8])>> Texts for T {}

/// The table [`COMPACTED`], for reading or writing.
pub(super) trait Digests: ReadableTable<u64, (&'static [u8; 32], &'static [u8; 32])> {}

impl<T: ReadableTable<u64, (&'static [u8; 32], &'static [u8; 32])>> Digests for T {}

/// The table [`REMOVED`], for reading or writing.
pub(super) trait Removed: ReadableTable<u64, (&'static [u8; 32], &'static [u8; 32], u64)> {}

impl<T: ReadableTable<u64, (&'static [u8; 32], &'static [u8; 32], u64)>> Removed for T {}

/// Where the chain begins and ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) anchor: Position,
    pub(super) head: Position,
}

/// A file that can be read.
pub(super) struct Prepared {
    /// Where its chain ends.
    pub(super) end: Position,
    /// Over its strands; `None`: they are not made yet.
    pub(super) root: Option<Root>,
}

/// Creates the tables of a new file, or checks the schema of an old one.
pub(super) fn prepare(database: &Database, path: &Path) -> Result<Prepared, JournalError> {
    let failed = |source: redb::Error| JournalError::from_storage(path, source);
    match schema(database).map_err(failed)? {
        None => {
            let end = create(database).map_err(failed)?;
            let root = Some(Root::EMPTY);
            return Ok(Prepared { end, root });
        }
        Some(1) => migrate(database, path)?,
        Some(2) => set_schema(database, 3).map_err(failed)?,
        Some(3) => {}
        Some(found @ 4..=SCHEMA_VERSION) => {
            if found < SCHEMA_VERSION {
                raise(database).map_err(failed)?;
            }
            let (end, root) = end(database, path)?;
            return Ok(Prepared { end, root: Some(root) });
        }
        Some(found) => {
            return Err(JournalError::Schema {
                path: path.to_owned(),
                found,
                build: build(database).map_err(failed)?,
                expected: SCHEMA_VERSION,
            });
        }
    }
    prepare_strands(database).map_err(failed)?;
    let (end, _) = end(database, path)?;
    Ok(Prepared { end, root: None })
}

/// The tables that schema 4 adds, empty. A crash before they are filled leaves a file of schema 3.
fn prepare_strands(database: &Database) -> Result<(), redb::Error> {
    let transaction = begin_durable(database)?;
    transaction.open_table(COMPACTED)?;
    create_strands(&transaction)?;
    transaction.commit()?;
    Ok(())
}

fn create_strands(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(REMOVED)?;
    transaction.open_table(NAMES)?;
    transaction.open_table(STRANDS)?;
    transaction.open_table(MEMBERS)?;
    transaction.open_table(DIRECTORY)?;
    transaction.open_table(CLOSED)?;
    let empty = (Root::EMPTY.leaves, &Root::EMPTY.node);
    transaction.open_table(HEAD)?.insert("directory", empty)?;
    Ok(())
}

fn end(database: &Database, path: &Path) -> Result<(Position, Root), JournalError> {
    let failed = |source: redb::Error| JournalError::from_storage(path, source);
    let transaction = database.begin_read().map_err(|source| failed(source.into()))?;
    let heads = transaction.open_table(HEAD).map_err(|source| failed(source.into()))?;
    Ok((bounds(&heads, path)?.head, root(&heads, path)?))
}

/// The root over the strands.
pub(super) fn root(heads: &impl Heads, path: &Path) -> Result<Root, JournalError> {
    let failed = |source: redb::StorageError| JournalError::from_storage(path, source.into());
    let found = heads.get("directory").map_err(failed)?;
    let found = found.ok_or_else(|| JournalError::damaged(path, 0, "the root over the jobs is missing"))?;
    let (leaves, node) = found.value();
    Ok(Root { leaves, node: *node })
}

fn set_schema(database: &Database, version: u64) -> Result<(), redb::Error> {
    let transaction = begin_durable(database)?;
    transaction.open_table(NUMBERS)?.insert("schema", version)?;
    transaction.commit()?;
    Ok(())
}

/// Of a file that lies as this program would have it.
fn raise(database: &Database) -> Result<(), redb::Error> {
    let transaction = begin_durable(database)?;
    sign(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// Gives the file the schema of this program, in its name.
pub(super) fn sign(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(NUMBERS)?.insert("schema", SCHEMA_VERSION)?;
    transaction
        .open_table(BUILDS)?
        .insert("schema", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}

/// The build that gave the file its schema.
fn build(database: &Database) -> Result<Option<String>, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(BUILDS) {
        Ok(builds) => Ok(builds.get("schema")?.map(|guard| guard.value().to_owned())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// The hash of the last record before a place; `None`: there is no such record, or nothing is kept of it.
pub(super) fn hash_before(
    sequence: u64,
    anchor: Position,
    (texts, digests, removed): (&impl Texts, &impl Digests, &impl Removed),
) -> Result<Option<ChainHash>, redb::StorageError> {
    if sequence <= anchor.sequence {
        return Ok((sequence == anchor.sequence).then_some(anchor.hash));
    }
    let text = texts.get(sequence - 1)?.map(|guard| *guard.value().0);
    let digest = digests.get(sequence - 1)?.map(|guard| *guard.value().0);
    let removed = removed.get(sequence - 1)?.map(|guard| *guard.value().0);
    Ok(text.or(digest).or(removed).map(ChainHash::from_bytes))
}

/// Reads where the chain begins and ends.
pub(super) fn bounds(heads: &impl Heads, path: &Path) -> Result<Bounds, JournalError> {
    let head = position(heads, "head").map_err(|source| JournalError::from_storage(path, source))?;
    let Some(head) = head else {
        return Err(JournalError::damaged(path, 0, "the head entry of the chain is missing"));
    };
    let anchor = anchor(heads).map_err(|source| JournalError::from_storage(path, source))?;
    Ok(Bounds { anchor, head })
}

/// Where what is kept of the chain begins.
pub(super) fn anchor(heads: &impl Heads) -> Result<Position, redb::Error> {
    Ok(position(heads, "anchor")?.unwrap_or(Position::ORIGIN))
}

fn position(heads: &impl Heads, name: &str) -> Result<Option<Position>, redb::Error> {
    Ok(heads.get(name)?.map(|guard| {
        let (sequence, hash) = guard.value();
        Position {
            sequence,
            hash: ChainHash::from_bytes(*hash),
        }
    }))
}

/// A transaction that is on disk when its commit returns.
pub(super) fn begin_durable(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// `None`: the file is new.
fn schema(database: &Database) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(NUMBERS) {
        Ok(numbers) => Ok(numbers.get("schema")?.map(|guard| guard.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn create(database: &Database) -> Result<Position, redb::Error> {
    let transaction = begin_durable(database)?;
    sign(&transaction)?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(COMPACTED)?;
    create_strands(&transaction)?;
    let origin = (0, ChainHash::ORIGIN.as_bytes());
    transaction.open_table(HEAD)?.insert("head", origin)?;
    transaction.commit()?;
    Ok(Position::ORIGIN)
}

fn migrate(database: &Database, path: &Path) -> Result<(), JournalError> {
    let failed = |source: redb::Error| JournalError::from_storage(path, source);
    let transaction = begin_durable(database).map_err(failed)?;
    let new = {
        let open = |source: redb::TableError| failed(source.into());
        let storage = |source: redb::StorageError| failed(source.into());
        let mut records = transaction.open_table(RECORDS).map_err(open)?;
        let mut heads = transaction.open_table(HEAD).map_err(open)?;
        transaction.open_table(COMPACTED).map_err(open)?;
        let head = bounds(&heads, path)?.head;
        let (mut old, mut new) = (ChainHash::ORIGIN, Position::ORIGIN);
        while new.sequence < head.sequence {
            let sequence = new.sequence;
            let (stored, json) = {
                let guard = records.get(sequence).map_err(storage)?;
                let guard = guard.ok_or_else(|| JournalError::damaged(path, sequence, "it is missing"))?;
                let (stored, json) = guard.value();
                (*stored, json.to_vec())
            };
            old = old.followed_in_schema_1(sequence, &json);
            if *old.as_bytes() != stored {
                return Err(JournalError::damaged(
                    path,
                    sequence,
                    "its content does not match its hash: it was changed after it was written",
                ));
            }
            new = new.after(&RecordDigest::of(&json));
            records
                .insert(sequence, (new.hash.as_bytes(), json.as_slice()))
                .map_err(storage)?;
        }
        if old != head.hash {
            return Err(JournalError::damaged(
                path,
                head.sequence,
                "the newest records do not match the head of the chain",
            ));
        }
        heads
            .insert("schema 1", (head.sequence, head.hash.as_bytes()))
            .map_err(storage)?;
        heads
            .insert("head", (new.sequence, new.hash.as_bytes()))
            .map_err(storage)?;
        let mut numbers = transaction.open_table(NUMBERS).map_err(open)?;
        numbers.insert("schema", 3).map_err(storage)?;
        new
    };
    transaction.commit().map_err(|source| failed(source.into()))?;
    tracing::info!(
        records = new.sequence,
        "the journal was rewritten from schema 1 to schema 3"
    );
    Ok(())
}

//! What is left of a job that was deleted: the digests of its records, and its tombstone.
//!
//! The records that say that it was deleted keep their texts, and its strand stays in the directory. So the chain can be followed, the proof
//! of every other job holds, and anyone can see that a job was here and went on purpose.
//!
//! The texts go in parts, each a commit, after the last record of the job is durable; the table of closed strands says how far that is. So a
//! crash in between costs nothing: the next start goes on.

use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, WriteTransaction};

use super::{
    Journal, JournalError,
    chain::RecordDigest,
    guard,
    membership::{Membership, Part},
    schema::{CLOSED, MEMBERS, RECORDS, REMOVED, begin_durable},
};
use crate::fail_point::{self, FailPoint};

/// Records of one commit: few enough that nobody waits long for it.
const PART: usize = 1_000;

impl Journal {
    /// Whether there are texts of jobs that are gone.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn has_remains(&self) -> Result<bool, JournalError> {
        let read = || -> Result<bool, redb::Error> { Ok(!self.database.begin_read()?.open_table(CLOSED)?.is_empty()?) };
        guard::unpanicked(&self.path, || {
            read().map_err(|source| JournalError::from_storage(&self.path, source))
        })
    }

    /// Removes texts of jobs that are gone, as many as one commit takes. Returns whether any are left.
    ///
    /// # Errors
    /// As of [`Journal::append`]: after a disk error the journal takes nothing more.
    pub fn remove_texts(&mut self) -> Result<bool, JournalError> {
        self.check_whole()?;
        fail_point::pass(FailPoint::RemovalBeforeCommit);
        self.fenced(Self::write_removed)
    }

    fn write_removed(&self) -> Result<bool, redb::Error> {
        let transaction = begin_durable(&self.database)?;
        let is_done = remove(&transaction)?;
        transaction.commit()?;
        Ok(!is_done)
    }
}

fn remove(transaction: &WriteTransaction) -> Result<bool, redb::Error> {
    let mut closed = transaction.open_table(CLOSED)?;
    let mut left = PART;
    while left > 0 {
        let next = closed.first()?.map(|(number, from)| (number.value(), from.value()));
        let Some((number, from)) = next else { break };
        let part = members(transaction, number, from, left)?;
        for sequence in &part {
            remove_one(transaction, number, *sequence)?;
        }
        if part.len() < left {
            closed.remove(number)?;
        } else if let Some(last) = part.last() {
            closed.insert(number, last + 1)?;
        }
        left -= part.len();
    }
    Ok(closed.first()?.is_none())
}

fn members(transaction: &WriteTransaction, number: u64, from: u64, most: usize) -> Result<Vec<u64>, redb::Error> {
    let members = transaction.open_table(MEMBERS)?;
    let mut found = Vec::new();
    for member in members.range((number, from)..=(number, u64::MAX))?.take(most) {
        found.push(member?.0.value().1);
    }
    Ok(found)
}

/// Unless it is of the tombstone.
fn remove_one(transaction: &WriteTransaction, number: u64, sequence: u64) -> Result<(), redb::Error> {
    let mut records = transaction.open_table(RECORDS)?;
    let found = records.get(sequence)?.and_then(|guard| {
        let (hash, json) = guard.value();
        let is_ordinary = Membership::of(json).is_none_or(|found| found.part == Part::Ordinary);
        is_ordinary.then(|| (*hash, RecordDigest::of(json)))
    });
    let Some((hash, digest)) = found else { return Ok(()) };
    records.remove(sequence)?;
    let mut removed = transaction.open_table(REMOVED)?;
    removed.insert(sequence, (&hash, digest.as_bytes(), number))?;
    transaction.open_table(MEMBERS)?.remove((number, sequence))?;
    Ok(())
}

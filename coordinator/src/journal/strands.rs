//! Strands: the records of one job, chained on their own beside the chain of all.
//!
//! The hash of a strand covers the numbers and digests of all records of its job, and the [directory](super::directory) covers the strands
//! of all jobs. So one job is proven from its own records and a dozen hashes, whatever else the journal holds, and neither a changed, nor an
//! added, nor a missing record of it goes unseen. Whoever follows the whole chain makes all strands anew and compares.
//!
//! Strands are numbered in the order of their first records. A job that is deleted leaves its strand behind, without the texts of its
//! records; its name is free for another one.

use std::collections::{BTreeMap, btree_map::Entry};

use redb::{Database, ReadOnlyTable, ReadableTable as _, Table, WriteTransaction};

use super::{
    chain::{Position, RecordDigest},
    directory::{self, Node, Nodes, NodesMut, Place, Root},
    encoded::Encoded,
    membership::{Membership, Part},
    schema::{self, CLOSED, DIRECTORY, HEAD, MEMBERS, NAMES, NUMBERS, STRANDS},
};

/// The records of one job so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strand {
    /// The job, which may have been deleted since.
    pub(super) job: String,
    /// Number of the first record.
    pub(super) first: u64,
    /// Number of the newest.
    pub(super) last: u64,
    /// Records.
    pub(super) count: u64,
    /// Over all of them.
    pub(super) hash: Node,
}

impl Strand {
    /// Before its first record, which will have this number.
    pub(super) fn beginning(job: &str, first: u64) -> Self {
        Self {
            job: job.to_owned(),
            first,
            last: first,
            count: 0,
            hash: [0; 32],
        }
    }

    /// Takes one more record in.
    pub(super) fn extend(&mut self, sequence: u64, digest: &RecordDigest) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"firn journal strand");
        hasher.update(&self.hash);
        hasher.update(&sequence.to_le_bytes());
        hasher.update(digest.as_bytes());
        (self.last, self.count) = (sequence, self.count + 1);
        self.hash = *hasher.finalize().as_bytes();
    }

    /// What stands for it in the directory.
    pub(super) fn leaf(&self) -> Node {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"firn journal leaf");
        hasher.update(&(self.job.len() as u64).to_le_bytes());
        hasher.update(self.job.as_bytes());
        hasher.update(&self.count.to_le_bytes());
        hasher.update(&self.hash);
        *hasher.finalize().as_bytes()
    }

    pub(super) fn from_row((first, last, count, hash, job): (u64, u64, u64, &[u8; 32], &str)) -> Self {
        Self {
            job: job.to_owned(),
            first,
            last,
            count,
            hash: *hash,
        }
    }

    fn row(&self) -> (u64, u64, u64, &[u8; 32], &str) {
        (self.first, self.last, self.count, &self.hash, &self.job)
    }
}

impl Nodes for ReadOnlyTable<Place, &'static [u8; 32]> {
    type Error = redb::StorageError;

    fn node(&self, place: Place) -> Result<Option<Node>, redb::StorageError> {
        Ok(self.get(place)?.map(|guard| *guard.value()))
    }
}

impl Nodes for Table<'_, Place, &'static [u8; 32]> {
    type Error = redb::StorageError;

    fn node(&self, place: Place) -> Result<Option<Node>, redb::StorageError> {
        Ok(self.get(place)?.map(|guard| *guard.value()))
    }
}

impl NodesMut for Table<'_, Place, &'static [u8; 32]> {
    fn set(&mut self, place: Place, node: Node) -> Result<(), redb::StorageError> {
        self.insert(place, &node).map(drop)
    }
}

/// Adds records, the first of which has this number, to the strands of their jobs, in the transaction that appends them.
pub(super) fn extend(
    transaction: &WriteTransaction,
    first: u64,
    records: &[Encoded],
    root: Root,
) -> Result<Root, redb::Error> {
    if records.iter().all(|record| record.membership().is_none()) {
        return Ok(root);
    }
    let mut names = transaction.open_table(NAMES)?;
    let mut members = transaction.open_table(MEMBERS)?;
    let mut strands = transaction.open_table(STRANDS)?;
    let mut closed = transaction.open_table(CLOSED)?;
    let mut changed: BTreeMap<u64, Strand> = BTreeMap::new();
    let mut leaves = root.leaves;
    for (sequence, record) in (first..).zip(records) {
        let Some(Membership { job, part }) = record.membership() else {
            continue;
        };
        let known = names.get(job.as_str())?.map(|guard| guard.value());
        let number = known.unwrap_or(leaves);
        if known.is_none() {
            names.insert(job.as_str(), number)?;
            leaves += 1;
        }
        let strand = match changed.entry(number) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                let found = strands.get(number)?.map(|guard| Strand::from_row(guard.value()));
                place.insert(found.unwrap_or_else(|| Strand::beginning(job, sequence)))
            }
        };
        strand.extend(sequence, &record.digest());
        members.insert((number, sequence), ())?;
        if *part == Part::End {
            names.remove(job.as_str())?;
            closed.insert(number, 0)?;
        }
    }
    let mut nodes = transaction.open_table(DIRECTORY)?;
    let mut root = Root { leaves, ..root };
    for (number, strand) in &changed {
        strands.insert(number, strand.row())?;
        root = directory::plant(&mut nodes, leaves, *number, strand.leaf())?;
    }
    write_root(transaction, root)?;
    Ok(root)
}

fn write_root(transaction: &WriteTransaction, root: Root) -> Result<(), redb::Error> {
    transaction
        .open_table(HEAD)?
        .insert("directory", (root.leaves, &root.node))?;
    Ok(())
}

/// All strands, made anew while the whole chain is followed.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) strands: Vec<Strand>,
    pub(super) root: Root,
    nodes: BTreeMap<Place, Node>,
    /// Of jobs that are not gone.
    pub(super) names: BTreeMap<String, u64>,
    /// Strand and number of each record, if they are wanted.
    members: Option<Vec<(u64, u64)>>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            strands: Vec::new(),
            root: Root::EMPTY,
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            members: None,
        }
    }

    /// One that can be [written](Self::write).
    pub(super) fn with_members() -> Self {
        Self {
            members: Some(Vec::new()),
            ..Self::new()
        }
    }

    /// Fills the tables of the strands: the file is one of this schema from now on. No record from `bare_before` on is kept by a digest that
    /// could be that of anything.
    pub(super) fn fill(&self, database: &Database, end: Position, bare_before: u64) -> Result<(), redb::Error> {
        let transaction = schema::begin_durable(database)?;
        self.write(&transaction)?;
        schema::sign(&transaction)?;
        {
            let mut numbers = transaction.open_table(NUMBERS)?;
            numbers.insert("strands since", end.sequence)?;
            numbers.insert("bare before", bare_before)?;
        }
        transaction.commit()?;
        tracing::info!(
            records = end.sequence,
            jobs = self.strands.len(),
            "the records of each job of an older journal were chained on their own"
        );
        Ok(())
    }

    /// Whether it is to be written, rather than to be compared with what is there.
    pub(super) fn is_made_anew(&self) -> bool {
        self.members.is_some()
    }

    /// A record whose text is kept.
    pub(super) fn see(&mut self, sequence: u64, json: &[u8]) {
        let Some(Membership { job, part }) = Membership::of(json) else {
            return;
        };
        let known = self.names.get(&job).copied();
        let number = known.unwrap_or(self.strands.len() as u64);
        if known.is_none() {
            self.begin(number, Strand::beginning(&job, sequence));
        }
        self.extend(number, sequence, &RecordDigest::of(json));
        if part == Part::End {
            self.names.remove(&job);
        }
    }

    /// A record of a deleted job: `recorded` is its strand, as the journal has it.
    pub(super) fn see_removed(&mut self, sequence: u64, digest: &RecordDigest, number: u64, recorded: Option<&Strand>) {
        let job = recorded.map_or("", |strand| &strand.job);
        if number == self.strands.len() as u64 {
            self.begin(number, Strand::beginning(job, sequence));
        }
        self.extend(number, sequence, digest);
    }

    fn begin(&mut self, number: u64, strand: Strand) {
        self.names.insert(strand.job.clone(), number);
        self.strands.push(strand);
    }

    fn extend(&mut self, number: u64, sequence: u64, digest: &RecordDigest) {
        let leaves = self.strands.len() as u64;
        let Some(strand) = self.strands.get_mut(number as usize) else {
            return;
        };
        strand.extend(sequence, digest);
        let planted = directory::plant(&mut self.nodes, leaves, number, strand.leaf());
        let Ok(root) = planted;
        self.root = root;
        if let Some(members) = &mut self.members {
            members.push((number, sequence));
        }
    }

    /// Writes all of it into tables that are empty.
    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut names = transaction.open_table(NAMES)?;
        for (job, number) in &self.names {
            names.insert(job.as_str(), number)?;
        }
        let mut strands = transaction.open_table(STRANDS)?;
        for (number, strand) in (0..).zip(&self.strands) {
            strands.insert(number, strand.row())?;
        }
        let mut members = transaction.open_table(MEMBERS)?;
        for member in self.members.iter().flatten() {
            members.insert(member, ())?;
        }
        let mut nodes = transaction.open_table(DIRECTORY)?;
        for (place, node) in &self.nodes {
            nodes.insert(place, node)?;
        }
        write_root(transaction, self.root)
    }
}

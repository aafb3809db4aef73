//! One job proven from its own records, whatever else the journal holds.
//!
//! Each record is read by its number, laid beside the hashes of the chain before and after it, and taken into the strand of its job anew. The
//! strand must be that of the file, and with the nodes beside its way it must lead to the root, which the head of the journal stands for. So
//! what was changed, added or left out of this job is found; what was done to others is found by whoever follows the whole chain.

use std::path::Path;

use firn_core::{Record, identifiers::JobId};
use redb::ReadableTableMetadata as _;

use super::{
    JournalError, JournalReader, VerifiedChain,
    chain::{Position, RecordDigest},
    directory, guard,
    reader::CHANGED,
    strands::Strand,
    tables::Tables,
};

/// A record and its number.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedRecord {
    /// Position in the journal, from 0 over all jobs.
    pub sequence: u64,
    /// What was recorded, and when.
    pub record: Record,
}

/// All records of one job, and the journal in which they were found.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecords {
    /// In order.
    pub records: Vec<NumberedRecord>,
    /// The journal that holds them.
    pub chain: VerifiedChain,
    /// Whether they can only be proven by following the whole chain: records from after the submission of the job were compacted under a
    /// schema whose chain does not tell whether they are of a job.
    pub needs_chain: bool,
    /// Whether the job came after the program that first kept strands.
    pub is_recent: bool,
}

impl JournalReader {
    /// All records of one job, proven to be those that were chained. None, if there is no such job.
    ///
    /// # Errors
    /// When one of them is missing, was changed, or cannot be understood: the message names its number.
    pub fn records_of(&self, job: &JobId) -> Result<JobRecords, JournalError> {
        let mut reading = 0;
        guard::unpanicked_at(&self.path, &mut reading, |reading| self.prove(job, reading))
    }

    fn prove(&self, job: &JobId, reading: &mut u64) -> Result<JobRecords, JournalError> {
        let transaction = self.begin()?;
        let tables = Tables::open(&transaction, &self.path)?;
        let failed = |source: redb::StorageError| JournalError::from_storage(&self.path, source.into());
        let head = tables.bounds.head;
        if self.hash_before(head.sequence, &tables)? != Some(head.hash) {
            return Err(self.damaged(head.sequence, "the newest record does not match the head of the chain"));
        }
        let mut proven = JobRecords {
            records: Vec::new(),
            chain: chain(&tables, &self.path)?,
            needs_chain: false,
            is_recent: false,
        };
        let Some(number) = tables.number_of(job.as_str(), &self.path)? else {
            return Ok(proven);
        };
        let recorded = tables.strand(number, &self.path)?;
        let recorded = recorded.ok_or_else(|| self.damaged(0, "the strand of a job is missing"))?;
        let mut strand = Strand::beginning(&recorded.job, recorded.first);
        for member in tables.members.range((number, 0)..=(number, u64::MAX)).map_err(failed)? {
            let sequence = member.map_err(failed)?.0.value().1;
            *reading = sequence;
            let record = self.record_of(job, sequence, &tables, &mut strand)?;
            proven.records.push(NumberedRecord { sequence, record });
        }
        if strand != recorded {
            return Err(self.damaged(recorded.last, "the records of its job are not those that were chained"));
        }
        let climbed = directory::climb(&tables.directory, tables.root.leaves, number, strand.leaf(), |_, _| {});
        if climbed.map_err(failed)? != tables.root {
            return Err(self.damaged(
                strand.last,
                "the records of its job do not lead to the root over all jobs",
            ));
        }
        let note = |name: &str| {
            Ok(tables
                .numbers
                .get(name)
                .map_err(failed)?
                .map_or(0, |guard| guard.value()))
        };
        proven.needs_chain = strand.first < note("bare before")?;
        proven.is_recent = strand.first >= note("strands since")?;
        Ok(proven)
    }

    /// One record, laid beside its neighbours in the chain and taken into the strand.
    fn record_of(
        &self,
        job: &JobId,
        sequence: u64,
        tables: &Tables,
        strand: &mut Strand,
    ) -> Result<Record, JournalError> {
        let failed = |source| JournalError::from_reading(&self.path, sequence, source);
        let row = tables.texts.get(sequence).map_err(failed)?;
        let row = row.ok_or_else(|| self.damaged(sequence, "it is missing"))?;
        let (stored, json) = row.value();
        let digest = RecordDigest::of(json);
        let before = self.hash_before(sequence, tables)?;
        let before = before.map(|hash| Position { sequence, hash });
        if before.and_then(|before| before.followed(digest, stored)).is_none() {
            return Err(self.damaged(sequence, CHANGED));
        }
        strand.extend(sequence, &digest);
        let record: Record = self.understand(sequence, json)?;
        match record.job() == Some(job) {
            true => Ok(record),
            false => Err(self.damaged(sequence, "it is of another job")),
        }
    }
}

/// What the journal is found to be without following its chain.
fn chain(tables: &Tables, path: &Path) -> Result<VerifiedChain, JournalError> {
    let failed = |source: redb::StorageError| JournalError::from_storage(path, source.into());
    let anchor = tables.bounds.anchor.sequence;
    let digests = tables.digests.len().map_err(failed)? + tables.removed.len().map_err(failed)?;
    Ok(VerifiedChain {
        records: tables.bounds.head.sequence,
        compacted: anchor + digests,
        anchor,
        head: tables.root.seal(tables.bounds.head),
    })
}

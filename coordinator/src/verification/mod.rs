//! `firn verify`: a job's records, as the journal's chain proves them, laid beside what they must be, and the files beside their records.
//!
//! The chain, or the strand of the job, shows that the records are those that were written, and that those without text concern no job; the
//! audit of `firn-core` shows that they are those of a job that used every sample once; the digests show that the files are those that were
//! recorded; metrics that need single predictions are computed again from their file. What cannot be looked at from here is said to be so: it
//! counts neither as proven nor as wrong.

mod files;
mod metrics;
mod weights;

use firn_core::{
    audit::{Audit, Auditor, Finding, Flaw},
    identifiers::JobId,
};

pub use files::{CheckedFile, FileState};
pub use weights::WeightState;

use crate::{
    artifacts::ArtifactStore,
    journal::{ChainHash, JournalError, JournalReader, Kept, Position, VerifiedChain},
};

/// All that is known of a job when it has been verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// Of the records.
    pub audit: Audit,
    /// Where the chain ended, if it is whole, and how many records have no text any more.
    pub chain: Option<(Position, u64)>,
    /// Files and their digests.
    pub files: Vec<CheckedFile>,
    /// Whether the result is made of the best checkpoint; `None` before the end of the job.
    pub weights: Option<WeightState>,
}

impl Verification {
    /// Whether nothing was found that cannot be.
    pub fn is_proven(&self) -> bool {
        self.audit.findings.is_empty()
    }

    /// Whether the journal names the job at all.
    pub fn knows_the_job(&self) -> bool {
        self.audit.receipt.records > 0 || self.chain.is_none()
    }

    /// Whether a file of a job that goes on was not found: it may have been dropped since the records were read.
    fn may_be_outrun(&self) -> bool {
        let is_missing = |file: &CheckedFile| file.state == FileState::Missing;
        self.audit.receipt.outcome.is_none() && self.files.iter().any(is_missing)
    }
}

/// Times that a job is looked at that drops its checkpoints meanwhile.
const MOST_LOOKS: u32 = 5;

/// What of the journal is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The records of the job, and that the head of the journal stands for them: what a coordinator is asked, which has followed the chain
    /// when it started. Takes as long as the job is, whatever else there is.
    Job {
        /// The newest start of the coordinator.
        coordinator_epoch: u64,
    },
    /// The whole chain, which nobody else follows.
    Chain {
        /// A head that was noted earlier, and must still be on the chain: without one, records that were cut off its end are not missed.
        noted: Option<ChainHash>,
    },
}

/// Verifies one job. Blocks on the disk: what the scope says is read, and every file of the job that can be reached.
pub fn verify(scope: Scope, reader: &JournalReader, store: &ArtifactStore, job: &JobId) -> Verification {
    let mut verification = look(scope, reader, store, job);
    for _ in 1..MOST_LOOKS {
        if !verification.may_be_outrun() {
            break;
        }
        verification = look(scope, reader, store, job);
    }
    verification
}

fn look(scope: Scope, reader: &JournalReader, store: &ArtifactStore, job: &JobId) -> Verification {
    let (audit, chain) = match scope {
        Scope::Job { coordinator_epoch } => look_at_job(coordinator_epoch, reader, job),
        Scope::Chain { noted } => look_at_chain(noted, reader, job),
    };
    with_files(store, audit, chain)
}

type Chain = Option<(Position, u64)>;

fn look_at_job(coordinator_epoch: u64, reader: &JournalReader, job: &JobId) -> (Audit, Chain) {
    match reader.records_of(job) {
        Ok(proven) if proven.needs_chain => look_at_chain(None, reader, job),
        Ok(proven) => {
            let mut auditor = Auditor::new(job.clone()).knowing(coordinator_epoch, proven.is_recent);
            for found in &proven.records {
                auditor.see(found.sequence, &found.record);
            }
            (auditor.finish(), Some(end(proven.chain)))
        }
        // What the walk over all of it can still tell is more than nothing.
        Err(error) => {
            let (mut audit, _) = look_at_chain(None, reader, job);
            let finding = broken_chain(&error);
            if !audit.findings.contains(&finding) {
                audit.findings.insert(0, finding);
            }
            (audit, None)
        }
    }
}

fn look_at_chain(noted: Option<ChainHash>, reader: &JournalReader, job: &JobId) -> (Audit, Chain) {
    let mut auditor = Auditor::new(job.clone());
    let mut bare = Vec::new();
    let mut lost = noted;
    let walked = reader.examine(|passed, kept| {
        let sequence = passed.place.sequence - 1;
        // Programs before this one showed the hash of the chain alone.
        lost = lost.filter(|noted| *noted != passed.head && *noted != passed.place.hash);
        match kept {
            Kept::Whole(record) => auditor.see(sequence, &record),
            Kept::Digest | Kept::Removed => {}
            Kept::BareDigest => bare.push(sequence),
        }
    });
    let mut audit = auditor.finish();
    audit.findings.extend(hidden_records(&audit, &bare));
    match walked {
        Ok(chain) => {
            audit.findings.extend(lost.map(|noted| lost_head(noted, chain)));
            (audit, Some(end(chain)))
        }
        Err(error) => {
            // What was read before it is honest as far as it goes; this comes first.
            audit.findings.insert(0, broken_chain(&error));
            (audit, None)
        }
    }
}

fn end(chain: VerifiedChain) -> (Position, u64) {
    let end = Position {
        sequence: chain.records,
        hash: chain.head,
    };
    (end, chain.compacted)
}

fn with_files(store: &ArtifactStore, mut audit: Audit, chain: Chain) -> Verification {
    let files = files::check(store, &audit.receipt);
    audit.findings.extend(files.iter().filter_map(CheckedFile::finding));
    let differing = metrics::check(store, &mut audit.receipt, &files);
    audit.findings.extend(differing);
    let weights = weights::check(store, &audit.receipt, &files);
    audit.findings.extend(weights.as_ref().and_then(WeightState::finding));
    Verification {
        audit,
        chain,
        files,
        weights,
    }
}

/// Records without text after the first one of the job, unless the chain proves that they concern none. Before that one, none can be the job's.
fn hidden_records(audit: &Audit, bare: &[u64]) -> Option<Finding> {
    let begin = audit.receipt.first_record?;
    let hidden: Vec<u64> = bare.iter().copied().filter(|sequence| *sequence > begin).collect();
    let message = format!(
        "{} records after the submission of the job have no text, and nothing proves that they do not concern it",
        hidden.len(),
    );
    hidden
        .first()
        .map(|first| Finding::new(Flaw::Journal, message).in_record(*first))
}

fn lost_head(noted: ChainHash, chain: VerifiedChain) -> Finding {
    let mut message =
        format!("the noted head {noted} is not on this chain: records were cut off its end or rewritten since then");
    if chain.anchor > 0 {
        let before = format!(", or it comes before record {}, of which nothing is kept", chain.anchor);
        message.push_str(&before);
    }
    Finding::new(Flaw::Journal, message)
}

fn broken_chain(error: &JournalError) -> Finding {
    let finding = Finding::new(Flaw::Journal, error.to_string());
    match error {
        JournalError::Damaged { sequence, .. } | JournalError::Record { sequence, .. } => finding.in_record(*sequence),
        _ => finding,
    }
}

//! The audit of a job: what its records prove, found by walking them and nothing else.
//!
//! [`crate::apply()`] reads a journal leniently: it takes every record as decided and leaves out what does not fit. The audit reads it as an
//! opponent would have written it. It never looks at a folded state; for every record it knows from the spec, the dataset's manifest, the
//! sample order f(seed, epoch) and the records before what alone could stand there:
//!
//! - formations follow each other, and whatever counts comes from the one that was at work, from the moment when all had joined until the
//!   next was formed;
//! - committed steps are contiguous, use the positions of their global batch and the learning rate of the schedule, and each epoch uses every sample of the permutation once, less
//!   those that were set aside;
//! - steps that were taken back were computed again, and nobody went on from an older state than the newest there was;
//! - every shard of a pass counts once, with every sample of it scored once or set aside, and the metrics are those of the shards;
//! - checkpoints hold committed steps, and the result is made of the best one.
//!
//! That the records are those that were written, and that none was left out, is the business of whoever reads them: the journal's hash chain,
//! and a head of it that was noted elsewhere if the newest ones may be missing. That the files are those
//! that were recorded is to be compared with [`Receipt::result`] and [`Receipt::artifacts`].

mod finding;
mod gangs;
mod passes;
mod receipt;
mod results;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use finding::{Finding, Flaw};
pub use receipt::{
    CheckpointReceipt, EpochReceipt, Fate, GenerationReceipt, LossReceipt, PassReceipt, Receipt, RollbackReceipt,
};

use crate::identifiers::JobId;
use crate::now::Now;
use crate::record::{Event, JobEvent, Record};
use crate::spec::JobSpec;
use crate::state::{Artifact, Dataset, ModelSummary, Outcome, QuarantinedSample, ShardTable, SplitName, TrainingEnd};
use passes::Delivery;

/// Findings that are kept: a journal that is wrong from its first record on is wrong everywhere.
const MOST_FINDINGS: usize = 1_000;

/// What an audit came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// What the records say.
    pub receipt: Receipt,
    /// What in them cannot be; none: the receipt is proven. At most the first thousand.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more_findings: u64,
}

/// Walks the records of one job, in order.
pub struct Auditor {
    job: JobId,
    findings: Vec<Finding>,
    more_findings: u64,
    records: u64,
    first_record: Option<u64>,
    last_record: Option<u64>,
    /// Number of the present record, and its time.
    record: u64,
    now: Now,
    coordinator_epoch: u64,
    spec: Option<Arc<JobSpec>>,
    dataset: Option<KnownDataset>,
    model: Option<ModelSummary>,
    gangs: gangs::Gangs,
    steps: steps::Steps,
    passes: passes::Passes,
    checkpoints: results::Checkpoints,
    has_rejected: bool,
    quarantined: Vec<QuarantinedSample>,
    set_aside: BTreeSet<(SplitName, u64)>,
    epochs_concluded: u32,
    best_epoch: Option<u32>,
    training_end: Option<TrainingEnd>,
    artifacts: BTreeMap<String, Artifact>,
    outcome: Option<Outcome>,
}

struct KnownDataset {
    dataset: Arc<Dataset>,
    shards: BTreeMap<SplitName, ShardTable>,
}

impl Auditor {
    /// Nothing of the job has been seen yet.
    pub fn new(job: JobId) -> Self {
        Self {
            job,
            findings: Vec::new(),
            more_findings: 0,
            records: 0,
            first_record: None,
            last_record: None,
            record: 0,
            now: Now::default(),
            coordinator_epoch: 0,
            spec: None,
            dataset: None,
            model: None,
            gangs: Default::default(),
            steps: Default::default(),
            passes: Default::default(),
            checkpoints: Default::default(),
            has_rejected: false,
            quarantined: Vec::new(),
            set_aside: BTreeSet::new(),
            epochs_concluded: 0,
            best_epoch: None,
            training_end: None,
            artifacts: BTreeMap::new(),
            outcome: None,
        }
    }

    /// What the rest of the journal would have told, for a walk over the records of this job alone: the newest start of the coordinator, and
    /// whether the program that began the job names who something was taken from.
    pub fn knowing(mut self, coordinator_epoch: u64, names_sources: bool) -> Self {
        self.coordinator_epoch = coordinator_epoch;
        if names_sources {
            self.gangs.name_sources();
        }
        self
    }

    /// Takes the next record of the journal in, with its number. Records of others are to be given too, unless what they tell
    /// [is known](Self::knowing).
    pub fn see(&mut self, sequence: u64, record: &Record) {
        (self.record, self.now) = (sequence, record.at);
        match &record.event {
            Event::CoordinatorStarted { epoch } | Event::CoordinatorRestored { epoch } => self.start(*epoch),
            Event::Job { job, event } => {
                if *job == self.job {
                    self.records += 1;
                    self.first_record.get_or_insert(sequence);
                    self.last_record = Some(sequence);
                    self.see_event(event);
                }
                self.gangs.expect_sources(event);
            }
            _ => {}
        }
    }

    /// Looks at what only the whole shows.
    pub fn finish(mut self) -> Audit {
        if self.spec.is_none() {
            let message = "expected the submission of the job as its first record, found none";
            self.conclude(Finding::new(Flaw::Submission, message));
        }
        self.check_limit();
        let epochs = self.cover_epochs();
        let rollbacks = self.settle_rollbacks();
        let receipt = Receipt {
            records: self.records,
            first_record: self.first_record,
            last_record: self.last_record,
            coordinator_epoch: self.coordinator_epoch,
            epochs_wanted: self.spec.as_ref().map_or(0, |spec| spec.training.epochs),
            train_samples: self.train_samples(),
            task: self.spec.as_ref().map(|spec| spec.task),
            dataset: self.dataset.as_ref().map(|known| known.dataset.clone()),
            epochs,
            passes: self.pass_receipts(),
            rollbacks,
            best_epoch: self.best_epoch,
            result: self.result().cloned(),
            artifacts: self.files(),
            job: self.job,
            outcome: self.outcome,
            model: self.model,
            generations: self.gangs.formed,
            losses: self.gangs.losses,
            checkpoints: self.checkpoints.known,
            quarantined: self.quarantined,
        };
        Audit {
            receipt,
            findings: self.findings,
            more_findings: self.more_findings,
        }
    }

    fn start(&mut self, epoch: u64) {
        if epoch <= self.coordinator_epoch {
            let message = format!(
                "expected a coordinator epoch above {}, found {epoch}",
                self.coordinator_epoch
            );
            self.find(Finding::new(Flaw::CoordinatorEpoch, message));
        }
        self.coordinator_epoch = self.coordinator_epoch.max(epoch);
    }

    fn see_event(&mut self, event: &JobEvent) {
        if let JobEvent::Submitted { spec, .. } = event {
            self.submit(spec);
            return;
        }
        if self.spec.is_none() {
            // Said once, at the end.
            return;
        }
        if self.outcome.is_some() && !is_aftermath(event) {
            let message = format!("expected nothing after the end of the job, found {}", kind(event));
            self.find(Finding::new(Flaw::End, message));
            return;
        }
        if matches!(event, JobEvent::Erased { .. }) {
            self.forget();
            return;
        }
        self.see_gang(event);
        self.see_data(event);
        self.see_progress(event);
    }

    /// The job is gone: what comes after is of another one that got its name.
    fn forget(&mut self) {
        let names_sources = self.gangs.names_sources();
        let fresh = Self::new(self.job.clone()).knowing(self.coordinator_epoch, names_sources);
        *self = fresh;
    }

    fn submit(&mut self, spec: &Arc<JobSpec>) {
        if self.spec.is_some() {
            self.find(Finding::new(Flaw::Submission, "the job was submitted a second time"));
            return;
        }
        self.spec = Some(spec.clone());
    }

    /// Dataset, model, and what was set aside.
    fn see_data(&mut self, event: &JobEvent) {
        match event {
            JobEvent::DatasetRegistered { dataset, shards, .. } => {
                if self.dataset.is_some() {
                    self.find(Finding::new(Flaw::Dataset, "the dataset was registered a second time"));
                    return;
                }
                self.dataset = Some(KnownDataset {
                    dataset: dataset.clone(),
                    shards: shards.clone(),
                });
            }
            JobEvent::ModelRegistered { model, .. } => self.model = Some(model.clone()),
            JobEvent::SampleQuarantined(sample) => self.quarantine(sample),
            _ => {}
        }
    }

    fn see_progress(&mut self, event: &JobEvent) {
        match event {
            JobEvent::ShardCompleted {
                pass,
                shards,
                shard,
                rank,
                generation,
                outcome,
            } => self.deliver(&Delivery {
                pass: *pass,
                table: *shards,
                shard: *shard,
                rank: *rank,
                generation: *generation,
                outcome,
            }),
            JobEvent::EvaluationCompleted { split, epoch, metrics } => {
                self.conclude_evaluation(*split, *epoch, metrics);
            }
            JobEvent::StepsCommitted {
                generation,
                process,
                steps,
            } => self.commit(*generation, process.as_ref(), steps),
            JobEvent::CheckpointCommitted { checkpoint, source } => self.store_checkpoint(checkpoint, source.as_ref()),
            JobEvent::CheckpointsDropped { sha256 } => {
                for sha256 in sha256 {
                    self.end_checkpoint(sha256, &Fate::Dropped);
                }
            }
            JobEvent::CheckpointRejected {
                sha256,
                reason,
                best_epoch,
            } => {
                self.end_checkpoint(sha256, &Fate::Rejected(reason.clone()));
                self.best_epoch = *best_epoch;
            }
            JobEvent::EpochConcluded { epoch, best_epoch } => self.conclude_epoch(*epoch, *best_epoch),
            JobEvent::TrainingEnded { end } => self.end_training(*end),
            JobEvent::ArtifactStored { artifact, source } => self.store_artifact(artifact, source.as_ref()),
            JobEvent::Ended { outcome } => self.end(outcome),
            _ => {}
        }
    }

    fn quarantine(&mut self, sample: &QuarantinedSample) {
        let place = |message: String| Finding::new(Flaw::Quarantine, message).of_samples(sample.split, &[sample.index]);
        let samples = self.split_samples(sample.split);
        if sample.index >= samples {
            self.find(place(format!(
                "expected a sample below {samples}, found {}",
                sample.index
            )));
        }
        if !self.set_aside.insert((sample.split, sample.index)) {
            self.find(place("it was set aside a second time".to_owned()));
            return;
        }
        self.quarantined.push(sample.clone());
    }

    fn is_quarantined(&self, split: SplitName, index: u64) -> bool {
        self.set_aside.contains(&(split, index))
    }

    fn has_quarantined(&self, split: SplitName) -> bool {
        self.set_aside.iter().any(|(of, _)| *of == split)
    }

    /// With more samples set aside than the spec allows, the job has failed.
    fn check_limit(&mut self) {
        let limit = self
            .spec
            .as_ref()
            .map_or(0, |spec| spec.data.quarantine.max_samples as usize);
        let found = self.quarantined.len();
        if found > limit && !matches!(self.outcome, Some(Outcome::Failed(_))) {
            let message = format!("expected at most {limit} samples to be set aside, found {found}");
            self.conclude(Finding::new(Flaw::Quarantine, message));
        }
    }

    /// Notes what the present record shows.
    fn find(&mut self, finding: Finding) {
        self.conclude(finding.in_record(self.record));
    }

    /// Notes what all records together show.
    fn conclude(&mut self, finding: Finding) {
        match self.findings.len() < MOST_FINDINGS {
            true => self.findings.push(finding),
            false => self.more_findings += 1,
        }
    }
}

/// What may still be recorded of a job that has ended: its processes go, its files are fetched.
fn is_aftermath(event: &JobEvent) -> bool {
    matches!(
        event,
        JobEvent::RankStarted { .. }
            | JobEvent::RankStopRequested { .. }
            | JobEvent::RankExited { .. }
            | JobEvent::RankReleased { .. }
            | JobEvent::RankLeaving { .. }
            | JobEvent::ArtifactFetched { .. }
            | JobEvent::Deleted { .. }
            | JobEvent::Erased { .. }
    )
}

/// The name of an event, for messages.
fn kind(event: &JobEvent) -> &'static str {
    match event {
        JobEvent::StepsCommitted { .. } => "committed steps",
        JobEvent::ShardCompleted { .. } => "a shard",
        JobEvent::CheckpointCommitted { .. } => "a checkpoint",
        JobEvent::ArtifactStored { .. } => "a file",
        JobEvent::GangFormed { .. } | JobEvent::GangCompleted { .. } => "a formation",
        JobEvent::Ended { .. } => "another end",
        _ => "another event",
    }
}

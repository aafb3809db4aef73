//! What an audit finds wrong, and where.

use std::fmt;

use crate::state::SplitName;

/// Samples that one finding names; the message says how many there are.
const NAMED_SAMPLES: usize = 10;

/// One thing in a job's records that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its class, for programs.
    pub flaw: Flaw,
    /// What was expected and what was found.
    pub message: String,
    /// The record that shows it; `None`: it is the absence of one.
    pub record: Option<u64>,
    /// Epoch, from 0.
    pub epoch: Option<u32>,
    /// Step over the whole job, from 0.
    pub step: Option<u64>,
    /// Split of the samples.
    pub split: Option<SplitName>,
    /// Shard of the split.
    pub shard: Option<u32>,
    /// Samples, by their position in manifest order; at most the first ten.
    pub samples: Vec<u64>,
}

/// The class of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// The job was not submitted, or twice.
    Submission,
    /// A coordinator took over that is not newer than the one before.
    CoordinatorEpoch,
    /// A formation was left out, repeated or is not whole.
    Generation,
    /// Something was taken from a formation that was not the one at work.
    StaleGeneration,
    /// A formation went on from a state that is not the newest one.
    Origin,
    /// A step is missing, repeated or belongs to another epoch.
    StepOrder,
    /// A step did not use the positions of its global batch.
    StepPositions,
    /// A step used more or fewer samples than its positions hold.
    StepSamples,
    /// A step was taken at another learning rate than the schedule's.
    LearningRate,
    /// An epoch used a sample twice, or not at all.
    Coverage,
    /// Steps were taken back and not computed again.
    NotRecomputed,
    /// The dataset was registered twice, too late, or is cut otherwise.
    Dataset,
    /// More samples were set aside than may be, one twice, or one that there is not.
    Quarantine,
    /// A shard is missing, repeated, or is none of its split.
    Shard,
    /// A shard scored more or fewer samples than it holds.
    ShardSamples,
    /// The metrics of an evaluation are not those of its shards.
    Metrics,
    /// An epoch was concluded too early, or with another best epoch.
    Epoch,
    /// A checkpoint holds steps that were not committed, or does not exist.
    Checkpoint,
    /// The job has left nothing, or something that is not its result.
    Artifact,
    /// The job ended too early, or went on after its end.
    End,
    /// The chain of the journal is broken.
    Journal,
    /// A file is gone or holds something else than its record says.
    File,
}

impl Flaw {
    /// For programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submission => "Submission",
            Self::CoordinatorEpoch => "CoordinatorEpoch",
            Self::Generation => "Generation",
            Self::StaleGeneration => "StaleGeneration",
            Self::Origin => "Origin",
            Self::StepOrder => "StepOrder",
            Self::StepPositions => "StepPositions",
            Self::StepSamples => "StepSamples",
            Self::LearningRate => "LearningRate",
            Self::Coverage => "Coverage",
            Self::NotRecomputed => "NotRecomputed",
            Self::Dataset => "Dataset",
            Self::Quarantine => "Quarantine",
            Self::Shard => "Shard",
            Self::ShardSamples => "ShardSamples",
            Self::Metrics => "Metrics",
            Self::Epoch => "Epoch",
            Self::Checkpoint => "Checkpoint",
            Self::Artifact => "Artifact",
            Self::End => "End",
            Self::Journal => "Journal",
            Self::File => "File",
        }
    }
}

impl Finding {
    /// Of the whole job.
    pub fn new(flaw: Flaw, message: impl Into<String>) -> Self {
        Self {
            flaw,
            message: message.into(),
            record: None,
            epoch: None,
            step: None,
            split: None,
            shard: None,
            samples: Vec::new(),
        }
    }

    /// Shown by this record.
    #[must_use]
    pub fn in_record(mut self, sequence: u64) -> Self {
        self.record = Some(sequence);
        self
    }

    /// About an epoch, from 0.
    #[must_use]
    pub fn in_epoch(mut self, epoch: u32) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// About a step.
    #[must_use]
    pub fn at_step(mut self, step: u64) -> Self {
        self.step = Some(step);
        self
    }

    /// About a split, and a shard of it.
    #[must_use]
    pub fn of_shard(mut self, split: SplitName, shard: Option<u32>) -> Self {
        self.split = Some(split);
        self.shard = shard;
        self
    }

    /// About samples of a split; the first ten are named.
    #[must_use]
    pub fn of_samples(mut self, split: SplitName, samples: &[u64]) -> Self {
        self.split = Some(split);
        self.samples = samples.iter().copied().take(NAMED_SAMPLES).collect();
        self
    }

    /// Where: `record 57, epoch 1, step 12`; empty if it is about the whole job.
    pub fn place(&self) -> String {
        let mut places = Vec::new();
        let mut add = |name: &str, value: Option<String>| places.extend(value.map(|value| format!("{name} {value}")));
        add("record", self.record.map(|record| record.to_string()));
        add("epoch", self.epoch.map(|epoch| epoch.to_string()));
        add("step", self.step.map(|step| step.to_string()));
        add("split", self.split.map(|split| split.to_string()));
        add("shard", self.shard.map(|shard| shard.to_string()));
        match self.samples.as_slice() {
            [] => {}
            [one] => add("sample", Some(one.to_string())),
            some => {
                let some: Vec<String> = some.iter().map(u64::to_string).collect();
                add("samples", Some(some.join(" ")));
            }
        }
        places.join(", ")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        match place.is_empty() {
            true => write!(formatter, "{}: {}", self.flaw.as_str(), self.message),
            false => write!(formatter, "{} ({place}): {}", self.flaw.as_str(), self.message),
        }
    }
}

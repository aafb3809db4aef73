//! How far a job is, how fast, and how long it will take.

use crate::now::Now;
use crate::stage::{self, Stage};
use crate::state::{CommittedStep, Job, Phase, SplitName};

/// Milliseconds of training over which the speed is taken.
const WINDOW: u64 = 10_000;

/// How far a job is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The epoch that is being trained, from 0; at the end the last one.
    pub epoch: u32,
    /// Epochs of the spec.
    pub epochs: u32,
    /// Committed steps.
    pub step: u64,
    /// Steps of all epochs; 0 while the dataset is unknown.
    pub total_steps: u64,
    /// Training samples a second over the last few seconds of training, over all ranks; 0 while unknown.
    pub samples_per_second: f64,
    /// Of the last committed step.
    pub loss: Option<f64>,
    /// Of the last committed step.
    pub learning_rate: Option<f64>,
    /// Seconds until the last step at the present speed.
    pub eta_seconds: Option<f64>,
    /// What the gang is doing.
    pub activity: Activity,
}

/// What a gang is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// There is no gang.
    Idle,
    /// Ranks start and find each other.
    Rendezvous,
    /// The data are being indexed.
    Indexing,
    /// All samples are being read.
    Scanning,
    /// Steps are being made.
    Training,
    /// The validation split is being scored.
    Validation,
    /// The test split is being scored.
    Test,
    /// The artifacts are being written.
    Exporting,
}

impl Activity {
    /// As on the wire; empty without a gang.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "",
            Self::Rendezvous => "rendezvous",
            Self::Indexing => "indexing",
            Self::Scanning => "scanning",
            Self::Training => "training",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::Exporting => "exporting",
        }
    }
}

/// How far a job is.
pub fn progress(job: &Job, now: Now) -> Progress {
    let epochs = job.spec.training.epochs;
    let per_epoch = stage::steps_per_epoch(job);
    let committed = job.run.ledger.committed;
    let total_steps = per_epoch * u64::from(epochs);
    let (samples_per_second, steps_per_second) = speed(job, now);
    let is_training = job.outcome().is_none() && job.run.training_end.is_none();
    let left = total_steps.saturating_sub(committed) as f64;
    let last = job.run.ledger.last();
    Progress {
        epoch: job.run.epochs_concluded.min(epochs.saturating_sub(1)),
        epochs,
        step: committed,
        total_steps,
        samples_per_second,
        loss: job.run.ledger.last_applied().map(|committed| committed.step.loss),
        learning_rate: last.map(|committed| committed.step.learning_rate),
        eta_seconds: (is_training && steps_per_second > 0.0).then(|| left / steps_per_second),
        activity: activity(job),
    }
}

fn activity(job: &Job) -> Activity {
    match &job.phase {
        Phase::Queued | Phase::Ended(_) => return Activity::Idle,
        Phase::Restarting(_) if job.suspended => return Activity::Idle,
        Phase::Starting(_) | Phase::Restarting(_) => return Activity::Rendezvous,
        Phase::Running(_) => {}
    }
    match Stage::of(&job.run) {
        Stage::Index => Activity::Indexing,
        Stage::Prepare(_) => Activity::Scanning,
        Stage::Train { epoch } => {
            let steps = stage::steps_per_epoch(job) * (u64::from(epoch) + 1);
            let is_validating = job.run.dataset.as_ref().is_some_and(|registered| {
                job.run.ledger.committed >= steps && registered.dataset.split(SplitName::Validation).is_some()
            });
            if is_validating {
                Activity::Validation
            } else {
                Activity::Training
            }
        }
        Stage::Validate { .. } => Activity::Validation,
        Stage::Test { .. } => Activity::Test,
        Stage::Finish => Activity::Exporting,
    }
}

/// Samples and steps a second over the last seconds of training, by the times at which steps were committed.
///
/// Steps may be committed in groups, which share a time. So the speed is that of all groups in the window but the first, whose beginning
/// is unknown; and a gap longer than the window (an evaluation, a restart) begins a new one.
fn speed(job: &Job, now: Now) -> (f64, f64) {
    let Some(last) = job.run.ledger.last() else {
        return (0.0, 0.0);
    };
    let is_present = matches!(job.phase, Phase::Running(_)) && now.since(last.at) <= 3 * WINDOW;
    if !is_present {
        return (0.0, 0.0);
    }
    let (mut samples, mut steps, mut begin) = (0u64, 0u64, last.at);
    let mut group = (0u64, 0u64);
    for committed in newest_first(job, last) {
        if committed.at < begin {
            if begin.since(committed.at) > WINDOW {
                break;
            }
            samples += group.0;
            steps += group.1;
            group = (0, 0);
            begin = committed.at;
            if last.at.since(begin) > WINDOW {
                break;
            }
        }
        group.0 += u64::from(committed.step.samples);
        group.1 += 1;
    }
    let seconds = last.at.since(begin) as f64 / 1000.0;
    if seconds > 0.0 {
        (samples as f64 / seconds, steps as f64 / seconds)
    } else {
        (0.0, 0.0)
    }
}

fn newest_first<'a>(job: &'a Job, last: &'a CommittedStep) -> impl Iterator<Item = &'a CommittedStep> {
    let epoch = job.run.ledger.epochs.get(&last.step.epoch);
    let steps = epoch.into_iter().flat_map(|steps| steps.iter().rev());
    steps.take_while(|committed| committed.generation == last.generation)
}

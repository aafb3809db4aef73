//! A job as people see it: core -> wire.

use std::{collections::BTreeMap, sync::Arc};

use firn_core::{
    Now, State,
    identifiers::JobId,
    metrics::bootstrap::{Interval, Intervals},
    queries,
    spec::TrainingSpec,
    state::{Condition, Dataset, Evaluation, Job, Loss, Member, Outcome, SplitManifest, SplitName, Summary},
    task::{Metrics, Schema, classification::MOST_MATRIX_CLASSES},
};
use firn_proto::v1alpha1 as proto;
use prost::Message;

use super::{
    checkpoint::artifact_to_wire,
    dataset::{dataset_to_wire, model_to_wire, quarantined_to_wire},
    failure::failure_to_wire,
    names::job_name,
    stored_job,
    time::timestamp,
};
use crate::{api::task, artifacts::predictions::intervals};

/// Confusion matrices of up to so many classes are shown for every epoch; larger ones only for the best epoch and for test.
const SMALL_MATRIX: usize = 32;
/// In a snapshot: class names and their counts, of more classes.
const FIRST_CLASSES: usize = SMALL_MATRIX;
/// In a snapshot: bytes of names, warnings and samples in each of its lists.
const MOST_LIST_BYTES: usize = 4096;
/// In a snapshot: the newest evaluations, beside the best one and that of test.
const NEWEST_EVALUATIONS: usize = 40;

/// What the status of a job is made of; cheap to take out of the state.
pub(crate) struct JobSnapshot {
    pub(crate) job: Arc<Job>,
    conditions: Vec<Condition>,
    summary: Summary,
}

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All of it, of any number of classes.
    Full,
    /// All of it, if there are not too many classes; else as in a snapshot.
    Whole,
    /// For those who watch: a bounded size, whatever the job. Single classes where there are few.
    Snapshot,
    /// For lists: without confusion matrices, per-class metrics and quarantined samples.
    Overview,
}

impl Detail {
    fn for_classes(self, classes: usize) -> Self {
        match self {
            Self::Whole if classes > MOST_MATRIX_CLASSES => Self::Snapshot,
            detail => detail,
        }
    }

    fn is_bounded(self) -> bool {
        matches!(self, Self::Snapshot | Self::Overview)
    }
}

/// Takes what is needed of a job; `None` if there is no such job.
pub(crate) fn snapshot(state: &State, id: &JobId) -> Option<JobSnapshot> {
    let job = state.jobs.get(id)?;
    Some(JobSnapshot {
        job: Arc::clone(job),
        conditions: queries::conditions(state, job),
        summary: queries::summary(state, job),
    })
}

/// The stored job with its status at `now`.
pub(crate) fn job_to_wire(snapshot: &JobSnapshot, detail: Detail, now: Now) -> proto::FineTuneJob {
    let job = &*snapshot.job;
    let mut shown = stored_job(&job.spec);
    let metadata = shown.metadata.get_or_insert_default();
    metadata.resource_name = job_name(&job.id);
    metadata.create_time = Some(timestamp(job.created_at));
    shown.status = Some(status(snapshot, detail, now));
    shown
}

fn status(snapshot: &JobSnapshot, detail: Detail, now: Now) -> proto::JobStatus {
    let job = &*snapshot.job;
    let run = &job.run;
    let detail = detail.for_classes(schema(job).classes.len());
    let quarantined = run.quarantined.iter().map(quarantined_to_wire);
    let quarantined = match detail {
        Detail::Full | Detail::Whole => quarantined.collect(),
        Detail::Snapshot => within(quarantined),
        Detail::Overview => Vec::new(),
    };
    proto::JobStatus {
        conditions: snapshot.conditions.iter().map(condition_to_wire).collect(),
        summary: snapshot.summary.as_str().to_owned(),
        progress: Some(progress(job, now)),
        evaluations: shown_evaluations(job, detail)
            .map(|evaluation| evaluation_to_wire(job, evaluation, detail))
            .collect(),
        best_epoch: run.best_epoch,
        ranks: job.members().iter().map(rank_to_wire).collect(),
        generation: job.generation.0,
        restarts: job.restarts,
        failure: failure(job),
        quarantined,
        quarantined_count: run.quarantined.len() as u64,
        jobs_ahead: None,
        dataset: run.dataset.as_ref().map(|known| dataset_shown(&known.dataset, detail)),
        artifacts: run.artifacts.iter().map(artifact_to_wire).collect(),
        model: run.model.as_ref().map(|registered| model_to_wire(&registered.model)),
        losses: job.losses.iter().map(loss_to_wire).collect(),
    }
}

fn loss_to_wire(loss: &Loss) -> proto::Loss {
    proto::Loss {
        generation: loss.generation.0,
        time: Some(timestamp(loss.cause.at)),
        failure: Some(failure_to_wire(&loss.cause.failure)),
    }
}

fn condition_to_wire(condition: &Condition) -> proto::Condition {
    proto::Condition {
        r#type: condition.kind.as_str().to_owned(),
        status: condition.status.as_str().to_owned(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: Some(timestamp(condition.last_transition)),
    }
}

fn progress(job: &Job, now: Now) -> proto::Progress {
    let progress = queries::progress(job, now);
    proto::Progress {
        epoch: progress.epoch,
        epochs: progress.epochs,
        step: progress.step,
        total_steps: progress.total_steps,
        samples_per_second: progress.samples_per_second,
        loss: progress.loss.unwrap_or_default(),
        learning_rate: progress.learning_rate.unwrap_or_default(),
        eta_seconds: progress.eta_seconds,
        activity: progress.activity.as_str().to_owned(),
    }
}

fn schema(job: &Job) -> Schema<'_> {
    let registered = job.run.dataset.as_ref();
    registered
        .map(|registered| registered.dataset.schema())
        .unwrap_or_default()
}

/// The beginning of a list, as much of it as a snapshot holds.
fn within<M: Message>(entries: impl Iterator<Item = M>) -> Vec<M> {
    let mut left = MOST_LIST_BYTES;
    let fits = |entry: &M| {
        let size = entry.encoded_len();
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    };
    entries.take_while(fits).collect()
}

fn dataset_shown(dataset: &Dataset, detail: Detail) -> proto::DatasetSummary {
    if !detail.is_bounded() {
        return dataset_to_wire(dataset);
    }
    let most = match dataset.classes.len() {
        classes @ ..=SMALL_MATRIX => classes,
        _ => FIRST_CLASSES,
    };
    let names = within(dataset.classes.iter().take(most).cloned());
    let splits = dataset.splits.iter().map(|split| first_classes(split, names.len()));
    let shown = dataset_to_wire(&Dataset {
        splits: splits.collect(),
        targets: dataset.targets.clone(),
        warnings: within(dataset.warnings.iter().cloned()),
        ..Dataset::default()
    });
    proto::DatasetSummary {
        class_count: u32::try_from(dataset.classes.len()).unwrap_or(u32::MAX),
        classes: names,
        ..shown
    }
}

fn first_classes(split: &SplitManifest, classes: usize) -> SplitManifest {
    SplitManifest {
        class_counts: split.class_counts.iter().take(classes).copied().collect(),
        digest: split.digest.clone(),
        ..*split
    }
}

fn is_chosen(job: &Job, evaluation: &Evaluation) -> bool {
    evaluation.split == SplitName::Test || Some(evaluation.epoch) == job.run.best_epoch
}

fn shown_evaluations(job: &Job, detail: Detail) -> impl Iterator<Item = &Evaluation> {
    let all = &job.run.evaluations;
    let newest = match detail.is_bounded() {
        true => all.len().saturating_sub(NEWEST_EVALUATIONS),
        false => 0,
    };
    let shown = all.iter().enumerate();
    shown
        .filter(move |(place, evaluation)| *place >= newest || is_chosen(job, evaluation))
        .map(|(_, evaluation)| evaluation)
}

fn evaluation_to_wire(job: &Job, evaluation: &Evaluation, detail: Detail) -> proto::Evaluation {
    let schema = schema(job);
    let is_small = schema.classes.len().max(schema.targets.len()) <= SMALL_MATRIX;
    let is_detailed = match detail {
        Detail::Full | Detail::Whole => is_chosen(job, evaluation) || is_small,
        Detail::Snapshot => is_chosen(job, evaluation) && is_small,
        Detail::Overview => false,
    };
    let place = (evaluation.split, evaluation.epoch);
    let mut shown = metrics_to_wire(
        place,
        (queries::shown_metrics(job, evaluation), &evaluation.metrics),
        schema,
    );
    if is_detailed {
        task::show(&mut shown, &evaluation.metrics.detail, schema);
    }
    shown
}

/// An evaluation that no job has recorded, in full: it is shown as one of test.
pub(crate) fn evaluation(training: &TrainingSpec, metrics: &Metrics, schema: Schema<'_>) -> proto::Evaluation {
    let place = (SplitName::Test, 0);
    let mut shown = metrics_to_wire(place, (metrics.shown(training, schema), metrics), schema);
    task::show(&mut shown, &metrics.detail, schema);
    shown
}

fn metrics_to_wire(
    (split, epoch): (SplitName, u32),
    (shown, metrics): (BTreeMap<String, f64>, &Metrics),
    schema: Schema<'_>,
) -> proto::Evaluation {
    proto::Evaluation {
        split: split.as_str().to_owned(),
        epoch,
        samples: metrics.samples,
        metrics: shown,
        intervals: metrics.intervals.as_ref().map(intervals_to_wire),
        without_interval: intervals::missing(split, metrics, schema).into_iter().collect(),
        words: task::words(&metrics.detail),
        ..proto::Evaluation::default()
    }
}

fn intervals_to_wire(intervals: &Intervals) -> proto::MetricIntervals {
    let interval = |interval: &Interval| proto::MetricInterval {
        low: interval.low,
        high: interval.high,
    };
    let by_name = intervals.by_name.iter();
    proto::MetricIntervals {
        resamples: intervals.resamples,
        seed: intervals.seed,
        level: intervals.level,
        metrics: by_name.map(|(name, known)| (name.clone(), interval(known))).collect(),
    }
}

fn rank_to_wire(member: &Member) -> proto::RankPlacement {
    proto::RankPlacement {
        rank: member.rank,
        worker: member.worker.to_string(),
        host: member.host.clone(),
        slot: member.slot,
        device: member.device.clone(),
        state: member.state.as_str().to_owned(),
    }
}

fn failure(job: &Job) -> Option<proto::Failure> {
    match job.outcome()? {
        Outcome::Succeeded => None,
        Outcome::Failed(failure) => Some(failure_to_wire(failure)),
        Outcome::Cancelled => Some(proto::Failure {
            reason: firn_core::state::FailureReason::Cancelled.as_str().to_owned(),
            message: "cancelled by a person".to_owned(),
            ..proto::Failure::default()
        }),
    }
}

//! The files that the coordinator itself writes about a job: `metrics.json`, `history.jsonl`, the pictures and the predictions.
//!
//! They are made when rank 0 says that it has stored all else, from what the journal holds, so they are the same however often they are made.

use std::collections::BTreeMap;

use firn_core::{
    metrics::bootstrap::{Interval, Intervals},
    queries,
    spec::TrainingSpec,
    state::{Artifact, CommittedStep, Evaluation, Job, Pass, QuarantinedSample, SplitName, TrainingEnd},
    task::{Metrics, Schema},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{pictures, task, wire::names::job_name};
use crate::artifacts::{ArtifactError, ArtifactStore, StoredFile, predictions::intervals};

/// Of `metrics.json`. Fields are added without raising it; what would mislead a reader of the form before raises it. Documents without one
/// are of builds before, and of this form.
const FORMAT_VERSION: u32 = 1;

/// `metrics.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetricsDocument<'a> {
    format_version: u32,
    /// `jobs/{job}`.
    job: String,
    /// Names in the order of the model's outputs, and of rows and columns of `confusion`.
    classes: &'a [String],
    /// What chose the best epoch: `validation/…`, of one class `validation/f1/…`.
    best_metric: String,
    /// From 0. All numbers below that are of one epoch are of this one.
    best_epoch: Option<u32>,
    /// `all epochs` or `early stopping`.
    training_ended_by: Option<&'static str>,
    epochs_trained: u32,
    steps: u64,
    /// Of each label by name, where they were tuned: test and all later predictions are made by them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    thresholds: Map<String, Value>,
    validation: Option<EvaluationDocument>,
    test: Option<EvaluationDocument>,
    /// Samples that were set aside.
    quarantined: Vec<QuarantinedDocument<'a>>,
    /// Every validation, in order.
    epochs: Vec<EpochDocument>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EvaluationDocument {
    epoch: u32,
    #[serde(flatten)]
    scores: ScoresDocument,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScoresDocument {
    samples: u64,
    /// By scikit-learn's names; undefined ones are left out. Those of one class that decide something are `f1/…`, where the class follows.
    metrics: BTreeMap<String, f64>,
    /// Where they lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    intervals: Option<IntervalsDocument>,
    /// Why a metric of the test split has no interval, by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    without_interval: BTreeMap<String, String>,
    /// What the task tells beyond them.
    #[serde(flatten)]
    detail: Map<String, Value>,
}

/// Of the test split.
#[derive(Serialize)]
struct IntervalsDocument {
    /// `percentile bootstrap`.
    method: &'static str,
    /// The part of the values that lies within an interval.
    level: f64,
    resamples: u32,
    seed: u64,
    /// By name: lower and upper end.
    metrics: BTreeMap<String, [f64; 2]>,
}

#[derive(Serialize)]
struct QuarantinedDocument<'a> {
    split: &'static str,
    index: u64,
    sample: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EpochDocument {
    epoch: u32,
    /// Mean loss of the epoch's steps, weighted by their samples, less those that were skipped.
    training_loss: Option<f64>,
    metrics: BTreeMap<String, f64>,
}

/// One line of `history.jsonl`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepDocument {
    step: u64,
    epoch: u32,
    loss: f64,
    learning_rate: f64,
    samples: u32,
    gradient_norm: f64,
    /// Nothing was updated, because loss or gradient was not finite.
    skipped: bool,
    data_seconds: f64,
    compute_seconds: f64,
    reduce_seconds: f64,
    other_seconds: f64,
    generation: u64,
    /// Milliseconds since 1970, on the coordinator's clock.
    committed_at_ms: u64,
}

/// All that is known of the quality of a job, as JSON with two spaces of indentation and a line end.
pub(crate) fn metrics_json(job: &Job) -> String {
    let mut json = serde_json::to_string_pretty(&document(job, schema(job))).expect("names and numbers are JSON");
    json.push('\n');
    json
}

/// The same without classes and epochs: it does not grow with them, nor with the samples.
pub(crate) fn metrics_summary_json(job: &Job) -> String {
    let mut document = document(job, Schema::default());
    for evaluation in document.validation.iter_mut().chain(&mut document.test) {
        evaluation.scores.detail.clear();
    }
    document.epochs.clear();
    serde_json::to_string(&document).expect("names and numbers are JSON")
}

fn document<'a>(job: &'a Job, schema: Schema<'a>) -> MetricsDocument<'a> {
    let run = &job.run;
    let of = |split| run.best_epoch.and_then(|epoch| run.evaluation(split, epoch));
    let validations = run
        .evaluations
        .iter()
        .filter(|evaluation| evaluation.split == SplitName::Validation);
    MetricsDocument {
        format_version: FORMAT_VERSION,
        job: job_name(&job.id),
        classes: schema.classes,
        best_metric: format!("validation/{}", job.spec.training.watched_for_best()),
        best_epoch: run.best_epoch,
        training_ended_by: run.training_end.map(|end| match end {
            TrainingEnd::AllEpochs => "all epochs",
            TrainingEnd::EarlyStopped { .. } => "early stopping",
        }),
        epochs_trained: run.epochs_concluded,
        steps: run.ledger.committed,
        thresholds: schema
            .classes
            .iter()
            .zip(run.thresholds())
            .map(|(label, threshold)| (label.clone(), (*threshold).into()))
            .collect(),
        validation: of(SplitName::Validation).map(|evaluation| evaluation_document(job, evaluation, schema)),
        test: of(SplitName::Test).map(|evaluation| evaluation_document(job, evaluation, schema)),
        quarantined: run.quarantined.iter().map(quarantined_document).collect(),
        epochs: validations
            .map(|evaluation| EpochDocument {
                epoch: evaluation.epoch,
                training_loss: training_loss(job, evaluation.epoch),
                metrics: queries::shown_metrics(job, evaluation),
            })
            .collect(),
    }
}

/// Classes or targets, as far as they are known.
pub(crate) fn schema(job: &Job) -> Schema<'_> {
    let registered = job.run.dataset.as_ref();
    registered
        .map(|registered| registered.dataset.schema())
        .unwrap_or_default()
}

/// What is known of one evaluation of a test split, as in `metrics.json`, without an epoch.
pub(crate) fn evaluation(training: &TrainingSpec, metrics: &Metrics, schema: Schema<'_>) -> Value {
    let shown = metrics.shown(training, schema);
    let document = scores_document(shown, (SplitName::Test, metrics), schema);
    serde_json::to_value(document).expect("names and numbers are JSON")
}

fn evaluation_document(job: &Job, evaluation: &Evaluation, schema: Schema<'_>) -> EvaluationDocument {
    let shown = queries::shown_metrics(job, evaluation);
    EvaluationDocument {
        epoch: evaluation.epoch,
        scores: scores_document(shown, (evaluation.split, &evaluation.metrics), schema),
    }
}

fn scores_document(
    shown: BTreeMap<String, f64>,
    (split, metrics): (SplitName, &Metrics),
    schema: Schema<'_>,
) -> ScoresDocument {
    ScoresDocument {
        samples: metrics.samples,
        metrics: shown,
        intervals: metrics.intervals.as_ref().map(intervals_document),
        without_interval: intervals::missing(split, metrics, schema),
        detail: task::document(&metrics.detail, schema),
    }
}

fn intervals_document(intervals: &Intervals) -> IntervalsDocument {
    let ends = |(name, interval): (&String, &Interval)| (name.clone(), [interval.low, interval.high]);
    IntervalsDocument {
        method: "percentile bootstrap",
        level: intervals.level,
        resamples: intervals.resamples,
        seed: intervals.seed,
        metrics: intervals.by_name.iter().map(ends).collect(),
    }
}

fn quarantined_document(sample: &QuarantinedSample) -> QuarantinedDocument<'_> {
    QuarantinedDocument {
        split: sample.split.as_str(),
        index: sample.index,
        sample: &sample.sample,
        reason: &sample.reason,
    }
}

/// Mean loss of an epoch's steps, weighted by their samples, less those that were skipped.
pub(crate) fn training_loss(job: &Job, epoch: u32) -> Option<f64> {
    let steps = job.run.ledger.epochs.get(&epoch)?;
    let applied = || {
        steps
            .iter()
            .map(|committed| committed.step)
            .filter(|step| !step.skipped)
    };
    let samples: f64 = applied().map(|step| f64::from(step.samples)).sum();
    let loss: f64 = applied().map(|step| step.loss * f64::from(step.samples)).sum();
    (samples > 0.0).then(|| loss / samples)
}

/// Every step that counts, one JSON object a line.
pub(crate) fn history_jsonl(job: &Job) -> String {
    let mut lines = String::new();
    for committed in job.run.ledger.from_step(0) {
        lines.push_str(&serde_json::to_string(&step_document(committed)).expect("finite numbers are JSON"));
        lines.push('\n');
    }
    lines
}

fn step_document(committed: &CommittedStep) -> StepDocument {
    let step = &committed.step;
    StepDocument {
        step: step.step,
        epoch: step.epoch,
        loss: step.loss,
        learning_rate: step.learning_rate,
        samples: step.samples,
        gradient_norm: step.gradient_norm,
        skipped: step.skipped,
        data_seconds: step.timing.data_seconds,
        compute_seconds: step.timing.compute_seconds,
        reduce_seconds: step.timing.reduce_seconds,
        other_seconds: step.timing.other_seconds,
        generation: committed.generation.0,
        committed_at_ms: committed.at.0,
    }
}

/// Writes all of them, durable when it returns. Blocks.
///
/// # Errors
/// When the disk fails.
pub(crate) fn write_all(store: &ArtifactStore, job: &Job) -> Result<Vec<Artifact>, ArtifactError> {
    let id = job.id.as_str();
    let mut written = vec![
        artifact(
            "metrics.json",
            store.write_artifact(id, "metrics.json", metrics_json(job).as_bytes())?,
        ),
        artifact(
            "history.jsonl",
            store.write_artifact(id, "history.jsonl", history_jsonl(job).as_bytes())?,
        ),
    ];
    for picture in pictures::of(job, schema(job)) {
        let file = store.write_artifact(id, picture.name, picture.content.as_bytes())?;
        written.push(artifact(picture.name, file));
    }
    for split in [SplitName::Validation, SplitName::Test] {
        let Some(epoch) = job.run.best_epoch else { continue };
        if job.run.evaluation(split, epoch).is_some() {
            let name = format!("predictions_{split}.csv");
            let pass = Pass::Evaluate { split, epoch };
            let file = store.publish_predictions(id, pass, (job.spec.task, job.run.schema_of(split)), &name)?;
            written.push(artifact(&name, file));
        }
    }
    Ok(written)
}

fn artifact(name: &str, file: StoredFile) -> Artifact {
    Artifact {
        name: name.to_owned(),
        size_bytes: file.size,
        sha256: file.sha256,
        location: Artifact::COORDINATOR.to_owned(),
    }
}

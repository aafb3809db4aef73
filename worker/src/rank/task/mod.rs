//! What the job's task means on a rank: how many outputs the network has and what they are called, what training makes small, and what the
//! outputs say of a sample.
//!
//! Each task has its own file; the choices between them stand here and nowhere else on a rank.

mod classification;
mod multi_label;
mod regression;
mod tokens;

use std::collections::BTreeMap;

use firn_core::{
    spec::{JobSpec, Task},
    task::{Schema, Statistics, regression::Target},
};
use firn_data::{Batch, Dataset, Split, Targets};
use firn_models::{Expected, Objective};
use firn_proto::v1alpha1 as wire;
use serde_json::Value;
use tch::{Device, Tensor};

pub(crate) use self::regression::target_summary;
use self::tokens::Words;
use super::failure::RankFailure;

/// Outputs of the network.
pub(crate) fn outputs(spec: &JobSpec, dataset: &Dataset) -> usize {
    match spec.task {
        Task::Classification | Task::MultiLabel(_) | Task::Tokens => dataset.classes.len(),
        Task::Regression => dataset.targets.len(),
    }
}

/// What training makes small.
pub(crate) fn objective(spec: &JobSpec, dataset: &Dataset, device: Device) -> Result<Objective, RankFailure> {
    match spec.task {
        Task::Classification | Task::Tokens => classification::objective(&spec.training.loss, dataset, device),
        Task::Regression => regression::objective(&spec.training.loss, &dataset.targets),
        Task::MultiLabel(_) => multi_label::objective(&spec.training.loss, dataset, device),
    }
}

/// What scores samples that nothing is learned from: the objective of the task without weights and settings of training.
pub(crate) fn plain_objective(spec: &JobSpec, targets: &[Target], device: Device) -> Result<Objective, RankFailure> {
    match spec.task {
        Task::Classification | Task::Tokens => Ok(Objective::cross_entropy(None, 0.0, device)?),
        Task::Regression => regression::objective(&spec.training.loss, targets),
        Task::MultiLabel(_) => Ok(Objective::binary_cross_entropy(None, device)?),
    }
}

/// Calls `with` what the objective compares the network's outputs with, as [`compared`] gives them.
pub(crate) fn expecting<R>(batch: &Batch, with: impl FnOnce(Expected<'_>) -> R) -> R {
    match &batch.targets {
        Targets::Classes(classes) => with(Expected::Classes(classes)),
        Targets::Numbers { numbers, .. } => with(Expected::Numbers(numbers)),
        Targets::Labels(labels) => with(Expected::Labels(labels)),
        Targets::Tags(tags) => {
            let words = Words::of(batch).map(|words| words.tags(tags));
            with(Expected::Classes(&words.unwrap_or_default()))
        }
    }
}

/// Of the network's outputs, those of which something is expected: of tokens `(n, tokens, outputs)` the first ones of words, `(words, outputs)`; of anything
/// else all.
///
/// # Errors
/// Those of libtorch.
pub(crate) fn compared(outputs: Tensor, batch: &Batch) -> Result<Tensor, RankFailure> {
    match Words::of(batch) {
        Some(words) => words.select(&outputs),
        None => Ok(outputs),
    }
}

/// Adds the predictions for a batch, and their statistics, to the report. `outputs`: `(n, outputs)`, or `(n, tokens, outputs)`
/// where each word has a tag, as the network gives them.
pub(crate) fn score(
    objective: &Objective,
    outputs: &Tensor,
    (batch, split): (&Batch, &Split),
    report: &mut wire::EvaluationReport,
) -> Result<(), RankFailure> {
    match (&batch.targets, objective) {
        (Targets::Classes(classes), _) => classification::score(outputs, (&batch.indices, classes), split, report),
        (Targets::Numbers { numbers, .. }, Objective::Distances(distances)) => {
            regression::score(distances, outputs, (&batch.indices, numbers), split, report)
        }
        (Targets::Labels(labels), _) => multi_label::score(outputs, (&batch.indices, labels), split, report),
        (Targets::Tags(tags), _) => tokens::score(outputs, (batch, tags), split, report),
        (Targets::Numbers { .. }, _) => Err(RankFailure::Internal("numbers have a loss of classes".to_owned())),
    }
}

/// The metrics of all that was predicted of a split, by name: from the same statistics, added up in the same order, as the coordinator finds them of the
/// same shards. Empty without samples.
pub(crate) fn metrics(task: Task, schema: Schema<'_>, reports: &[wire::EvaluationReport]) -> BTreeMap<String, f64> {
    let of_shard = |report: &wire::EvaluationReport| match task {
        Task::Classification => Statistics::Classification(classification::statistics(report)),
        Task::Regression => Statistics::Regression(regression::statistics(report)),
        Task::MultiLabel(labels) => {
            let thresholds = labels.of(schema);
            Statistics::MultiLabel(multi_label::statistics(report, schema.classes.len(), thresholds))
        }
        Task::Tokens => Statistics::Tokens(tokens::statistics(report, schema.classes)),
    };
    let parts: Vec<Statistics> = reports.iter().map(of_shard).collect();
    let predictions: Vec<&wire::Prediction> = reports.iter().flat_map(|report| &report.predictions).collect();
    let of_samples = match task {
        Task::Classification => classification::metrics(&predictions, schema.classes.len()),
        Task::Regression => regression::metrics(&predictions, schema.targets.len()),
        Task::MultiLabel(labels) => multi_label::metrics(&predictions, schema.classes.len(), labels.of(schema)),
        Task::Tokens => BTreeMap::new(),
    };
    let merged = Statistics::merged(&parts).and_then(|all| all.evaluate(schema, &of_samples));
    merged.map(|metrics| metrics.values).unwrap_or_default()
}

/// A prediction for the sample at a position of manifest order, before it says anything.
fn of_sample(split: &Split, index: u64) -> wire::Prediction {
    wire::Prediction {
        index,
        sample: split.samples[index as usize].id.clone(),
        ..wire::Prediction::default()
    }
}

/// Adds what the labels of the indexed dataset are to what the coordinator is told of it.
pub(crate) fn summarise(spec: &JobSpec, dataset: &Dataset, summary: &mut wire::DatasetSummary) {
    match spec.task {
        Task::Classification | Task::MultiLabel(_) | Task::Tokens => classification::summarise(dataset, summary),
        Task::Regression => regression::summarise(dataset, summary),
    }
}

/// What the outputs of the exported network mean, for its `config.json`. `tuned`: from which probability on each label is predicted, where that was
/// tuned.
pub(crate) fn describe(spec: &JobSpec, dataset: &Dataset, tuned: &[f64]) -> Outputs {
    match spec.task {
        Task::Classification => classification::describe(dataset),
        Task::Regression => regression::describe(&dataset.targets),
        Task::MultiLabel(labels) => multi_label::describe(dataset, labels.threshold, tuned),
        Task::Tokens => tokens::describe(dataset),
    }
}

/// What the outputs of a network mean, for those who find it later.
pub(crate) struct Outputs {
    /// Their names, in their order.
    pub(crate) names: Vec<String>,
    /// What `config.json` says of them beside the names, by field.
    pub(crate) more: Vec<(&'static str, Value)>,
    /// What was learned: `classification into 2 classes`.
    pub(crate) learned: String,
    /// The section of the model card, as Markdown.
    pub(crate) section: String,
}

//! What the services know of a task: the statistics of what a rank predicted, and how is shown what the task tells beyond its metrics.
//!
//! Each task has its own file; the choices between them stand here.

mod classification;
mod multi_label;
mod regression;
mod tokens;

use firn_core::task::{Detail, Schema, Statistics, Task};
use firn_proto::v1alpha1 as proto;
use serde_json::{Map, Value};
use tonic::Status;

/// The statistics of a report's predictions, which are checked on the way.
///
/// # Errors
/// What a rank cannot have predicted, with its field.
pub(crate) fn statistics(
    report: &proto::EvaluationReport,
    task: Task,
    schema: Schema<'_>,
) -> Result<Statistics, Status> {
    match task {
        Task::Classification => {
            classification::statistics(report, schema.classes.len()).map(Statistics::Classification)
        }
        Task::Regression => regression::statistics(report, schema.targets.len()).map(Statistics::Regression),
        Task::MultiLabel(labels) => {
            multi_label::statistics(report, schema.classes.len(), labels.of(schema)).map(Statistics::MultiLabel)
        }
        Task::Tokens => tokens::statistics(report, schema.classes).map(Statistics::Tokens),
    }
}

/// What a task tells beyond its metrics, as fields of an evaluation in `metrics.json`.
pub(super) fn document(detail: &Detail, schema: Schema<'_>) -> Map<String, Value> {
    match detail {
        Detail::Classification { confusion } => classification::document(confusion, schema.classes),
        Detail::Regression { targets } => regression::document(targets, schema.targets),
        Detail::MultiLabel { labels } => multi_label::document(labels, schema.classes),
        Detail::Tokens {
            words,
            right,
            left_out,
            entities,
        } => tokens::document([*words, *right, *left_out], entities, schema.classes),
    }
}

/// Adds what a task tells beyond its metrics to an evaluation on the wire.
pub(super) fn show(shown: &mut proto::Evaluation, detail: &Detail, schema: Schema<'_>) {
    match detail {
        Detail::Classification { confusion } => classification::show(shown, confusion, schema.classes),
        Detail::Regression { targets } => regression::show(shown, targets, schema.targets),
        Detail::MultiLabel { labels } => multi_label::show(shown, labels, schema.classes),
        Detail::Tokens { entities, .. } => tokens::show(shown, entities, schema.classes),
    }
}

/// How many words were scored, of a task that tags words: small enough to be shown always.
pub(super) fn words(detail: &Detail) -> Option<proto::WordCounts> {
    match detail {
        Detail::Classification { .. } | Detail::Regression { .. } | Detail::MultiLabel { .. } => None,
        Detail::Tokens {
            words, right, left_out, ..
        } => Some(tokens::words(*words, *right, *left_out)),
    }
}

//! What the task of a job shows of its labels, and of an evaluation beyond its metrics.
//!
//! Each task has its own file; the choices between them stand here.

mod classification;

use firn_proto::v1alpha1::{DatasetSummary, Evaluation, JobStatus};
use serde_json::{Map, Value};

/// Metrics that short lines and the list of evaluations show, the most telling first.
pub(super) fn headlines(_status: &JobStatus) -> &'static [&'static str] {
    &classification::HEADLINES
}

/// The labels of a dataset in a word or two: `3 classes`.
pub(super) fn labels(dataset: &DatasetSummary) -> String {
    classification::labels(dataset)
}

/// The labels of a dataset and what is known of each, in one line: what is wrong is seen before anything is learned.
pub(super) fn label_line(dataset: &DatasetSummary) -> Option<String> {
    classification::label_line(dataset)
}

/// The labels of a dataset one by one.
pub(super) fn label_table(dataset: &DatasetSummary) -> String {
    classification::label_table(dataset)
}

/// The labels of a dataset, as fields of its document.
pub(super) fn label_document(dataset: &DatasetSummary) -> Map<String, Value> {
    classification::label_document(dataset)
}

/// What an evaluation tells beyond its metrics, as tables.
pub(super) fn tables(status: &JobStatus, evaluation: &Evaluation) -> Vec<String> {
    classification::tables(status, evaluation)
}

/// What an evaluation tells beyond its metrics, as fields of its document.
pub(super) fn document(evaluation: &Evaluation) -> Map<String, Value> {
    classification::document(evaluation)
}

//! What the task of a job shows of its labels, and of an evaluation beyond its metrics.
//!
//! Each task has its own file; the choices between them stand here.

mod classification;
mod regression;
mod tokens;

use std::collections::BTreeSet;

use firn_core::metrics::watched;
use firn_proto::v1alpha1::{DatasetSummary, Evaluation, JobStatus};
use serde_json::{Map, Value};

/// Metrics that short lines and the list of evaluations show, the most telling first. One of a single class, `f1/pneumonia`, is there because it
/// decides something.
pub(super) fn headlines(status: &JobStatus) -> Vec<&str> {
    let has_words = || status.evaluations.iter().any(|evaluation| evaluation.words.is_some());
    let headlines: &[&str] = match status.dataset.as_ref().is_some_and(is_regression) {
        true => &regression::HEADLINES,
        false if has_words() => &tokens::HEADLINES,
        false => &classification::HEADLINES,
    };
    let names = status
        .evaluations
        .iter()
        .flat_map(|evaluation| evaluation.metrics.keys());
    let of_one_class: BTreeSet<&str> = names
        .map(String::as_str)
        .filter(|name| watched::is_of_class(name))
        .collect();
    let (loss, others) = headlines.split_at(1);
    [loss, &of_one_class.into_iter().collect::<Vec<_>>(), others].concat()
}

/// The labels of a dataset in a word or two: `3 classes`.
pub(super) fn labels(dataset: &DatasetSummary) -> String {
    match is_regression(dataset) {
        true => regression::labels(dataset),
        false => classification::labels(dataset),
    }
}

/// The labels of a dataset and what is known of each, in one line: what is wrong is seen before anything is learned.
pub(super) fn label_line(dataset: &DatasetSummary) -> Option<String> {
    match is_regression(dataset) {
        true => regression::label_line(dataset),
        false => classification::label_line(dataset),
    }
}

/// The labels of a dataset one by one.
pub(super) fn label_table(dataset: &DatasetSummary) -> String {
    match is_regression(dataset) {
        true => regression::label_table(dataset),
        false => classification::label_table(dataset),
    }
}

/// The labels of a dataset, as fields of its document.
pub(super) fn label_document(dataset: &DatasetSummary) -> Map<String, Value> {
    match is_regression(dataset) {
        true => regression::label_document(dataset),
        false => classification::label_document(dataset),
    }
}

/// What an evaluation tells beyond its metrics, as tables.
pub(super) fn tables(status: &JobStatus, evaluation: &Evaluation) -> Vec<String> {
    match &evaluation.words {
        Some(words) => tokens::tables(evaluation, words),
        None if evaluation.targets.is_empty() => classification::tables(status, evaluation),
        None => regression::tables(evaluation),
    }
}

/// What an evaluation tells beyond its metrics, as fields of its document.
pub(super) fn document(evaluation: &Evaluation) -> Map<String, Value> {
    match &evaluation.words {
        Some(words) => tokens::document(evaluation, words),
        None if evaluation.targets.is_empty() => classification::document(evaluation),
        None => regression::document(evaluation),
    }
}

fn is_regression(dataset: &DatasetSummary) -> bool {
    !dataset.targets.is_empty()
}

//! Classes: what a rank reports of a prediction, and how a confusion matrix is shown.

use firn_core::{
    metrics::ClassCounts,
    task::{
        ClassificationStatistics, ConfusionCell,
        classification::{LIKELIEST_CLASSES, MOST_MATRIX_CLASSES, MOST_SCORED_CLASSES, matrix_of_cells, per_class},
    },
};
use firn_proto::v1alpha1 as proto;
use serde_json::{Map, Value, json};
use tonic::Status;

use crate::{api::refusal::invalid, artifacts::predictions::classification::predicted_class};

/// The statistics of a report's predictions.
pub(super) fn statistics(report: &proto::EvaluationReport, classes: usize) -> Result<ClassificationStatistics, Status> {
    let mut samples = Vec::with_capacity(report.predictions.len());
    for (position, prediction) in report.predictions.iter().enumerate() {
        let field = |name: &str| format!("evaluation.predictions[{position}].{name}");
        if prediction.label as usize >= classes {
            return Err(invalid(
                field("label"),
                format!("expected a class below {classes}, found {}", prediction.label),
            ));
        }
        check_scores(prediction, classes, field)?;
        let predicted = predicted_class(prediction).expect("there is a score");
        samples.push((prediction.label, predicted));
    }
    Ok(ClassificationStatistics::of_samples(samples, report.loss_sum))
}

fn check_scores(prediction: &proto::Prediction, classes: usize, field: impl Fn(&str) -> String) -> Result<(), Status> {
    let named = &prediction.classes;
    let expected = if named.is_empty() { classes } else { named.len() };
    if prediction.scores.len() != expected {
        let found = prediction.scores.len();
        return Err(invalid(
            field("scores"),
            format!("expected {expected}, one a class, found {found}"),
        ));
    }
    if let Some(score) = prediction.scores.iter().find(|score| !score.is_finite()) {
        return Err(invalid(
            field("scores"),
            format!("expected finite probabilities, found {score}"),
        ));
    }
    if named.is_empty() {
        return Ok(());
    }
    let is_whole = named.len() == LIKELIEST_CLASSES || named.len() == LIKELIEST_CLASSES + 1;
    let is_known = named.iter().all(|class| (*class as usize) < classes);
    let places: std::collections::BTreeSet<&u32> = named.iter().collect();
    let has_label = places.contains(&prediction.label);
    if classes <= MOST_SCORED_CLASSES || !is_whole || !is_known || places.len() != named.len() || !has_label {
        return Err(invalid(
            field("classes"),
            format!(
                "expected none, or of more than {MOST_SCORED_CLASSES} classes the likeliest {LIKELIEST_CLASSES} and the true one, found {named:?}"
            ),
        ));
    }
    Ok(())
}

/// Fields of an evaluation in `metrics.json`. Of at most 256 classes `confusion`: row: true class; column: predicted class. Of more
/// `confusionCells`: true class, predicted class and samples of each cell that is not 0.
pub(super) fn document(confusion: &[ConfusionCell], classes: &[String]) -> Map<String, Value> {
    let count = classes.len();
    let mut fields = Map::new();
    if count <= MOST_MATRIX_CLASSES {
        let matrix = matrix_of_cells(count, confusion);
        let rows: Vec<&[u64]> = matrix.chunks(count.max(1)).collect();
        if !rows.is_empty() {
            fields.insert("confusion".to_owned(), json!(rows));
        }
    } else if !confusion.is_empty() {
        let cells = confusion.iter();
        let cells: Vec<_> = cells
            .map(|cell| json!([cell.truth, cell.predicted, cell.count]))
            .collect();
        fields.insert("confusionCells".to_owned(), cells.into());
    }
    fields.insert("perClass".to_owned(), documents(classes, &per_class(count, confusion)));
    fields
}

/// Adds single classes and the confusion matrix to an evaluation.
pub(super) fn show(shown: &mut proto::Evaluation, confusion: &[ConfusionCell], classes: &[String]) {
    let count = classes.len();
    match count <= MOST_MATRIX_CLASSES {
        true => shown.confusion = matrix_of_cells(count, confusion),
        false => shown.cells = confusion.iter().map(cell_to_wire).collect(),
    }
    shown.per_class = messages(classes, &per_class(count, confusion));
}

/// Single classes, or labels, as documents.
pub(super) fn documents(names: &[String], counts: &[ClassCounts]) -> Value {
    let of_class = |(class, counts): (&String, &ClassCounts)| {
        json!({
            "class": class,
            "precision": counts.precision(),
            "recall": counts.recall(),
            "f1": counts.f1(),
            "support": counts.labelled,
        })
    };
    names.iter().zip(counts).map(of_class).collect()
}

/// Single classes, or labels, as messages.
pub(super) fn messages(names: &[String], counts: &[ClassCounts]) -> Vec<proto::ClassMetrics> {
    let of_class = |(class, counts): (&String, &ClassCounts)| proto::ClassMetrics {
        class: class.clone(),
        precision: counts.precision(),
        recall: counts.recall(),
        f1: counts.f1(),
        support: counts.labelled,
    };
    names.iter().zip(counts).map(of_class).collect()
}

fn cell_to_wire(cell: &ConfusionCell) -> proto::ConfusionCell {
    proto::ConfusionCell {
        truth: cell.truth,
        predicted: cell.predicted,
        count: cell.count,
    }
}

//! Predictions of single samples, checked and counted: wire -> core.

use firn_core::task::{
    ClassificationStatistics, Schema, Statistics, Task,
    classification::{LIKELIEST_CLASSES, MOST_SCORED_CLASSES},
};
use firn_proto::v1alpha1 as proto;
use tonic::Status;

use crate::{api::refusal::invalid, artifacts::predictions::classification::predicted_class};

/// The statistics of a report's predictions.
pub(super) fn statistics(
    report: &proto::EvaluationReport,
    task: Task,
    schema: Schema<'_>,
) -> Result<Statistics, Status> {
    match task {
        Task::Classification => classification(report, schema.classes.len()).map(Statistics::Classification),
    }
}

fn classification(report: &proto::EvaluationReport, classes: usize) -> Result<ClassificationStatistics, Status> {
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

//! Labels that do not exclude each other: what a rank reports of a prediction, and how single labels are shown.

use firn_core::{
    metrics::{ClassCounts, Thresholds},
    task::MultiLabelStatistics,
};
use firn_proto::v1alpha1 as proto;
use serde_json::{Map, Value};
use tonic::Status;

use super::classification::{documents, messages};
use crate::{api::refusal::invalid, artifacts::predictions::multi_label::labelled};

/// The statistics of a report's predictions.
pub(super) fn statistics(
    report: &proto::EvaluationReport,
    labels: usize,
    thresholds: Thresholds<'_>,
) -> Result<MultiLabelStatistics, Status> {
    let mut statistics = MultiLabelStatistics::new(labels);
    statistics.loss_sum = report.loss_sum;
    for (position, prediction) in report.predictions.iter().enumerate() {
        let field = |name: &str| format!("evaluation.predictions[{position}].{name}");
        let (own, scores) = (&prediction.labels, &prediction.scores);
        let is_known = own.iter().all(|label| (*label as usize) < labels);
        if !is_known || own.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(invalid(
                field("labels"),
                format!("expected labels below {labels} in rising order, found {own:?}"),
            ));
        }
        if scores.len() != labels {
            let found = scores.len();
            return Err(invalid(
                field("scores"),
                format!("expected {labels}, one a label, found {found}"),
            ));
        }
        if let Some(score) = scores.iter().find(|score| !(0.0..=1.0).contains(*score)) {
            return Err(invalid(
                field("scores"),
                format!("expected probabilities, found {score}"),
            ));
        }
        statistics.add(labelled(prediction, thresholds).by_label());
    }
    Ok(statistics)
}

/// Fields of an evaluation in `metrics.json`: `perClass`, each label with its own metrics.
pub(super) fn document(counts: &[ClassCounts], labels: &[String]) -> Map<String, Value> {
    Map::from_iter([("perClass".to_owned(), documents(labels, counts))])
}

/// Adds the metrics of single labels to an evaluation.
pub(super) fn show(shown: &mut proto::Evaluation, counts: &[ClassCounts], labels: &[String]) {
    shown.per_class = messages(labels, counts);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(labels: &[u32], scores: &[f64]) -> proto::EvaluationReport {
        let prediction = proto::Prediction {
            labels: labels.to_vec(),
            scores: scores.to_vec(),
            ..Default::default()
        };
        proto::EvaluationReport {
            samples: 1,
            predictions: vec![prediction],
            ..Default::default()
        }
    }

    #[test]
    fn predictions_that_cannot_be_are_refused_by_name() {
        let message = |report| {
            statistics(&report, 2, Thresholds::Same(0.5))
                .unwrap_err()
                .message()
                .to_owned()
        };
        let labels = "evaluation.predictions[0].labels: expected labels below 2 in rising order, found";
        assert_eq!(message(report(&[2], &[0.1, 0.2])), format!("{labels} [2]"));
        assert_eq!(message(report(&[1, 0], &[0.1, 0.2])), format!("{labels} [1, 0]"));
        let scores = "evaluation.predictions[0].scores: expected";
        assert_eq!(
            message(report(&[], &[0.1])),
            format!("{scores} 2, one a label, found 1")
        );
        assert_eq!(
            message(report(&[], &[0.1, 1.5])),
            format!("{scores} probabilities, found 1.5")
        );
        assert_eq!(
            message(report(&[], &[0.1, f64::NAN])),
            format!("{scores} probabilities, found NaN")
        );
        let told = statistics(&report(&[1], &[0.6, 0.4]), 2, Thresholds::Same(0.5)).unwrap();
        assert_eq!((told.labels[0].predicted, told.labels[1].labelled), (1, 1));
    }
}

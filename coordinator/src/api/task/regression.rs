//! Numbers: what a rank reports of a prediction, and how single targets are shown.

use std::collections::BTreeMap;

use firn_core::task::{RegressionStatistics, regression::Target};
use firn_proto::v1alpha1 as proto;
use serde_json::{Map, Value, json};
use tonic::Status;

use crate::api::refusal::invalid;

/// The statistics of a report's predictions.
pub(super) fn statistics(report: &proto::EvaluationReport, targets: usize) -> Result<RegressionStatistics, Status> {
    for (position, prediction) in report.predictions.iter().enumerate() {
        for (name, numbers) in [("values", &prediction.values), ("scores", &prediction.scores)] {
            let field = format!("evaluation.predictions[{position}].{name}");
            if numbers.len() != targets {
                let found = numbers.len();
                return Err(invalid(
                    field,
                    format!("expected {targets}, one a target, found {found}"),
                ));
            }
            if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
                return Err(invalid(field, format!("expected finite numbers, found {number}")));
            }
        }
    }
    let samples = report.predictions.iter();
    let samples = samples.map(|prediction| (prediction.values.as_slice(), prediction.scores.as_slice()));
    Ok(RegressionStatistics::of_samples(samples, report.loss_sum))
}

/// Fields of an evaluation in `metrics.json`: `targets`, each with its scale and its own metrics.
pub(super) fn document(metrics: &[BTreeMap<String, f64>], targets: &[Target]) -> Map<String, Value> {
    let of_target = |(target, metrics): (&Target, &BTreeMap<String, f64>)| json!({"target": target.name, "mean": target.mean, "std": target.std, "metrics": metrics});
    let of_targets = targets.iter().zip(metrics).map(of_target);
    Map::from_iter([("targets".to_owned(), of_targets.collect())])
}

/// Adds the metrics of single targets to an evaluation.
pub(super) fn show(shown: &mut proto::Evaluation, metrics: &[BTreeMap<String, f64>], targets: &[Target]) {
    let of_target = |(target, metrics): (&Target, &BTreeMap<String, f64>)| proto::TargetMetrics {
        target: target.name.clone(),
        metrics: metrics.clone(),
    };
    shown.targets = targets.iter().zip(metrics).map(of_target).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(values: &[f64], scores: &[f64]) -> proto::EvaluationReport {
        let prediction = proto::Prediction {
            values: values.to_vec(),
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
        let message = |report| statistics(&report, 2).unwrap_err().message().to_owned();
        assert_eq!(
            message(report(&[1.0], &[1.0, 2.0])),
            "evaluation.predictions[0].values: expected 2, one a target, found 1"
        );
        assert_eq!(
            message(report(&[1.0, 2.0], &[f64::NAN, 2.0])),
            "evaluation.predictions[0].scores: expected finite numbers, found NaN"
        );
        assert_eq!(
            statistics(&report(&[1.0, 2.0], &[1.0, 3.0]), 2).unwrap().targets[1].squared_errors,
            1.0
        );
    }
}

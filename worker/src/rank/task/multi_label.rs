//! Labels that do not exclude each other: binary cross-entropy in training, a sigmoid probability of each in evaluation.

use std::collections::BTreeMap;

use firn_core::{
    metrics::{LabelMetrics, Labelled, Thresholds},
    spec::{ClassWeights, LossSpec},
    task::MultiLabelStatistics,
};
use firn_data::{Dataset, Split};
use firn_models::Objective;
use firn_proto::v1alpha1 as wire;
use tch::{Device, Kind, Tensor};

use super::{Outputs, classification::named_weights, of_sample};
use crate::rank::failure::RankFailure;

pub(super) fn objective(loss: &LossSpec, dataset: &Dataset, device: Device) -> Result<Objective, RankFailure> {
    let class_weights = match loss {
        LossSpec::BinaryCrossEntropy { class_weights } => class_weights,
        LossSpec::SigmoidFocal { gamma, alpha } => return Ok(Objective::sigmoid_focal(*gamma, *alpha)),
        other => {
            return Err(RankFailure::Spec(format!(
                "spec.training.loss.type: expected a loss of labels, found `{}`",
                other.word()
            )));
        }
    };
    let weights = match class_weights {
        ClassWeights::Uniform => None,
        ClassWeights::Balanced => Some(balanced_weights(dataset)),
        ClassWeights::Named(named) => Some(named_weights(named, &dataset.classes)?),
    };
    Ok(Objective::binary_cross_entropy(weights.as_deref(), device)?)
}

/// Of each label, the training samples without it by those with it. The index refuses labels without either.
fn balanced_weights(dataset: &Dataset) -> Vec<f64> {
    let samples = dataset.train.len();
    let counts = dataset.train.class_counts(dataset.classes.len());
    let weight = |count: u64| (samples - count) as f64 / count as f64;
    counts.into_iter().map(weight).collect()
}

/// `threshold` is the one of all labels, where `tuned` holds none of each.
pub(super) fn describe(dataset: &Dataset, threshold: f64, tuned: &[f64]) -> Outputs {
    let labels = dataset.classes.iter().enumerate();
    let (said, least, lines): (_, _, Vec<String>) = match tuned {
        [] => (
            ("threshold", threshold.into()),
            format!("at least {threshold}"),
            labels.map(|(index, label)| format!("- {index}: {label}")).collect(),
        ),
        tuned => (
            ("thresholds", tuned.into()),
            "at least the label's threshold, the one with the best F1 on validation".to_owned(),
            labels
                .zip(tuned)
                .map(|((index, label), threshold)| format!("- {index}: {label}, from {threshold} on"))
                .collect(),
        ),
    };
    Outputs {
        names: dataset.classes.clone(),
        more: vec![("problem_type", "multi_label_classification".into()), said],
        learned: format!("any of {} labels", dataset.classes.len()),
        section: format!(
            "## Labels\n\nThey do not exclude each other. A label is predicted where the sigmoid of its output is {least}.\n\n{}",
            lines.join("\n")
        ),
    }
}

/// Adds the probability of each label for each sample, and the mean over labels of the binary cross-entropy, both in double precision.
pub(super) fn score(
    logits: &Tensor,
    (indices, labels): (&[u64], &[Vec<u32>]),
    split: &Split,
    report: &mut wire::EvaluationReport,
) -> Result<(), RankFailure> {
    let width = logits.size2()?.1 as usize;
    let logits = {
        let _no_grad = tch::no_grad_guard();
        let logits = logits.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?;
        Vec::<f64>::try_from(logits.f_contiguous()?.f_view(-1)?)?
    };
    for ((&index, own), row) in indices.iter().zip(labels).zip(logits.chunks(width)) {
        report.samples += 1;
        report.loss_sum += cross_entropy(row, own);
        report.predictions.push(wire::Prediction {
            scores: row.iter().map(|logit| sigmoid(*logit)).collect(),
            labels: own.clone(),
            ..of_sample(split, index)
        });
    }
    Ok(())
}

fn labelled<'a>(prediction: &'a wire::Prediction, thresholds: Thresholds<'a>) -> Labelled<'a> {
    Labelled {
        labels: &prediction.labels,
        scores: &prediction.scores,
        thresholds,
    }
}

pub(super) fn statistics(
    report: &wire::EvaluationReport,
    labels: usize,
    thresholds: Thresholds<'_>,
) -> MultiLabelStatistics {
    let mut statistics = MultiLabelStatistics::new(labels);
    statistics.loss_sum = report.loss_sum;
    let predictions = report.predictions.iter();
    predictions.for_each(|prediction| statistics.add(labelled(prediction, thresholds).by_label()));
    statistics
}

/// Those that single predictions tell.
pub(super) fn metrics(
    predictions: &[&wire::Prediction],
    labels: usize,
    thresholds: Thresholds<'_>,
) -> BTreeMap<String, f64> {
    let mut metrics = LabelMetrics::default();
    predictions
        .iter()
        .for_each(|prediction| metrics.add(&labelled(prediction, thresholds)));
    for label in 0..labels {
        let of = |prediction: &&wire::Prediction| {
            let is_true = prediction.labels.contains(&(label as u32));
            (is_true, prediction.scores[label])
        };
        metrics.add_label(&predictions.iter().map(of).collect::<Vec<_>>());
    }
    let values = metrics.values().into_iter();
    values.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Of one sample: max(x, 0) - x·y + log(1 + e^-|x|), which no logit makes infinite; the mean over labels.
fn cross_entropy(logits: &[f64], labels: &[u32]) -> f64 {
    let own: f64 = labels.iter().map(|label| logits[*label as usize]).sum();
    let all: f64 = logits
        .iter()
        .map(|logit| logit.max(0.0) + (-logit.abs()).exp().ln_1p())
        .sum();
    (all - own) / logits.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_of_a_logit_is_finite_and_what_its_probability_says() {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        let expected = -(sigmoid(2.0).ln() + (1.0 - sigmoid(-1.0)).ln()) / 2.0;
        assert!(near(cross_entropy(&[2.0, -1.0], &[0]), expected));
        assert!(
            near(cross_entropy(&[-800.0, 800.0], &[0]), 800.0),
            "each label costs 800"
        );
        assert_eq!((sigmoid(-800.0), sigmoid(800.0)), (0.0, 1.0));
    }
}

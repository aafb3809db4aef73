//! One class for each sample: cross-entropy in training, softmax probabilities in evaluation.

use std::{collections::BTreeMap, convert::Infallible};

use firn_core::{
    metrics::{ScoreMetrics, Scored},
    spec::{ClassWeights, LossSpec},
    task::{
        ClassificationStatistics,
        classification::{LIKELIEST_CLASSES, MOST_SCORED_CLASSES},
    },
};
use firn_data::{Dataset, Split};
use firn_models::Objective;
use firn_proto::v1alpha1 as wire;
use tch::{Device, Kind, Tensor};

use super::{Outputs, of_sample};
use crate::rank::failure::RankFailure;

pub(super) fn objective(loss: &LossSpec, dataset: &Dataset, device: Device) -> Result<Objective, RankFailure> {
    match loss {
        LossSpec::CrossEntropy {
            label_smoothing,
            class_weights: wanted,
        } => {
            let weights = class_weights(wanted, dataset)?;
            Ok(Objective::cross_entropy(weights.as_deref(), *label_smoothing, device)?)
        }
        LossSpec::Focal {
            gamma,
            class_weights: wanted,
        } => {
            let weights = class_weights(wanted, dataset)?;
            Ok(Objective::focal(*gamma, weights.as_deref(), device)?)
        }
        other => Err(RankFailure::Spec(format!(
            "spec.training.loss.type: expected a loss of classes, found `{}`",
            other.word()
        ))),
    }
}

pub(super) fn summarise(dataset: &Dataset, summary: &mut wire::DatasetSummary) {
    let classes = dataset.classes.len();
    summary.classes.clone_from(&dataset.classes);
    summary.class_count = classes as u32;
    for (split, manifest) in dataset.splits().zip(&mut summary.splits) {
        manifest.class_counts = split.class_counts(classes);
    }
}

pub(super) fn describe(dataset: &Dataset) -> Outputs {
    let classes = dataset.classes.iter().enumerate();
    let lines: Vec<String> = classes.map(|(index, class)| format!("- {index}: {class}")).collect();
    Outputs {
        names: dataset.classes.clone(),
        more: vec![("problem_type", "single_label_classification".into())],
        learned: format!("classification into {} classes", dataset.classes.len()),
        section: format!("## Classes\n\n{}", lines.join("\n")),
    }
}

/// The weight of each class, in the order of the classes; `None` if all are 1.
fn class_weights(wanted: &ClassWeights, dataset: &Dataset) -> Result<Option<Vec<f64>>, RankFailure> {
    match wanted {
        ClassWeights::Uniform => Ok(None),
        ClassWeights::Balanced => {
            let counts = dataset.train.class_counts(dataset.classes.len());
            let samples: u64 = counts.iter().sum();
            // scikit-learn's `compute_class_weight("balanced")`: n / (classes · n_class).
            let weights = counts
                .iter()
                .map(|&count| samples as f64 / (counts.len() as f64 * count as f64));
            Ok(Some(weights.collect()))
        }
        ClassWeights::Named(named) => named_weights(named, &dataset.classes).map(Some),
    }
}

/// Of each class, or label, in its order; 1 where none is given.
pub(super) fn named_weights(named: &BTreeMap<String, f64>, names: &[String]) -> Result<Vec<f64>, RankFailure> {
    if let Some(unknown) = named.keys().find(|name| !names.contains(name)) {
        let known = names.join(", ");
        return Err(RankFailure::Spec(format!(
            "spec.training.loss.classWeights: the data has no class {unknown:?}; its classes are {known}"
        )));
    }
    Ok(names
        .iter()
        .map(|name| named.get(name).copied().unwrap_or(1.0))
        .collect())
}

/// Adds the probabilities of all classes for each sample, and the cross-entropy, both in double precision.
pub(super) fn score(
    logits: &Tensor,
    (indices, labels): (&[u64], &[i64]),
    split: &Split,
    report: &mut wire::EvaluationReport,
) -> Result<(), RankFailure> {
    let classes = logits.size2()?.1 as usize;
    let log_probabilities = {
        let _no_grad = tch::no_grad_guard();
        let log_probabilities = logits.f_to_kind(Kind::Double)?.f_log_softmax(-1, Kind::Double)?;
        Vec::<f64>::try_from(log_probabilities.f_to_device(Device::Cpu)?.f_contiguous()?.f_view(-1)?)?
    };
    for ((&index, &label), row) in indices.iter().zip(labels).zip(log_probabilities.chunks(classes)) {
        let label = usize::try_from(label).expect("classes count from 0");
        let (classes, scores) = kept(row, label);
        report.samples += 1;
        report.loss_sum -= row[label];
        report.predictions.push(wire::Prediction {
            label: label as u32,
            scores,
            classes,
            ..of_sample(split, index)
        });
    }
    Ok(())
}

/// What is kept of a row of log-probabilities: all probabilities; or, of many classes, those of the likeliest ones and of the true one, with
/// their classes.
fn kept(row: &[f64], label: usize) -> (Vec<u32>, Vec<f64>) {
    if row.len() <= MOST_SCORED_CLASSES {
        return (Vec::new(), row.iter().map(|value| value.exp()).collect());
    }
    let likelier = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
    let mut places: Vec<usize> = (0..row.len()).collect();
    places.select_nth_unstable_by(LIKELIEST_CLASSES, likelier);
    places.truncate(LIKELIEST_CLASSES);
    places.sort_unstable_by(likelier);
    if !places.contains(&label) {
        places.push(label);
    }
    let scores = places.iter().map(|place| row[*place].exp()).collect();
    (places.into_iter().map(|place| place as u32).collect(), scores)
}

fn scored(prediction: &wire::Prediction, classes: usize) -> Scored<'_> {
    Scored {
        label: prediction.label,
        named: &prediction.classes,
        scores: &prediction.scores,
        classes,
    }
}

pub(super) fn statistics(report: &wire::EvaluationReport) -> ClassificationStatistics {
    let samples = report.predictions.iter().filter_map(|prediction| {
        let (predicted, _) = scored(prediction, prediction.scores.len()).likeliest()?;
        Some((prediction.label, predicted))
    });
    ClassificationStatistics::of_samples(samples, report.loss_sum)
}

/// Those that single predictions tell.
pub(super) fn metrics(predictions: &[&wire::Prediction], classes: usize) -> BTreeMap<String, f64> {
    let mut metrics = ScoreMetrics::new(classes);
    predictions
        .iter()
        .for_each(|prediction| metrics.add(&scored(prediction, classes)));
    let mut values = metrics.values();
    if classes <= MOST_SCORED_CLASSES {
        let column = |class: &u32| {
            predictions
                .iter()
                .map(|of| of.scores[*class as usize])
                .collect::<Vec<f64>>()
        };
        let columns = |block: &[u32]| Ok::<_, Infallible>(block.iter().map(column).collect());
        values.extend(
            metrics
                .of_columns(classes, columns)
                .unwrap_or_else(|never| match never {}),
        );
    }
    let values = values.into_iter();
    values.map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_classes_the_likeliest_are_kept_in_order_and_the_true_one() {
        let row: Vec<f64> = (0..2000).map(|class| -f64::from((class * 7) % 2000)).collect();
        let (classes, scores) = kept(&row, 2);
        let likeliest: Vec<u32> = (0..10u32)
            .map(|rank| (0..2000).find(|class| class * 7 % 2000 == rank).unwrap())
            .collect();
        assert_eq!(classes[..10], likeliest);
        assert_eq!((classes[10], classes.len(), scores.len()), (2, 11, 11));
        assert_eq!(scores[10], (-14.0f64).exp());
        assert_eq!(
            kept(&row, likeliest[4] as usize).0.len(),
            10,
            "the true class is among them"
        );
        let (classes, scores) = kept(&row[..5], 1);
        assert_eq!((classes.len(), scores.len()), (0, 5));
    }
}

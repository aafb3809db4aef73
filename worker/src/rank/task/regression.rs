//! One or several numbers for each sample: the network learns them standardised, predictions are in the units of the data.

use std::collections::BTreeMap;

use firn_core::{
    metrics::targets,
    spec::LossSpec,
    task::{RegressionStatistics, regression::Target},
};
use firn_data::{Dataset, Split};
use firn_models::{Distances, Objective, Scale};
use firn_proto::v1alpha1 as wire;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::{Outputs, of_sample};
use crate::rank::failure::RankFailure;

/// How the exported model's outputs become numbers in the units of the data.
const UNITS: &str = "value = output * std + mean";

pub(super) fn objective(loss: &LossSpec, targets: &[Target]) -> Result<Objective, RankFailure> {
    let Some(distance) = loss.distance() else {
        return Err(RankFailure::Spec(
            "spec.training.loss.type: expected a loss of numbers, found `cross_entropy`".to_owned(),
        ));
    };
    let scale = |target: &Target| Scale {
        mean: target.mean,
        std: target.std,
    };
    Ok(Objective::distances(distance, targets.iter().map(scale).collect()))
}

pub(super) fn summarise(dataset: &Dataset, summary: &mut wire::DatasetSummary) {
    summary.targets = dataset.targets.iter().map(target_summary).collect();
}

pub(crate) fn target_summary(target: &Target) -> wire::TargetSummary {
    wire::TargetSummary {
        name: target.name.clone(),
        mean: target.mean,
        std: target.std,
    }
}

pub(super) fn describe(targets: &[Target]) -> Outputs {
    let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    let document = |target: &Target| json!({"name": target.name, "mean": target.mean, "std": target.std});
    let row = |(index, target): (usize, &Target)| {
        format!("| {index} | {} | {:?} | {:?} |", target.name, target.mean, target.std)
    };
    let rows: Vec<String> = targets.iter().enumerate().map(row).collect();
    Outputs {
        learned: format!("regression of {}", names.join(", ")),
        section: format!(
            "## Targets\n\nThe outputs are standardised: `{UNITS}`.\n\n| output | target | mean | std |\n|---|---|---|---|\n{}",
            rows.join("\n")
        ),
        names,
        more: vec![
            ("problem_type", "regression".into()),
            ("targets", targets.iter().map(document).collect::<Value>()),
            ("target_units", UNITS.into()),
        ],
    }
}

/// Adds the prediction of each target, and the loss, both in double precision.
pub(super) fn score(
    distances: &Distances,
    outputs: &Tensor,
    (indices, values): (&[u64], &[f64]),
    split: &Split,
    report: &mut wire::EvaluationReport,
) -> Result<(), RankFailure> {
    let outputs = {
        let _no_grad = tch::no_grad_guard();
        let outputs = outputs.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?;
        Vec::<f64>::try_from(outputs.f_contiguous()?.f_view(-1)?)?
    };
    let width = distances.scales().len();
    let rows = outputs.chunks_exact(width).zip(values.chunks_exact(width));
    for (&index, (outputs, values)) in indices.iter().zip(rows) {
        report.samples += 1;
        report.loss_sum += distances.loss(outputs, values);
        let scales = distances.scales().iter();
        report.predictions.push(wire::Prediction {
            scores: scales
                .zip(outputs)
                .map(|(scale, output)| scale.in_units(*output))
                .collect(),
            values: values.to_vec(),
            ..of_sample(split, index)
        });
    }
    Ok(())
}

pub(super) fn statistics(report: &wire::EvaluationReport) -> RegressionStatistics {
    let samples = report.predictions.iter();
    let samples = samples.map(|prediction| (prediction.values.as_slice(), prediction.scores.as_slice()));
    RegressionStatistics::of_samples(samples, report.loss_sum)
}

/// Those that single predictions tell.
pub(super) fn metrics(predictions: &[&wire::Prediction], targets: usize) -> BTreeMap<String, f64> {
    let pair = |target: usize| move |of: &&wire::Prediction| (of.values[target], of.scores[target]);
    let of_target = |target| targets::of_pairs(&predictions.iter().map(pair(target)).collect::<Vec<_>>());
    targets::mean(&(0..targets).map(of_target).collect::<Vec<_>>())
}

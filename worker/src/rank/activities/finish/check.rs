//! The proof that what was written is what was trained: the artifacts are loaded again, as `firn predict` loads them, and score the test split once more.
//!
//! Where the gang's machines are alike, the loss of the whole split comes out as it was recorded, to the last bit, and no metric can differ then. Otherwise
//! the network that is still in memory scores the same samples on this machine, and both have to predict the same: to the last bit, but where
//! the artifact computes in another order (merged adapters, stages that were unfrozen after the best epoch).
//!
//! It costs rank 0 the loading, and at most [`MOST_SAMPLES`] samples once or twice; the others are done by then.

use std::{ops::Range, path::Path, sync::Arc, vec};

use firn_core::{compatibility::DataRules, metrics::Sum, spec::JobSpec, state::ShardTable};
use firn_data::{Loader, Split};
use firn_models::ModelError;
use firn_proto::v1alpha1 as wire;
use serde_json::Value;
use tracing::{info, warn};

use crate::{
    predict::{Artifact, Network},
    rank::{
        failure::RankFailure, learner::micro_batch_plan, scoring::Scorer, session::Session, stop_reason::StopReason,
    },
};

/// Of a larger split the shards that have so many samples.
const MOST_SAMPLES: u64 = 4096;

/// What a probability, or a number in units of its size, may differ by where the artifact computes in another order.
const ROUNDING: f64 = 1e-4;

/// What was checked, for the model card.
pub(super) struct Checked {
    split: String,
    /// Samples that were scored again.
    samples: u64,
    /// Of the split.
    of: u64,
}

impl Checked {
    /// As a line of the card.
    pub(super) fn describe(&self) -> String {
        let Self { split, samples, of } = self;
        match samples == of {
            true => format!(
                "Loaded again from these files, the network predicts all {of} samples of {split} as the job did."
            ),
            false => format!(
                "Loaded again from these files, the network predicts the first {samples} of {of} samples of {split} as the job did."
            ),
        }
    }
}

/// Loads what lies in `folder` and scores with it. `None` where the job has nothing to score, or no memory for a second network.
///
/// # Errors
/// [`RankFailure::ArtifactDiffers`]; what hinders the loading; what ends the activity.
pub(super) fn check(
    session: &Session<'_>,
    folder: &Path,
    rules: DataRules,
    finish: &wire::FinishDirective,
) -> Result<Option<Checked>, StopReason> {
    let dataset = &session.data.dataset;
    let Some(split) = dataset.test.as_ref().or(dataset.validation.as_ref()) else {
        return Ok(None);
    };
    let differs = |what: String| RankFailure::ArtifactDiffers(what);
    let artifact = Artifact::open(folder).map_err(|error| differs(format!("{error:#}")))?;
    let device = session.learner.scorer().inputs.device();
    let network = match Network::new(&artifact, device, rules) {
        Err(failure) if failure.is_out_of_memory() => {
            warn!(%failure, "the artifacts are not checked: there is no memory for a second network");
            return Ok(None);
        }
        // What is not there any more is the machine's trouble.
        Err(failure @ RankFailure::Model(ModelError::Read { .. })) => return Err(failure.into()),
        Err(failure @ (RankFailure::Model(_) | RankFailure::Data(_))) => {
            return Err(differs(failure.to_string()).into());
        }
        loaded => loaded?,
    };
    let shards = Shards::of(
        split,
        artifact.spec.task.numbers_per_prediction(artifact.outputs.schema()),
    );
    let again = shards.scored(session, network.scorer(), |plan| {
        session.data.load_by((network.preprocessor(), None), split, plan)
    })?;
    let checked = Checked {
        split: split.name.to_string(),
        samples: shards.samples(),
        of: split.len(),
    };
    if checked.samples == checked.of && is_recorded(&again, split, finish) {
        info!(
            samples = checked.samples,
            "the artifacts were loaded again, and score as was recorded"
        );
        return Ok(Some(checked));
    }
    let trained = shards.scored(session, session.learner.scorer(), |plan| {
        session.data.load(split, plan, None)
    })?;
    let largest = compare(&trained, &again, allowed(&session.spec)).map_err(differs)?;
    info!(
        samples = checked.samples,
        largest, "the artifacts were loaded again, and predict what was trained"
    );
    Ok(Some(checked))
}

/// What predictions may differ by.
fn allowed(spec: &JobSpec) -> f64 {
    let computes_otherwise = spec.model.lora.is_some() || !spec.model.freeze.unfreeze.is_empty();
    if computes_otherwise { ROUNDING } else { 0.0 }
}

/// The first shards of a split, cut as in the passes of the gang.
struct Shards<'a> {
    split: &'a Arc<Split>,
    ranges: Vec<Range<u64>>,
}

impl<'a> Shards<'a> {
    fn of(split: &'a Arc<Split>, numbers: usize) -> Self {
        let cut = ShardTable::cut(split.len(), numbers);
        let all = (0..).map_while(|index| cut.shard(index));
        let ranges = all
            .map(|shard| shard.begin..shard.end)
            .take_while(|samples| samples.start < MOST_SAMPLES)
            .collect();
        Self { split, ranges }
    }

    fn samples(&self) -> u64 {
        self.ranges.last().map_or(0, |samples| samples.end)
    }

    /// What a network predicts, shard by shard, in the micro-batches of the gang.
    fn scored(
        &self,
        session: &Session<'_>,
        scorer: Scorer<'_>,
        load: impl Fn(vec::IntoIter<Range<u64>>) -> Loader,
    ) -> Result<Vec<wire::EvaluationReport>, StopReason> {
        let heartbeat = session.membership.coordinator.heartbeat();
        let between = || -> Result<(), StopReason> {
            heartbeat.tick();
            Ok(heartbeat.check_urgent()?)
        };
        let report = |samples: &Range<u64>| {
            let plan = micro_batch_plan::micro_batches(samples.clone(), session.learner.micro_batch());
            scorer.report(load(plan.into_iter()), self.split, between)
        };
        self.ranges.iter().map(report).collect()
    }
}

/// Whether samples and loss are those that the coordinator has recorded of the split.
fn is_recorded(reports: &[wire::EvaluationReport], split: &Split, finish: &wire::FinishDirective) -> bool {
    let metrics: Value = serde_json::from_str(&finish.metrics_json).unwrap_or_default();
    let recorded = &metrics[split.name.as_str()];
    let samples: u64 = reports.iter().map(|report| report.samples).sum();
    let loss: Sum = reports.iter().map(|report| report.loss_sum).collect();
    recorded["samples"].as_u64() == Some(samples)
        && recorded["metrics"]["loss"].as_f64() == Some(loss.value() / samples as f64)
}

/// The largest difference of a score; an error names the first sample whose scores differ by more than is allowed.
fn compare(trained: &[wire::EvaluationReport], again: &[wire::EvaluationReport], allowed: f64) -> Result<f64, String> {
    let mut largest: f64 = 0.0;
    let predictions = |reports: &[wire::EvaluationReport]| -> Vec<wire::Prediction> {
        reports.iter().flat_map(|report| report.predictions.clone()).collect()
    };
    let (trained, again) = (predictions(trained), predictions(again));
    if trained.len() != again.len() {
        let (expected, found) = (trained.len(), again.len());
        return Err(format!("expected predictions of {expected} samples, found {found}"));
    }
    for (expected, found) in trained.iter().zip(&again) {
        let differs = |what: String| Err(format!("sample {}: {what}", expected.sample));
        let labels = |prediction: &wire::Prediction| (prediction.index, prediction.label, prediction.labels.clone());
        if labels(expected) != labels(found) || expected.scores.len() != found.scores.len() {
            return differs("it is another sample, or has another label".to_owned());
        }
        for (expected, found) in expected.scores.iter().zip(&found.scores) {
            let difference = (expected - found).abs() / expected.abs().max(1.0);
            if difference.is_nan() || difference > allowed {
                return differs(format!("expected a score of {expected}, found {found}"));
            }
            largest = largest.max(difference);
        }
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(scores: &[f64], loss_sum: f64) -> wire::EvaluationReport {
        let predictions = scores.iter().enumerate().map(|(index, score)| wire::Prediction {
            index: index as u64,
            sample: format!("reviews.tsv:{index}"),
            scores: vec![*score],
            ..wire::Prediction::default()
        });
        wire::EvaluationReport {
            samples: scores.len() as u64,
            loss_sum,
            predictions: predictions.collect(),
            ..wire::EvaluationReport::default()
        }
    }

    #[test]
    fn a_score_that_differs_is_told_with_its_sample() {
        let trained = [report(&[0.25, 0.5], 1.0)];
        assert_eq!(compare(&trained, &trained, 0.0), Ok(0.0));
        let again = [report(&[0.25, 0.5 + 1e-6], 1.0)];
        assert_eq!(
            compare(&trained, &again, 0.0),
            Err("sample reviews.tsv:1: expected a score of 0.5, found 0.500001".to_owned())
        );
        assert!(compare(&trained, &again, ROUNDING).is_ok_and(|largest| (largest - 1e-6).abs() < 1e-12));
        assert!(compare(&trained, &[report(&[0.25, f64::NAN], 1.0)], ROUNDING).is_err());
        assert_eq!(
            compare(&trained, &[report(&[0.25], 1.0)], 0.0),
            Err("expected predictions of 2 samples, found 1".to_owned())
        );
    }

    #[test]
    fn the_recorded_loss_is_compared_to_the_last_bit() {
        let split = Split {
            name: firn_data::SplitName::Test,
            samples: Vec::new(),
        };
        let reports = [report(&[0.1, 0.2], 0.3), report(&[0.3], 0.1)];
        let loss = 0.4 / 3.0;
        let finish = |loss: f64| wire::FinishDirective {
            metrics_json: serde_json::json!({"test": {"samples": 3, "metrics": {"loss": loss}}}).to_string(),
            ..wire::FinishDirective::default()
        };
        assert!(is_recorded(&reports, &split, &finish(loss)));
        assert!(!is_recorded(
            &reports,
            &split,
            &finish(f64::from_bits(loss.to_bits() + 1))
        ));
        assert!(!is_recorded(&reports[..1], &split, &finish(loss)));
        assert!(!is_recorded(&reports, &split, &wire::FinishDirective::default()));
    }
}

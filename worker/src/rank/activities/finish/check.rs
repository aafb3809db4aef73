//! The proof that what was written is what was trained: the artifacts are loaded again, as `firn predict` loads them, and score the test split once more.
//!
//! Where the gang's machines are alike, the loss and every other metric of the whole split come out as they were recorded, to the last bit. Otherwise
//! the network that is still in memory scores the same samples on this machine, and both have to predict the same, to the last bit.
//!
//! It costs rank 0 the loading, and at most [`MOST_SAMPLES`] samples once or twice; the others are done by then.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc, vec};

use firn_core::{compatibility::DataRules, state::ShardTable};
use firn_data::{Loader, Split};
use firn_models::ModelError;
use firn_proto::v1alpha1 as wire;
use serde_json::Value;
use tracing::{info, warn};

use crate::{
    predict::{Artifact, Network},
    rank::{
        failure::RankFailure, learner::micro_batch_plan, scoring::Scorer, session::Session, stop_reason::StopReason,
        task,
    },
};

/// Of a larger split the shards that have so many samples.
const MOST_SAMPLES: u64 = 4096;

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
    let metrics = task::metrics(artifact.spec.task, artifact.outputs.schema(), &again);
    if checked.samples == checked.of && is_recorded((samples_of(&again), &metrics), split, finish) {
        info!(
            samples = checked.samples,
            "the artifacts were loaded again, and score as was recorded"
        );
        return Ok(Some(checked));
    }
    let trained = shards.scored(session, session.learner.scorer(), |plan| {
        session.data.load(split, plan, None)
    })?;
    compare(&trained, &again).map_err(differs)?;
    info!(
        samples = checked.samples,
        "the artifacts were loaded again, and predict what was trained"
    );
    Ok(Some(checked))
}

fn samples_of(reports: &[wire::EvaluationReport]) -> u64 {
    reports.iter().map(|report| report.samples).sum()
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

/// Whether samples, loss and all other metrics are those that the coordinator has recorded of the split. One of another build may know other metrics.
fn is_recorded(
    (samples, metrics): (u64, &BTreeMap<String, f64>),
    split: &Split,
    finish: &wire::FinishDirective,
) -> bool {
    let document: Value = serde_json::from_str(&finish.metrics_json).unwrap_or_default();
    let recorded = &document[split.name.as_str()];
    let is_of = |name: &str, value: f64| recorded["metrics"][name].as_f64() == Some(value);
    let is_known = |name: &str| name == "loss" || !recorded["metrics"][name].is_null();
    recorded["samples"].as_u64() == Some(samples)
        && metrics.contains_key("loss")
        && metrics
            .iter()
            .all(|(name, value)| !is_known(name) || is_of(name, *value))
}

/// An error names the first sample whose scores differ.
fn compare(trained: &[wire::EvaluationReport], again: &[wire::EvaluationReport]) -> Result<(), String> {
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
            if expected.to_bits() != found.to_bits() {
                return differs(format!("expected a score of {expected}, found {found}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use firn_core::{spec::Task, task::Schema};

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
        assert_eq!(compare(&trained, &trained), Ok(()));
        let again = [report(&[0.25, f64::from_bits(0.5f64.to_bits() + 1)], 1.0)];
        assert_eq!(
            compare(&trained, &again),
            Err("sample reviews.tsv:1: expected a score of 0.5, found 0.5000000000000001".to_owned())
        );
        assert!(compare(&trained, &[report(&[0.25, f64::NAN], 1.0)]).is_err());
        assert_eq!(
            compare(&trained, &[report(&[0.25], 1.0)]),
            Err("expected predictions of 2 samples, found 1".to_owned())
        );
    }

    #[test]
    fn every_recorded_metric_is_compared_to_the_last_bit() {
        let split = Split {
            name: firn_data::SplitName::Test,
            samples: Vec::new(),
        };
        let of = |pairs: &[(&str, f64)]| -> BTreeMap<String, f64> {
            let pairs = pairs.iter();
            pairs.map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let next = |value: f64| f64::from_bits(value.to_bits() + 1);
        let (loss, brier) = (0.4 / 3.0, 1.0 / 7.0);
        let finish = |metrics: &[(&str, f64)]| wire::FinishDirective {
            metrics_json: serde_json::json!({"test": {"samples": 3, "metrics": of(metrics)}}).to_string(),
            ..wire::FinishDirective::default()
        };
        let found = of(&[("loss", loss), ("brier", brier), ("newer", 0.5)]);
        let is_recorded = |metrics: &[(&str, f64)]| is_recorded((3, &found), &split, &finish(metrics));
        assert!(is_recorded(&[("loss", loss), ("brier", brier), ("older", 1.0)]));
        assert!(!is_recorded(&[("loss", next(loss)), ("brier", brier)]));
        assert!(!is_recorded(&[("loss", loss), ("brier", next(brier))]));
        assert!(!is_recorded(&[("brier", brier)]), "without a loss nothing is recorded");
        let recorded = finish(&[("loss", loss)]);
        assert!(!super::is_recorded((2, &found), &split, &recorded));
        assert!(!super::is_recorded((3, &BTreeMap::new()), &split, &recorded));
        assert!(!super::is_recorded(
            (3, &found),
            &split,
            &wire::FinishDirective::default()
        ));
    }

    #[test]
    fn metrics_of_reports_are_those_of_all_their_samples() {
        let prediction = |label: u32, scores: [f64; 2]| wire::Prediction {
            label,
            scores: scores.to_vec(),
            ..wire::Prediction::default()
        };
        let report = |predictions: Vec<wire::Prediction>, loss_sum: f64| wire::EvaluationReport {
            samples: predictions.len() as u64,
            loss_sum,
            predictions,
            ..wire::EvaluationReport::default()
        };
        let reports = [
            report(vec![prediction(0, [0.75, 0.25]), prediction(1, [0.5, 0.5])], 0.5),
            report(vec![prediction(1, [0.25, 0.75])], 0.25),
        ];
        let classes = ["bad", "good"].map(str::to_owned);
        let metrics = task::metrics(Task::Classification, Schema::of_classes(&classes), &reports);
        assert_eq!(metrics["loss"], 0.25);
        assert_eq!(metrics["accuracy"], 2.0 / 3.0);
        assert_eq!(metrics["roc_auc"], 1.0);
        // scikit-learn's for two classes: of the second one alone.
        assert_eq!(metrics["brier_score"], (0.0625 + 0.25 + 0.0625) / 3.0);
        assert!(task::metrics(Task::Classification, Schema::of_classes(&classes), &[]).is_empty());
    }
}

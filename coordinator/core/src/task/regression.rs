//! One or several numbers for each sample.
//!
//! The network learns standardised values; predictions, and so all metrics but the loss, are in the units of the data. A shard gives the moments
//! of each target, which add up: the sum is made in shard order, so it does not depend on who scored what. Metrics of several targets are the
//! unweighted mean over them, and those of each stand beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Detail, Metrics, Schema, StatisticsError};
use crate::metrics::{Moments, Sum, targets};

/// Largest relative difference between a recorded metric of a target and what follows from its moments.
const TOLERANCE: f64 = 1e-9;

/// Samples whose moments are computed at once.
const BLOCK: usize = 4096;

/// A number that is learned, as the training split fixes it. The network learns (value - mean) / std.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The column that it comes from.
    pub name: String,
    /// Of the training samples, in the units of the data.
    pub mean: f64,
    /// Population standard deviation of the training samples, above 0, as scikit-learn's `StandardScaler` has it.
    pub std: f64,
}

/// What an error costs, in standard deviations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distance {
    /// e².
    Squared,
    /// |e|.
    Absolute,
    /// e² / 2 up to delta, beyond it delta·(|e| - delta / 2). Huber 1964.
    Huber {
        /// Above 0.
        delta: f64,
    },
}

impl Distance {
    /// Of one error.
    pub fn of(self, error: f64) -> f64 {
        match self {
            Self::Squared => error * error,
            Self::Absolute => error.abs(),
            Self::Huber { delta } if error.abs() <= delta => error * error / 2.0,
            Self::Huber { delta } => delta * (error.abs() - delta / 2.0),
        }
    }

    /// Of one sample, in the units of the targets: the mean over them.
    pub fn of_sample(self, targets: &[Target], values: &[f64], predictions: &[f64]) -> f64 {
        let errors = targets.iter().zip(values.iter().zip(predictions));
        let costs = errors.map(|(target, (value, prediction))| self.of((prediction - value) / target.std));
        costs.sum::<f64>() / targets.len() as f64
    }
}

/// What a part of a split says about a regression.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RegressionStatistics {
    /// Samples that were scored.
    pub samples: u64,
    /// Σ of the loss, in standard deviations.
    pub loss_sum: f64,
    /// Of each target, in the order of the outputs.
    pub targets: Vec<Moments>,
}

impl RegressionStatistics {
    /// Of samples, each with its true values and its predictions in the order of the outputs.
    pub fn of_samples<'a>(samples: impl IntoIterator<Item = (&'a [f64], &'a [f64])>, loss_sum: f64) -> Self {
        let mut collected = RegressionSamples::default();
        for (values, predictions) in samples {
            collected.add(values, predictions);
        }
        let sums = collected.finish();
        Self { loss_sum, ..sums }
    }

    /// Whether there are moments of each target, of all samples, and all are numbers.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, targets: usize) -> Result<(), StatisticsError> {
        let found = self.targets.len();
        if found != targets && self.samples > 0 {
            return Err(StatisticsError::Targets { targets, found });
        }
        let cannot_be = |moments: &&Moments| moments.samples != self.samples || !moments.is_finite();
        match self.targets.iter().find(cannot_be) {
            None => Ok(()),
            Some(found) => Err(StatisticsError::Moments {
                samples: self.samples,
                found: Box::new(*found),
            }),
        }
    }

    /// The sum of parts, in the order given.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let parts: Vec<&Self> = parts.into_iter().collect();
        let targets = parts.iter().map(|part| part.targets.len()).max().unwrap_or_default();
        let of_target = |target: usize| Moments::merged(parts.iter().filter_map(move |part| part.targets.get(target)));
        let loss: Sum = parts.iter().map(|part| part.loss_sum).collect();
        Self {
            samples: parts.iter().fold(0, |sum, part| sum.saturating_add(part.samples)),
            loss_sum: loss.value(),
            targets: (0..targets).map(of_target).collect(),
        }
    }

    /// The metrics that follow from the moments; `None` of no samples.
    pub fn evaluate(&self) -> Option<Metrics> {
        if self.samples == 0 {
            return None;
        }
        let of_targets: Vec<_> = self.targets.iter().map(targets::of_moments).collect();
        let mut values = targets::mean(&of_targets);
        values.insert("loss".to_owned(), self.loss_sum / self.samples as f64);
        Some(Metrics {
            samples: self.samples,
            values,
            detail: Detail::Regression { targets: of_targets },
            intervals: None,
            thresholds: Vec::new(),
        })
    }

    /// Whether they are what recorded metrics of the targets were made of, as far as they say.
    pub fn agrees(&self, recorded: &[BTreeMap<String, f64>]) -> bool {
        let expected: Vec<_> = self.targets.iter().map(targets::of_moments).collect();
        difference(&expected, recorded).is_none()
    }
}

/// Samples one by one, of which no more than a block is in memory.
#[derive(Debug, Default)]
pub struct RegressionSamples {
    /// Of each target.
    block: Vec<Vec<(f64, f64)>>,
    blocks: Vec<RegressionStatistics>,
}

impl RegressionSamples {
    /// Adds a sample without its loss.
    pub fn add(&mut self, values: &[f64], predictions: &[f64]) {
        self.block.resize(values.len(), Vec::new());
        for (pairs, pair) in self.block.iter_mut().zip(values.iter().zip(predictions)) {
            pairs.push((*pair.0, *pair.1));
        }
        if self.block.first().is_some_and(|pairs| pairs.len() == BLOCK) {
            self.close_block();
        }
    }

    fn close_block(&mut self) {
        let samples = self.block.first().map_or(0, |pairs| pairs.len() as u64);
        self.blocks.push(RegressionStatistics {
            samples,
            loss_sum: 0.0,
            targets: self.block.iter().map(|pairs| Moments::of_pairs(pairs)).collect(),
        });
        self.block.iter_mut().for_each(Vec::clear);
    }

    /// Of all that were added, without the loss.
    pub fn finish(mut self) -> RegressionStatistics {
        self.close_block();
        RegressionStatistics::merged(&self.blocks)
    }
}

/// Whether recorded metrics of targets can be the expected ones. Sums that were made in another order differ in their last digits.
pub(super) fn difference(expected: &[BTreeMap<String, f64>], found: &[BTreeMap<String, f64>]) -> Option<&'static str> {
    let near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0);
    let all_near = |(expected, found): (&BTreeMap<String, f64>, &BTreeMap<String, f64>)| {
        let mut both = expected
            .iter()
            .filter_map(|(name, value)| Some((*value, *found.get(name)?)));
        both.all(|(expected, found)| near(expected, found))
    };
    let is_same = expected.len() == found.len() && expected.iter().zip(found).all(all_near);
    (!is_same).then_some("the metrics of single targets do not follow from those of its shards")
}

pub(super) fn schema_difference(expected: &[Target], found: &[Target]) -> Option<String> {
    let list = |targets: &[Target]| {
        let target = |target: &Target| format!("{} of mean {} and deviation {}", target.name, target.mean, target.std);
        targets.iter().map(target).collect::<Vec<_>>().join(", ")
    };
    (expected != found).then(|| format!("targets: expected [{}], found [{}]", list(expected), list(found)))
}

pub(super) fn check_schema(schema: Schema<'_>) -> Result<(), String> {
    if schema.targets.is_empty() || !schema.classes.is_empty() {
        let (targets, classes) = (schema.targets.len(), schema.classes.len());
        return Err(format!(
            "expected at least one target and no classes, found {targets} and {classes}"
        ));
    }
    let is_scale = |target: &Target| target.mean.is_finite() && target.std.is_finite() && target.std > 0.0;
    match schema.targets.iter().find(|target| !is_scale(target)) {
        None => Ok(()),
        Some(Target { name, mean, std }) => Err(format!(
            "expected a finite mean and a finite standard deviation above 0 of `{name}`, found {mean} and {std}"
        )),
    }
}

pub(super) fn check_split(class_counts: &[u64]) -> Result<(), String> {
    match class_counts.len() {
        0 => Ok(()),
        found => Err(format!("expected no class counts, found {found}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Statistics;

    fn statistics() -> RegressionStatistics {
        let samples: [(&[f64], &[f64]); 3] = [
            (&[1.0, 10.0], &[1.5, 12.0]),
            (&[2.0, 20.0], &[2.0, 16.0]),
            (&[4.0, 30.0], &[3.0, 33.0]),
        ];
        RegressionStatistics::of_samples(samples, 2.0)
    }

    #[test]
    fn metrics_are_the_mean_over_targets_and_those_of_each_stand_beside_it() {
        let metrics = statistics().evaluate().unwrap();
        assert_eq!(metrics.values["mae"], (0.5 + 3.0) / 2.0);
        let Detail::Regression { targets } = &metrics.detail else {
            panic!("expected targets, found {:?}", metrics.detail);
        };
        assert_eq!((targets[0]["mae"], targets[1]["mae"]), (0.5, 3.0));
        assert_eq!(metrics.values["loss"], 2.0 / 3.0);
        assert!(statistics().agrees(targets));
        let mut other = targets.clone();
        other[1].insert("mae".to_owned(), 3.000_001);
        assert!(!statistics().agrees(&other) && !statistics().agrees(&targets[..1]));
        assert_eq!(RegressionStatistics::default().evaluate(), None);
    }

    #[test]
    fn moments_that_cannot_be_are_refused() {
        assert_eq!(statistics().check(2), Ok(()));
        let message = |statistics: RegressionStatistics| statistics.check(2).unwrap_err().to_string();
        let mut few = statistics();
        few.targets.pop();
        assert_eq!(message(few), "expected moments of 2 targets, found 1");
        let mut more = statistics();
        more.samples += 1;
        assert!(message(more).starts_with("expected finite moments of 4 samples, found"));
        let mut endless = statistics();
        endless.targets[0].products = f64::INFINITY;
        assert!(message(endless).starts_with("expected finite moments of 3 samples, found"));
    }

    #[test]
    fn a_record_tells_them_from_counts_of_classes() {
        let stored = serde_json::to_string(&Statistics::Regression(statistics())).unwrap();
        assert_eq!(
            serde_json::from_str::<Statistics>(&stored).unwrap(),
            Statistics::Regression(statistics())
        );
    }
}

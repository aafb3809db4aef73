//! The samples of a split as the [bootstrap](super::bootstrap) draws them again: what each is worth and how they are ordered is found once, and
//! then only counted.

use std::collections::BTreeMap;

use super::bootstrap::{Redrawn, Resample};
use super::calibration::Calibration;
use super::columns::Columns;
use super::counts::{ClassCounts, Counts, square_between};
use super::lanes::{Drawn, Weights};
use super::moments::Moments;
use super::ordered::Ordered;
use super::ranks::Orders;
use super::scored::{Scored, negative_log_likelihood};
use super::scores::{ScoreMetrics, calibrated};
use super::table::{Formula, METRICS};
use super::targets;

/// The name of a metric, and what each sample is worth; `None`: it is undefined.
type OfSamples = (&'static str, Option<Vec<f64>>);

/// Samples of one class each.
pub struct RedrawnClasses {
    classes: usize,
    labels: Vec<u32>,
    /// The predicted class of each sample and its probability.
    likeliest: Vec<(u32, f64)>,
    values: Vec<OfSamples>,
    columns: Vec<(u32, Option<Ordered>)>,
}

type OfSample = fn(&Scored<'_>) -> Option<f64>;

/// What is the mean over samples, the loss included.
fn of_sample() -> impl Iterator<Item = (&'static str, OfSample)> {
    METRICS.iter().filter_map(|metric| match metric.formula {
        Formula::Loss => Some((metric.name, negative_log_likelihood as OfSample)),
        Formula::Predictions(formula) => Some((metric.name, formula)),
        _ => None,
    })
}

impl RedrawnClasses {
    /// Of a model with so many outputs.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            labels: Vec::new(),
            likeliest: Vec::new(),
            values: of_sample().map(|(name, _)| (name, Some(Vec::new()))).collect(),
            columns: Vec::new(),
        }
    }

    /// Adds a sample. One without scores is passed over.
    pub fn add(&mut self, sample: &Scored<'_>) {
        let Some(likeliest) = sample.likeliest() else { return };
        self.labels.push(sample.label);
        self.likeliest.push(likeliest);
        for ((_, values), (_, formula)) in self.values.iter_mut().zip(of_sample()) {
            match (formula(sample), &mut *values) {
                (Some(value), Some(values)) => values.push(value),
                _ => *values = None,
            }
        }
    }

    /// Adds the scores of a class, once all samples were added, in their order. Without those of [`ScoreMetrics::wanted`], metrics that compare
    /// samples class by class are left out.
    pub fn add_column(&mut self, class: u32, scores: Vec<f64>) {
        self.columns.push((class, Ordered::of(scores)));
    }

    fn counts(&self, weights: &[u32]) -> Counts {
        let mut classes = vec![ClassCounts::default(); self.classes];
        for ((label, (predicted, _)), weight) in self.labels.iter().zip(&self.likeliest).zip(weights) {
            let weight = u64::from(*weight);
            classes[*label as usize].labelled += weight;
            classes[*predicted as usize].predicted += weight;
            classes[*label as usize].right += if label == predicted { weight } else { 0 };
        }
        let samples = weights.iter().map(|weight| u64::from(*weight)).sum();
        let squares = self.labels.iter().zip(&self.likeliest).zip(weights);
        let squares =
            squares.map(|((label, (predicted, _)), weight)| square_between(*label, *predicted) * u128::from(*weight));
        Counts {
            samples,
            classes,
            squares: squares.sum(),
        }
    }

    fn calibration(&self, weights: &[u32]) -> Calibration {
        let mut calibration = Calibration::default();
        for ((label, (predicted, score)), weight) in self.labels.iter().zip(&self.likeliest).zip(weights) {
            calibration.add(*score, predicted == label, *weight);
        }
        calibration
    }

    /// Of each resample.
    fn compared<W: Weights>(&self, weights: W) -> Vec<BTreeMap<&'static str, f64>> {
        if self.columns.len() != ScoreMetrics::wanted(self.classes).len() {
            return vec![BTreeMap::new(); weights.lanes()];
        }
        let mut columns = Columns::new(self.classes, &self.labels, weights);
        for (class, scores) in &self.columns {
            columns.add(*class, scores.as_ref());
        }
        columns.finish()
    }

    /// With the metrics that do not compare samples.
    fn of_samples(&self, weights: &[u32]) -> Resample {
        let counts = self.counts(weights);
        if counts.samples == 0 {
            return Resample::new(BTreeMap::new(), counts.classes);
        }
        let of_counts = METRICS.iter().filter_map(|metric| match metric.formula {
            Formula::Accuracy(formula) | Formula::Counts(formula) | Formula::PerClass(formula) => {
                Some((metric.name, formula(&counts)?))
            }
            _ => None,
        });
        let means = self.values.iter();
        let means = means.filter_map(|(name, values)| Some((*name, mean(values.as_ref()?, weights))));
        let calibration = self.calibration(weights);
        let metrics = of_counts.chain(calibrated(&calibration)).chain(means).collect();
        Resample::new(metrics, counts.classes)
    }
}

impl Redrawn for RedrawnClasses {
    fn samples(&self) -> usize {
        self.labels.len()
    }

    fn resample(&self, weights: &[u32]) -> Resample {
        let mut resample = self.of_samples(weights);
        resample.metrics.extend(self.compared(weights).swap_remove(0));
        resample
    }

    fn resamples(&self, drawn: &Drawn) -> Vec<Resample> {
        let compared = self.compared(drawn).into_iter().enumerate();
        let resample = |(lane, compared)| {
            let mut resample = self.of_samples(&drawn.weights(lane));
            resample.metrics.extend::<BTreeMap<_, _>>(compared);
            resample
        };
        compared.map(resample).collect()
    }
}

/// Of numbers, each counting so often.
pub(super) fn mean(values: &[f64], weights: &[u32]) -> f64 {
    // What is not drawn may be infinite.
    let drawn = values.iter().zip(weights).filter(|(_, weight)| **weight > 0);
    let (sum, samples) = drawn.fold((0.0, 0.0), |(sum, samples), (value, weight)| {
        (sum + f64::from(*weight) * value, samples + f64::from(*weight))
    });
    sum / samples
}

/// Samples of numbers.
pub struct RedrawnNumbers {
    losses: Vec<f64>,
    targets: Vec<RedrawnTarget>,
}

struct RedrawnTarget {
    pairs: Vec<(f64, f64)>,
    orders: Orders,
    errors: Vec<(&'static str, Vec<f64>)>,
}

impl RedrawnNumbers {
    /// Of the loss of each sample, and the (value, prediction) pairs of each target.
    pub fn new(losses: Vec<f64>, targets: Vec<Vec<(f64, f64)>>) -> Self {
        let targets = targets.into_iter().map(RedrawnTarget::new).collect();
        Self { losses, targets }
    }
}

impl RedrawnTarget {
    fn new(pairs: Vec<(f64, f64)>) -> Self {
        let errors = METRICS.iter().filter_map(|metric| match metric.formula {
            Formula::Errors(error) => {
                let errors = pairs.iter().map(|(value, prediction)| error(*value, *prediction));
                Some((metric.name, errors.collect()))
            }
            _ => None,
        });
        Self {
            orders: Orders::of_pairs(&pairs),
            errors: errors.collect(),
            pairs,
        }
    }

    fn metrics(&self, weights: &[u32]) -> BTreeMap<String, f64> {
        let moments = Moments::of_weighted(&self.pairs, weights);
        let mut metrics = targets::of_moments(&moments);
        let errors = self
            .errors
            .iter()
            .map(|(name, errors)| ((*name).to_owned(), mean(errors, weights)));
        metrics.extend(errors);
        metrics.extend(METRICS.iter().filter_map(|metric| match metric.formula {
            Formula::Orders(formula) => Some((metric.name.to_owned(), formula(&self.orders, weights)?)),
            _ => None,
        }));
        metrics
    }
}

impl Redrawn for RedrawnNumbers {
    fn samples(&self) -> usize {
        self.losses.len()
    }

    fn resample(&self, weights: &[u32]) -> Resample {
        let of_targets: Vec<_> = self.targets.iter().map(|target| target.metrics(weights)).collect();
        let means = targets::mean(&of_targets);
        let mut metrics: BTreeMap<&'static str, f64> = METRICS
            .iter()
            .filter_map(|metric| Some((metric.name, *means.get(metric.name)?)))
            .collect();
        metrics.insert("loss", mean(&self.losses, weights));
        Resample::new(metrics, Vec::new())
    }
}

//! Metrics that compare the scores of one class over all samples: the class against the rest, and against each other class.
//!
//! Classes are added one after the other, so no more than one class's scores have to be in memory. A sample may count several times, or not
//! at all, as it does in a split that is drawn again; everything is counted in integers, and divided once.

use std::collections::BTreeMap;

use super::ordered::Ordered;
use super::table::{Average, Formula, METRICS};

/// Samples with the same score of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tied {
    /// Of the class.
    pub positives: u64,
    /// Of others.
    pub negatives: u64,
}

/// How one class is compared with all others together.
type Rest = fn(&[Tied]) -> Option<f64>;

/// The averages over the classes that were added.
pub(super) struct Columns<'a> {
    /// Of each sample.
    labels: &'a [u32],
    /// How often each sample counts.
    weights: &'a [u32],
    /// How many samples count of each class.
    sizes: Vec<u64>,
    /// By metric: its formula, how it is averaged, and Σ weight · value so far; `None` once it is undefined for a class.
    rest: Vec<(&'static str, Rest, Average, Option<f64>)>,
    /// Σ of the weights of the classes, by average.
    rest_weights: ByAverage,
    /// Σ of the areas over ordered pairs of classes, of their weights, by average; `None` once a score was not a number.
    pairs: Option<(ByAverage, ByAverage)>,
    runs: Vec<Tied>,
    doubled_pairs: Vec<u64>,
}

#[derive(Default, Clone, Copy)]
struct ByAverage {
    macro_average: f64,
    weighted: f64,
}

impl ByAverage {
    fn of(self, average: Average) -> f64 {
        match average {
            Average::Macro => self.macro_average,
            Average::Weighted => self.weighted,
        }
    }
}

impl<'a> Columns<'a> {
    /// Of samples with these labels, each counting so often.
    pub(super) fn new(classes: usize, labels: &'a [u32], weights: &'a [u32]) -> Self {
        let mut sizes = vec![0; classes];
        for (label, weight) in labels.iter().zip(weights) {
            sizes[*label as usize] += u64::from(*weight);
        }
        let formula = |metric: &'static super::Metric| match metric.formula {
            Formula::OneVsRest(formula, average) => Some((metric.name, formula, average, Some(0.0))),
            _ => None,
        };
        Self {
            labels,
            weights,
            sizes,
            rest: METRICS.iter().filter_map(formula).collect(),
            rest_weights: ByAverage::default(),
            pairs: Some((ByAverage::default(), ByAverage::default())),
            runs: Vec::new(),
            doubled_pairs: vec![0; classes],
        }
    }

    /// Adds a class by the order of its scores; `None`: one of them is not a number.
    pub(super) fn add(&mut self, class: u32, scores: Option<&Ordered>) {
        let Some(scores) = scores else {
            self.rest.iter_mut().for_each(|(.., sum)| *sum = None);
            self.pairs = None;
            return;
        };
        self.against_the_rest(class, scores);
        self.against_each(class, scores);
    }

    fn against_the_rest(&mut self, class: u32, scores: &Ordered) {
        self.runs.clear();
        for run in scores.runs() {
            let mut tied = Tied::default();
            for place in run {
                let weight = u64::from(self.weights[*place as usize]);
                match self.labels[*place as usize] == class {
                    true => tied.positives += weight,
                    false => tied.negatives += weight,
                }
            }
            if tied != Tied::default() {
                self.runs.push(tied);
            }
        }
        // Of two classes there is one column, and so no average.
        let weighted = match self.sizes.len() {
            2 => 1.0,
            _ => self.sizes[class as usize] as f64,
        };
        let weights = ByAverage {
            macro_average: 1.0,
            weighted,
        };
        self.rest_weights.macro_average += weights.macro_average;
        self.rest_weights.weighted += weights.weighted;
        for (_, formula, average, sum) in &mut self.rest {
            let weight = weights.of(*average);
            // What weighs nothing may be undefined.
            if weight > 0.0 {
                *sum = sum.and_then(|sum| Some(sum + weight * formula(&self.runs)?));
            }
        }
    }

    /// Hand & Till 2001: of a class and each other one, the area under the ROC curve of this class's score on the samples of both.
    fn against_each(&mut self, class: u32, scores: &Ordered) {
        let Some((sums, weights)) = &mut self.pairs else { return };
        self.doubled_pairs.fill(0);
        let mut above = 0;
        for run in scores.runs().rev() {
            let weight = |place: &u32| u64::from(self.weights[*place as usize]);
            let label = |place: &u32| self.labels[*place as usize];
            let tied: u64 = run.iter().filter(|place| label(place) == class).map(weight).sum();
            for place in run {
                self.doubled_pairs[label(place) as usize] += weight(place) * (2 * above + tied);
            }
            above += tied;
        }
        let size = self.sizes[class as usize];
        for (other, doubled) in self.doubled_pairs.iter().enumerate() {
            let other_size = self.sizes[other];
            if other == class as usize || size == 0 || other_size == 0 {
                continue;
            }
            let area = *doubled as f64 / (2.0 * size as f64 * other_size as f64);
            let weight = (size + other_size) as f64;
            sums.macro_average += area;
            sums.weighted += area * weight;
            weights.macro_average += 1.0;
            weights.weighted += weight;
        }
    }

    /// The values of those that are defined, once all classes were added.
    pub(super) fn finish(&self) -> BTreeMap<&'static str, f64> {
        let mut values = BTreeMap::new();
        for (name, _, average, sum) in &self.rest {
            let weight = self.rest_weights.of(*average);
            values.extend(sum.filter(|_| weight > 0.0).map(|sum| (*name, sum / weight)));
        }
        for metric in METRICS {
            let Formula::OneVsOne(average) = metric.formula else {
                continue;
            };
            let Some((sums, weights)) = self.pairs else { continue };
            if weights.of(average) > 0.0 {
                values.insert(metric.name, sums.of(average) / weights.of(average));
            }
        }
        values
    }
}

/// Of (score, is of the class) pairs; `None` if a score is not a number.
#[cfg(test)]
pub(super) fn tied_of_pairs(samples: &[(f64, bool)]) -> Option<Vec<Tied>> {
    let ordered = Ordered::of(samples.iter().map(|sample| sample.0))?;
    let tied = |run: &[u32]| {
        let positives = run.iter().filter(|place| samples[**place as usize].1).count() as u64;
        let negatives = run.len() as u64 - positives;
        Tied { positives, negatives }
    };
    Some(ordered.runs().map(tied).collect())
}

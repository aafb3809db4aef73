//! One class, or one label, against the rest, by the order of its scores: what is counted of each score, and the averages over all.

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

/// A number by average.
#[derive(Default, Clone, Copy)]
pub(super) struct ByAverage {
    pub(super) macro_average: f64,
    pub(super) weighted: f64,
}

impl ByAverage {
    pub(super) fn of(self, average: Average) -> f64 {
        match average {
            Average::Macro => self.macro_average,
            Average::Weighted => self.weighted,
        }
    }
}

/// The averages over the classes that were added.
pub(super) struct OneVsRest {
    /// By metric: its formula, how it is averaged, and Σ weight · value so far; `None` once it is undefined for a class.
    sums: Vec<(&'static str, Rest, Average, Option<f64>)>,
    /// Σ of the weights of the classes, by average.
    weights: ByAverage,
    runs: Vec<Tied>,
}

impl OneVsRest {
    pub(super) fn new() -> Self {
        let formula = |metric: &'static super::Metric| match metric.formula {
            Formula::OneVsRest(formula, average) => Some((metric.name, formula, average, Some(0.0))),
            _ => None,
        };
        Self {
            sums: METRICS.iter().filter_map(formula).collect(),
            weights: ByAverage::default(),
            runs: Vec::new(),
        }
    }

    /// Adds a class. `is_positive` and `weights`: of each sample by its place; `weighted`: what the class weighs in the weighted average.
    pub(super) fn add(
        &mut self,
        scores: &Ordered,
        is_positive: impl Fn(usize) -> bool,
        weights: &[u32],
        weighted: f64,
    ) {
        self.runs.clear();
        for run in scores.runs() {
            let mut tied = Tied::default();
            for place in run {
                let weight = u64::from(weights[*place as usize]);
                match is_positive(*place as usize) {
                    true => tied.positives += weight,
                    false => tied.negatives += weight,
                }
            }
            if tied != Tied::default() {
                self.runs.push(tied);
            }
        }
        let of_class = ByAverage {
            macro_average: 1.0,
            weighted,
        };
        self.weights.macro_average += of_class.macro_average;
        self.weights.weighted += of_class.weighted;
        for (_, formula, average, sum) in &mut self.sums {
            let weight = of_class.of(*average);
            // What weighs nothing may be undefined.
            if weight > 0.0 {
                *sum = sum.and_then(|sum| Some(sum + weight * formula(&self.runs)?));
            }
        }
    }

    /// One class has scores that are no numbers: no average is defined.
    pub(super) fn add_undefined(&mut self) {
        self.sums.iter_mut().for_each(|(.., sum)| *sum = None);
    }

    /// The values of those that are defined, once all classes were added.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let value = |(name, _, average, sum): &(&'static str, Rest, Average, Option<f64>)| {
            let weight = self.weights.of(*average);
            sum.filter(|_| weight > 0.0).map(|sum| (*name, sum / weight))
        };
        self.sums.iter().filter_map(value)
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

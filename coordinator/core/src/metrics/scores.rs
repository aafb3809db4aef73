//! Metrics that need the scores of single samples: each class against the rest, one after the other, so that no more than one class's
//! scores have to be in memory.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use super::table::{Formula, METRICS};

type Score = fn(&[(f64, bool)]) -> Option<f64>;

/// Collects the classes of a split, and averages.
pub struct ScoreMetrics {
    wanted: Range<u32>,
    /// By metric: its formula, and the sum so far; `None` once it is undefined for a class.
    sums: Vec<(&'static str, Score, Option<f64>)>,
}

impl ScoreMetrics {
    /// Of a model with so many outputs.
    pub fn new(classes: u32) -> Self {
        let formula = |metric: &'static super::Metric| match metric.formula {
            Formula::Scores(formula) => Some((metric.name, formula, Some(0.0))),
            _ => None,
        };
        Self {
            wanted: match classes {
                0 | 1 => 0..0,
                2 => 1..2,
                more => 0..more,
            },
            sums: METRICS.iter().filter_map(formula).collect(),
        }
    }

    /// The classes whose scores are to be added, in this order.
    pub fn wanted(&self) -> Range<u32> {
        self.wanted.clone()
    }

    /// Adds a class: the score of it for each sample, and whether the sample is of it.
    pub fn add(&mut self, mut samples: Vec<(f64, bool)>) {
        if samples.iter().any(|(score, _)| score.is_nan()) {
            self.sums.iter_mut().for_each(|(_, _, sum)| *sum = None);
            return;
        }
        samples.sort_unstable_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
        for (_, formula, sum) in &mut self.sums {
            *sum = sum.and_then(|sum| Some(sum + formula(&samples)?));
        }
    }

    /// The values of those that are defined, once all classes were added.
    pub fn finish(self) -> BTreeMap<String, f64> {
        let classes = f64::from(self.wanted.end - self.wanted.start);
        let mean = |(name, _, sum): (&str, Score, Option<f64>)| Some((name.to_owned(), sum? / classes));
        match self.wanted.is_empty() {
            true => BTreeMap::new(),
            false => self.sums.into_iter().filter_map(mean).collect(),
        }
    }

    /// All at once, where the scores of a split are in memory: `labels`, the true class of each sample; `scores`, samples × classes,
    /// row-major.
    ///
    /// # Panics
    /// If `scores` does not hold `classes` numbers for each label.
    pub fn of_matrix(labels: &[u32], scores: &[f64], classes: u32) -> BTreeMap<String, f64> {
        let width = classes as usize;
        assert_eq!(
            scores.len(),
            labels.len() * width,
            "one score for each class of each sample"
        );
        let mut metrics = Self::new(classes);
        for class in metrics.wanted() {
            let rows = labels.iter().zip(scores.chunks_exact(width));
            metrics.add(
                rows.map(|(&label, row)| (row[class as usize], label == class))
                    .collect(),
            );
        }
        metrics.finish()
    }
}

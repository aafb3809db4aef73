//! Metrics that need the scores of single samples. First each sample adds what it is worth by itself; then each class is added, one after the
//! other, so that no more than one class's scores have to be in memory.

use std::collections::BTreeMap;
use std::ops::Range;

use super::calibration::Calibration;
use super::columns::Columns;
use super::lanes::Once;
use super::ordered::Ordered;
use super::scored::Scored;
use super::sum::Sum;
use super::table::{Formula, METRICS};

type OfSample = fn(&Scored<'_>) -> Option<f64>;

/// Collects the samples of a split.
pub struct ScoreMetrics {
    classes: usize,
    /// Of each sample.
    labels: Vec<u32>,
    /// By metric: its formula, and the sum so far; `None` once it is undefined for a sample.
    sums: Vec<(&'static str, OfSample, Option<Sum>)>,
    calibration: Calibration,
}

impl ScoreMetrics {
    /// Of a model with so many outputs.
    pub fn new(classes: usize) -> Self {
        let formula = |metric: &'static super::Metric| match metric.formula {
            Formula::Predictions(formula) => Some((metric.name, formula, Some(Sum::default()))),
            _ => None,
        };
        Self {
            classes,
            labels: Vec::new(),
            sums: METRICS.iter().filter_map(formula).collect(),
            calibration: Calibration::default(),
        }
    }

    /// Adds a sample.
    pub fn add(&mut self, sample: &Scored<'_>) {
        self.labels.push(sample.label);
        for (_, formula, sum) in &mut self.sums {
            match (formula(sample), &mut *sum) {
                (Some(value), Some(sum)) => sum.add(value),
                _ => *sum = None,
            }
        }
        if let Some((class, score)) = sample.likeliest() {
            self.calibration.add(score, class == sample.label, 1);
        }
    }

    /// The values of those that are defined, once all samples were added.
    pub fn values(&self) -> BTreeMap<&'static str, f64> {
        let samples = self.labels.len() as f64;
        let mean = |(name, _, sum): &(&'static str, OfSample, Option<Sum>)| Some((*name, (*sum)?.value() / samples));
        match self.labels.is_empty() {
            true => BTreeMap::new(),
            false => self
                .sums
                .iter()
                .filter_map(mean)
                .chain(calibrated(&self.calibration))
                .collect(),
        }
    }

    /// The classes whose scores are to be added then, in this order. Of two, the second says all.
    pub fn wanted(classes: usize) -> Range<u32> {
        match u32::try_from(classes).unwrap_or(u32::MAX) {
            0 | 1 => 0..0,
            2 => 1..2,
            more => 0..more,
        }
    }

    /// Those that compare the samples class by class. `scores` is called for up to `at_once` of the wanted classes, and gives the scores of each of
    /// them, in the order of the samples.
    ///
    /// # Errors
    /// Those of `scores`.
    pub fn of_columns<E>(
        &self,
        at_once: usize,
        mut scores: impl FnMut(&[u32]) -> Result<Vec<Vec<f64>>, E>,
    ) -> Result<BTreeMap<&'static str, f64>, E> {
        let mut columns = Columns::new(self.classes, &self.labels, Once);
        let wanted: Vec<u32> = Self::wanted(self.classes).collect();
        for block in wanted.chunks(at_once.max(1)) {
            for (class, column) in block.iter().zip(scores(block)?) {
                columns.add(*class, Ordered::of(column).as_ref());
            }
        }
        Ok(columns.finish().swap_remove(0))
    }

    /// All at once, where the scores of a split are in memory: `labels`, the true class of each sample; `scores`, samples × classes,
    /// row-major.
    ///
    /// # Panics
    /// If `scores` does not hold `classes` numbers for each label.
    pub fn of_matrix(labels: &[u32], scores: &[f64], classes: usize) -> BTreeMap<String, f64> {
        assert_eq!(
            scores.len(),
            labels.len() * classes,
            "one score for each class of each sample"
        );
        let mut metrics = Self::new(classes);
        let rows = || scores.chunks_exact(classes.max(1));
        for (label, scores) in labels.iter().zip(rows()) {
            metrics.add(&Scored {
                label: *label,
                named: &[],
                scores,
                classes,
            });
        }
        let column = |class: &u32| rows().map(|row| row[*class as usize]).collect();
        let of_columns = metrics.of_columns(1, |block| Ok::<_, ()>(block.iter().map(column).collect()));
        let values = metrics.values().into_iter().chain(of_columns.unwrap_or_default());
        values.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The metrics that follow from how often predictions of each confidence are right.
pub(super) fn calibrated(calibration: &Calibration) -> impl Iterator<Item = (&'static str, f64)> {
    METRICS.iter().filter_map(move |metric| match metric.formula {
        Formula::Confidence(formula) => Some((metric.name, formula(calibration)?)),
        _ => None,
    })
}

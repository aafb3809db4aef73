//! Metrics that follow from how often each class was true, predicted, and both: scikit-learn's definitions, each in a few lines.

use serde::{Deserialize, Serialize};

/// Samples of one class, or those of one label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// True and predicted.
    pub right: u64,
    /// True.
    pub labelled: u64,
    /// Predicted.
    pub predicted: u64,
}

impl ClassCounts {
    /// Adds so many samples, or labels of a sample.
    pub fn add(&mut self, is_true: bool, is_predicted: bool, count: u64) {
        self.right += if is_true && is_predicted { count } else { 0 };
        self.labelled += if is_true { count } else { 0 };
        self.predicted += if is_predicted { count } else { 0 };
    }

    /// Adds those of another part of the samples.
    pub fn merge(&mut self, part: &Self) {
        self.right = self.right.saturating_add(part.right);
        self.labelled = self.labelled.saturating_add(part.labelled);
        self.predicted = self.predicted.saturating_add(part.predicted);
    }

    /// The same place by place; `sums` grows to the length of `parts`.
    pub fn merge_each(sums: &mut Vec<Self>, parts: &[Self]) {
        if sums.len() < parts.len() {
            sums.resize(parts.len(), Self::default());
        }
        sums.iter_mut().zip(parts).for_each(|(sum, part)| sum.merge(part));
    }

    /// Whether so many samples, or words, can have such counts.
    pub fn can_be_of(&self, total: u64) -> bool {
        self.right <= self.labelled.min(self.predicted) && self.labelled.max(self.predicted) <= total
    }

    /// Of what was predicted as the class, the fraction that is of it; 0 if it was never predicted.
    pub fn precision(&self) -> f64 {
        ratio(self.right, self.predicted)
    }

    /// Of what is of the class, the fraction that was predicted as it; 0 if the split has no sample of it.
    pub fn recall(&self) -> f64 {
        ratio(self.right, self.labelled)
    }

    /// The harmonic mean of the two; 0 if neither.
    pub fn f1(&self) -> f64 {
        ratio(2 * self.right, self.labelled + self.predicted)
    }
}

/// Of all classes, or labels, of the training schema. Classes exclude each other: of each sample one is true and one is predicted. Labels do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Samples scored, at least 1.
    pub samples: u64,
    /// In the order of the classes.
    pub classes: Vec<ClassCounts>,
    /// Of classes that exclude each other: Σ over samples of the squared difference between true and predicted class, as their places in the order.
    pub squares: u128,
}

/// The squared difference of two places.
pub(crate) fn square_between(one: u32, other: u32) -> u128 {
    u128::from(one.abs_diff(other)).pow(2)
}

impl Counts {
    fn right(&self) -> u64 {
        self.classes.iter().map(|class| class.right).sum()
    }

    /// Every class counts the same, also one without samples.
    fn macro_average(&self, of: fn(&ClassCounts) -> f64) -> f64 {
        self.classes.iter().map(of).sum::<f64>() / self.classes.len() as f64
    }

    /// Every class counts as its true samples; 0 without any.
    fn weighted_average(&self, of: fn(&ClassCounts) -> f64) -> f64 {
        let weighted = self.classes.iter().map(|class| of(class) * class.labelled as f64);
        match self.pooled().labelled {
            0 => 0.0,
            labelled => weighted.sum::<f64>() / labelled as f64,
        }
    }

    /// Of all classes together.
    fn pooled(&self) -> ClassCounts {
        let mut pooled = ClassCounts::default();
        for class in &self.classes {
            pooled.right += class.right;
            pooled.labelled += class.labelled;
            pooled.predicted += class.predicted;
        }
        pooled
    }
}

/// With scikit-learn's `zero_division=0`.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Of classes that exclude each other.
pub(super) fn accuracy(counts: &Counts) -> Option<f64> {
    Some(counts.right() as f64 / counts.samples as f64)
}

/// Of classes that exclude each other, the accuracy: each sample has one of them and one prediction. So are recall and F1.
pub(super) fn precision_micro(counts: &Counts) -> Option<f64> {
    Some(counts.pooled().precision())
}

pub(super) fn recall_micro(counts: &Counts) -> Option<f64> {
    Some(counts.pooled().recall())
}

pub(super) fn f1_micro(counts: &Counts) -> Option<f64> {
    Some(counts.pooled().f1())
}

pub(super) fn precision_macro(counts: &Counts) -> Option<f64> {
    Some(counts.macro_average(ClassCounts::precision))
}

pub(super) fn recall_macro(counts: &Counts) -> Option<f64> {
    Some(counts.macro_average(ClassCounts::recall))
}

pub(super) fn f1_macro(counts: &Counts) -> Option<f64> {
    Some(counts.macro_average(ClassCounts::f1))
}

pub(super) fn precision_weighted(counts: &Counts) -> Option<f64> {
    Some(counts.weighted_average(ClassCounts::precision))
}

pub(super) fn recall_weighted(counts: &Counts) -> Option<f64> {
    Some(counts.weighted_average(ClassCounts::recall))
}

pub(super) fn f1_weighted(counts: &Counts) -> Option<f64> {
    Some(counts.weighted_average(ClassCounts::f1))
}

/// Mean recall of the classes that have true samples (`sklearn.metrics.balanced_accuracy_score`).
pub(super) fn balanced_accuracy(counts: &Counts) -> Option<f64> {
    let present = || counts.classes.iter().filter(|class| class.labelled > 0);
    Some(present().map(ClassCounts::recall).sum::<f64>() / present().count() as f64)
}

/// Gorodkin's R_K (`sklearn.metrics.matthews_corrcoef`); 0 where a single class was true or predicted.
pub(super) fn matthews_correlation(counts: &Counts) -> Option<f64> {
    let samples = i128::from(counts.samples);
    let products = |of: fn(&ClassCounts) -> (u64, u64)| -> i128 {
        let pairs = counts.classes.iter().map(of);
        pairs.map(|(a, b)| i128::from(a) * i128::from(b)).sum()
    };
    let covariance = i128::from(counts.right()) * samples - products(|class| (class.labelled, class.predicted));
    let predicted = samples * samples - products(|class| (class.predicted, class.predicted));
    let labelled = samples * samples - products(|class| (class.labelled, class.labelled));
    if predicted == 0 || labelled == 0 {
        return Some(0.0);
    }
    Some(covariance as f64 / (predicted as f64 * labelled as f64).sqrt())
}

/// Cohen 1960 (`sklearn.metrics.cohen_kappa_score`); undefined where all labels and all predictions are one and the same class.
pub(super) fn cohen_kappa(counts: &Counts) -> Option<f64> {
    let samples = i128::from(counts.samples);
    let right = i128::from(counts.right());
    let by_chance: i128 = counts
        .classes
        .iter()
        .map(|class| i128::from(class.labelled) * i128::from(class.predicted))
        .sum();
    let wrong_by_chance = samples * samples - by_chance;
    (wrong_by_chance > 0).then(|| 1.0 - ((samples - right) * samples) as f64 / wrong_by_chance as f64)
}

/// Cohen 1968 with squares of distances as weights (`sklearn.metrics.cohen_kappa_score(weights="quadratic")`), of classes that are ranks; undefined where all
/// labels and all predictions are one and the same class.
pub(super) fn quadratic_weighted_kappa(counts: &Counts) -> Option<f64> {
    let samples = u128::from(counts.samples);
    let moment = |of: fn(&ClassCounts) -> u64, power: u32| -> u128 {
        let classes = (0u128..).zip(&counts.classes);
        classes
            .map(|(rank, class)| rank.pow(power) * u128::from(of(class)))
            .sum()
    };
    let labelled: fn(&ClassCounts) -> u64 = |class| class.labelled;
    let predicted: fn(&ClassCounts) -> u64 = |class| class.predicted;
    // Σ over classes i and j of (i - j)² · labelled i · predicted j.
    let by_chance =
        samples * (moment(labelled, 2) + moment(predicted, 2)) - 2 * moment(labelled, 1) * moment(predicted, 1);
    (by_chance > 0).then(|| 1.0 - (counts.squares * samples) as f64 / by_chance as f64)
}

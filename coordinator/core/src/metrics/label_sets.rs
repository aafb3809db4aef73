//! Metrics that are the mean over samples of how far the predicted labels of one are the true ones, where a sample may have none, one or
//! several. scikit-learn's definitions for indicator matrices, with `zero_division=0`.

use super::counts::ClassCounts;
use super::thresholds::Thresholds;

/// What a network says of one sample that may have several labels, and what is true.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// The labels that it has, in rising order.
    pub labels: &'a [u32],
    /// The probability of each label of the training schema.
    pub scores: &'a [f64],
    /// From which probability on a label is predicted.
    pub thresholds: Thresholds<'a>,
}

/// How the labels of one sample and those that are predicted of it agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelSet {
    /// Labels that are true, predicted, and both.
    pub counts: ClassCounts,
    /// Labels of the training schema, at least 1.
    pub labels: usize,
}

impl<'a> Labelled<'a> {
    /// Of each label of the schema: whether it is true, and whether it is predicted.
    pub fn by_label(self) -> impl Iterator<Item = (bool, bool)> + use<'a> {
        let mut labels = self.labels.iter().peekable();
        self.scores.iter().enumerate().map(move |(label, score)| {
            let is_true = labels.next_if(|own| **own as usize == label).is_some();
            (is_true, *score >= self.thresholds.of(label))
        })
    }

    /// How true and predicted labels agree.
    pub fn set(&self) -> LabelSet {
        let mut counts = ClassCounts::default();
        for (is_true, is_predicted) in self.by_label() {
            counts.add(is_true, is_predicted, 1);
        }
        LabelSet {
            counts,
            labels: self.scores.len(),
        }
    }

    /// The mean over labels of the binary cross-entropy, without weights.
    pub fn cross_entropy(&self) -> f64 {
        let losses = self.by_label().zip(self.scores);
        let losses = losses.map(|((is_true, _), score)| if is_true { -score.ln() } else { -(-score).ln_1p() });
        losses.sum::<f64>() / self.scores.len() as f64
    }
}

/// 1 if the two sets are one: `sklearn.metrics.accuracy_score` of label sets.
pub(super) fn exact_match(set: &LabelSet) -> f64 {
    let ClassCounts {
        right,
        labelled,
        predicted,
    } = set.counts;
    f64::from(u8::from(labelled == right && predicted == right))
}

/// The fraction of labels that are in one set alone: `sklearn.metrics.hamming_loss`.
pub(super) fn hamming_loss(set: &LabelSet) -> f64 {
    let wrong = set.counts.labelled + set.counts.predicted - 2 * set.counts.right;
    wrong as f64 / set.labels as f64
}

pub(super) fn precision(set: &LabelSet) -> f64 {
    set.counts.precision()
}

pub(super) fn recall(set: &LabelSet) -> f64 {
    set.counts.recall()
}

pub(super) fn f1(set: &LabelSet) -> f64 {
    set.counts.f1()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &[u32], scores: &[f64]) -> LabelSet {
        let thresholds = Thresholds::Same(0.5);
        Labelled {
            labels,
            scores,
            thresholds,
        }
        .set()
    }

    #[test]
    fn a_sample_may_have_several_labels_or_none() {
        let several = set(&[0, 2], &[0.5, 0.9, 0.1, 0.2]);
        assert_eq!((exact_match(&several), hamming_loss(&several)), (0.0, 0.5));
        assert_eq!((precision(&several), recall(&several), f1(&several)), (0.5, 0.5, 0.5));
        let none = set(&[], &[0.1, 0.2]);
        assert_eq!((exact_match(&none), hamming_loss(&none), f1(&none)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn the_cross_entropy_is_the_mean_over_labels() {
        let sample = Labelled {
            labels: &[1],
            scores: &[0.25, 0.5],
            thresholds: Thresholds::Same(0.5),
        };
        assert_eq!(sample.cross_entropy(), -(0.75f64.ln() + 0.5f64.ln()) / 2.0);
    }
}

//! What follows from the counts: scikit-learn's definitions, each in a few lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::{MetricName, Word};

/// All that is said about a classifier on a split; names as in scikit-learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationMetrics {
    /// Samples scored.
    pub samples: u64,
    /// Mean unweighted cross-entropy.
    pub loss: f64,
    /// Fraction of samples whose class is right.
    pub accuracy: f64,
    /// Mean recall of the classes that the split holds.
    pub balanced_accuracy: f64,
    /// Of what was predicted as a class, the fraction that is of it.
    pub precision: Averages,
    /// Of what is of a class, the fraction that was predicted as it.
    pub recall: Averages,
    /// Harmonic mean of the two, by class, then averaged.
    pub f1: Averages,
    /// In [−1, 1].
    pub matthews_correlation: f64,
    /// Agreement beyond chance; `None` where undefined.
    pub cohen_kappa: Option<f64>,
    /// Area under the ROC curve; `None` where undefined or not computed.
    pub roc_auc: Option<f64>,
    /// In the order of the classes.
    pub per_class: Vec<ClassMetrics>,
    /// Row: true class; column: predicted class; row-major.
    pub confusion: Vec<u64>,
}

/// One quantity over all classes of the training schema, averaged in three ways.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Averages {
    /// Every class counts the same, also one without samples.
    #[serde(rename = "macro")]
    pub macro_average: f64,
    /// From pooled counts; every sample counts the same.
    pub micro: f64,
    /// Every class counts as its true samples.
    pub weighted: f64,
}

/// Of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// 0 if the class was never predicted.
    pub precision: f64,
    /// 0 if the split has no sample of it.
    pub recall: f64,
    /// 0 if neither.
    pub f1: f64,
    /// True samples.
    pub support: u64,
}

impl ClassificationMetrics {
    /// The metric that chooses checkpoints; `None` if it is undefined for this split.
    pub fn value(&self, name: MetricName) -> Option<f64> {
        match name {
            MetricName::Loss => Some(self.loss),
            MetricName::Accuracy => Some(self.accuracy),
            MetricName::PrecisionMacro => Some(self.precision.macro_average),
            MetricName::RecallMacro => Some(self.recall.macro_average),
            MetricName::F1Macro => Some(self.f1.macro_average),
            MetricName::F1Weighted => Some(self.f1.weighted),
            MetricName::F1Micro => Some(self.f1.micro),
            MetricName::RocAuc => self.roc_auc,
        }
    }

    /// All numbers by name, as they stand in `Evaluation.metrics` and in `metrics.json`; undefined ones are left out.
    pub fn named(&self) -> BTreeMap<String, f64> {
        let mut named: BTreeMap<String, f64> = MetricName::WORDS
            .iter()
            .filter_map(|&(word, name)| self.value(name).map(|value| (word.to_owned(), value)))
            .collect();
        let more = [
            ("balanced_accuracy", Some(self.balanced_accuracy)),
            ("precision_micro", Some(self.precision.micro)),
            ("precision_weighted", Some(self.precision.weighted)),
            ("recall_micro", Some(self.recall.micro)),
            ("recall_weighted", Some(self.recall.weighted)),
            ("matthews_correlation", Some(self.matthews_correlation)),
            ("cohen_kappa", self.cohen_kappa),
        ];
        named.extend(
            more.into_iter()
                .filter_map(|(word, value)| value.map(|value| (word.to_owned(), value))),
        );
        named
    }
}

/// Samples of one class.
pub(super) struct Margin {
    /// True and predicted.
    pub(super) right: u64,
    /// True.
    pub(super) labelled: u64,
    /// Predicted.
    pub(super) predicted: u64,
}

impl Margin {
    pub(super) fn metrics(&self) -> ClassMetrics {
        ClassMetrics {
            precision: ratio(self.right, self.predicted),
            recall: ratio(self.right, self.labelled),
            f1: ratio(2 * self.right, self.labelled + self.predicted),
            support: self.labelled,
        }
    }
}

/// With scikit-learn's `zero_division=0`.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Mean recall of the classes that have true samples (`sklearn.metrics.balanced_accuracy_score`).
pub(super) fn balanced_accuracy(per_class: &[ClassMetrics]) -> f64 {
    let present: Vec<f64> = per_class
        .iter()
        .filter(|class| class.support > 0)
        .map(|class| class.recall)
        .collect();
    present.iter().sum::<f64>() / present.len() as f64
}

/// Gorodkin's R_K (`sklearn.metrics.matthews_corrcoef`); 0 where a single class was true or predicted.
pub(super) fn matthews_correlation(margins: &[Margin], samples: u64) -> f64 {
    let samples = i128::from(samples);
    let products = |of: fn(&Margin) -> (u64, u64)| -> i128 {
        margins.iter().map(of).map(|(a, b)| i128::from(a) * i128::from(b)).sum()
    };
    let right: i128 = margins.iter().map(|margin| i128::from(margin.right)).sum();
    let covariance = right * samples - products(|margin| (margin.labelled, margin.predicted));
    let predicted = samples * samples - products(|margin| (margin.predicted, margin.predicted));
    let labelled = samples * samples - products(|margin| (margin.labelled, margin.labelled));
    if predicted == 0 || labelled == 0 {
        return 0.0;
    }
    covariance as f64 / (predicted as f64 * labelled as f64).sqrt()
}

/// Cohen 1960 (`sklearn.metrics.cohen_kappa_score`); `None` where all labels and all predictions are one and the same class.
pub(super) fn cohen_kappa(margins: &[Margin], samples: u64) -> Option<f64> {
    let samples = i128::from(samples);
    let right: i128 = margins.iter().map(|margin| i128::from(margin.right)).sum();
    let by_chance: i128 = margins
        .iter()
        .map(|margin| i128::from(margin.labelled) * i128::from(margin.predicted))
        .sum();
    let wrong_by_chance = samples * samples - by_chance;
    (wrong_by_chance > 0).then(|| 1.0 - ((samples - right) * samples) as f64 / wrong_by_chance as f64)
}

//! Confusion counts and loss sums: what ranks send, and how it adds up.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::evaluation::{
    Averages, ClassMetrics, ClassificationMetrics, Margin, balanced_accuracy, cohen_kappa, matthews_correlation,
};

/// What a part of a split says about a classifier; parts add up.
///
/// The counts are exact in any order. `loss_sum` is a sum of floats: merge the parts in shard order to get the same last digit each time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationStatistics {
    /// Number of classes of the training schema.
    classes: u32,
    /// Σ of the unweighted cross-entropy of each sample.
    loss_sum: f64,
    /// Row: true class; column: predicted class; row-major; classes × classes.
    confusion: Vec<u64>,
}

/// Statistics that cannot be those of a part of this split.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum StatisticsError {
    /// Parts of different schemas.
    #[error("expected statistics over {expected} classes, found {found}")]
    Classes {
        /// Classes of the training schema.
        expected: u32,
        /// Classes of the part.
        found: u32,
    },
    /// A matrix of the wrong size.
    #[error("expected {expected} confusion counts for {classes} classes, found {found}")]
    Shape {
        /// Classes of the training schema.
        classes: u32,
        /// classes × classes.
        expected: usize,
        /// Numbers that came.
        found: usize,
    },
    /// Counts that say something else than the sample count.
    #[error("expected confusion counts of {samples} samples, found {counted}")]
    Samples {
        /// Samples that the part says it scored.
        samples: u64,
        /// Sum of its counts.
        counted: u128,
    },
    /// A class that the schema does not have.
    #[error("expected a class below {classes}, found {class}")]
    Class {
        /// Classes of the training schema.
        classes: u32,
        /// The class that came.
        class: u32,
    },
}

impl ClassificationStatistics {
    /// Of no samples.
    pub fn new(classes: u32) -> Self {
        let width = classes as usize;
        Self {
            classes,
            loss_sum: 0.0,
            confusion: vec![0; width * width],
        }
    }

    /// From what a rank reported.
    ///
    /// # Errors
    /// If the numbers cannot belong together.
    pub fn from_parts(classes: u32, samples: u64, loss_sum: f64, confusion: Vec<u64>) -> Result<Self, StatisticsError> {
        let expected = classes as usize * classes as usize;
        if confusion.len() != expected {
            return Err(StatisticsError::Shape {
                classes,
                expected,
                found: confusion.len(),
            });
        }
        let counted: u128 = confusion.iter().map(|&count| u128::from(count)).sum();
        if counted != u128::from(samples) {
            return Err(StatisticsError::Samples { samples, counted });
        }
        Ok(Self {
            classes,
            loss_sum,
            confusion,
        })
    }

    /// Adds one sample.
    ///
    /// # Errors
    /// If a class is not of the schema.
    pub fn record(&mut self, label: u32, predicted: u32, loss: f64) -> Result<(), StatisticsError> {
        for class in [label, predicted] {
            if class >= self.classes {
                return Err(StatisticsError::Class {
                    classes: self.classes,
                    class,
                });
            }
        }
        self.confusion[label as usize * self.classes as usize + predicted as usize] += 1;
        self.loss_sum += loss;
        Ok(())
    }

    /// Adds another part of the same split.
    ///
    /// # Errors
    /// If it is of another schema; then nothing is added.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatisticsError> {
        if other.classes != self.classes {
            return Err(StatisticsError::Classes {
                expected: self.classes,
                found: other.classes,
            });
        }
        for (count, more) in self.confusion.iter_mut().zip(&other.confusion) {
            *count += more;
        }
        self.loss_sum += other.loss_sum;
        Ok(())
    }

    /// Samples that were scored.
    pub fn samples(&self) -> u64 {
        self.confusion.iter().sum()
    }

    /// Classes of the training schema.
    pub fn classes(&self) -> u32 {
        self.classes
    }

    /// Σ of the unweighted cross-entropy.
    pub fn loss_sum(&self) -> f64 {
        self.loss_sum
    }

    /// Row: true class; column: predicted class; row-major.
    pub fn confusion(&self) -> &[u64] {
        &self.confusion
    }

    /// The metrics of all that was added; `None` if that is nothing. `roc_auc` comes from the scores (see [`super::roc_auc`]).
    pub fn evaluate(&self, roc_auc: Option<f64>) -> Option<ClassificationMetrics> {
        let samples = self.samples();
        if samples == 0 {
            return None;
        }
        let margins = self.margins();
        let per_class: Vec<ClassMetrics> = margins.iter().map(Margin::metrics).collect();
        let accuracy = margins.iter().map(|margin| margin.right).sum::<u64>() as f64 / samples as f64;
        let averages = |of: fn(&ClassMetrics) -> f64| Averages {
            macro_average: per_class.iter().map(of).sum::<f64>() / per_class.len() as f64,
            // Each sample has one label and one prediction, so pooled false positives equal pooled false negatives.
            micro: accuracy,
            weighted: per_class
                .iter()
                .map(|class| of(class) * class.support as f64)
                .sum::<f64>()
                / samples as f64,
        };
        Some(ClassificationMetrics {
            samples,
            loss: self.loss_sum / samples as f64,
            accuracy,
            balanced_accuracy: balanced_accuracy(&per_class),
            precision: averages(|class| class.precision),
            recall: averages(|class| class.recall),
            f1: averages(|class| class.f1),
            matthews_correlation: matthews_correlation(&margins, samples),
            cohen_kappa: cohen_kappa(&margins, samples),
            roc_auc,
            per_class,
            confusion: self.confusion.clone(),
        })
    }

    fn margins(&self) -> Vec<Margin> {
        let width = self.classes as usize;
        (0..width)
            .map(|class| Margin {
                right: self.confusion[class * width + class],
                labelled: self.confusion[class * width..(class + 1) * width].iter().sum(),
                predicted: (0..width).map(|label| self.confusion[label * width + class]).sum(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::MetricName;

    #[test]
    fn parts_of_another_schema_are_refused_and_add_nothing() {
        let mut statistics = ClassificationStatistics::new(3);
        let before = statistics.clone();
        let error = statistics.merge(&ClassificationStatistics::new(2)).unwrap_err();
        assert_eq!(error.to_string(), "expected statistics over 3 classes, found 2");
        assert_eq!(statistics, before);
        assert!(statistics.record(0, 3, 0.1).is_err());
        assert_eq!(statistics, before);
    }

    #[test]
    fn a_report_whose_counts_do_not_add_up_is_refused() {
        let error = ClassificationStatistics::from_parts(2, 5, 1.0, vec![1, 1, 1, 1]).unwrap_err();
        assert_eq!(error, StatisticsError::Samples { samples: 5, counted: 4 });
        let error = ClassificationStatistics::from_parts(2, 3, 1.0, vec![1, 1, 1]).unwrap_err();
        assert_eq!(
            error,
            StatisticsError::Shape {
                classes: 2,
                expected: 4,
                found: 3
            }
        );
        assert!(ClassificationStatistics::from_parts(2, 0, 0.0, vec![u64::MAX, 1, 0, 0]).is_err());
    }

    #[test]
    fn no_samples_have_no_metrics() {
        assert_eq!(ClassificationStatistics::new(3).evaluate(None), None);
    }

    #[test]
    fn undefined_numbers_are_left_out_of_the_names() {
        let statistics = ClassificationStatistics::from_parts(2, 4, 2.0, vec![4, 0, 0, 0]).unwrap();
        let metrics = statistics.evaluate(None).unwrap();
        let named = metrics.named();
        assert!(!named.contains_key("roc_auc") && !named.contains_key("cohen_kappa"));
        assert_eq!(named["loss"], 0.5);
        assert_eq!(named["f1_macro"], 0.5);
        assert_eq!(metrics.value(MetricName::RocAuc), None);
    }

    proptest! {
        #[test]
        fn cutting_a_split_into_parts_changes_no_count(
            samples in prop::collection::vec((0u32..4, 0u32..4, 0u32..100), 1..200), cut in 0usize..200,
        ) {
            let cut = cut.min(samples.len());
            let of = |part: &[(u32, u32, u32)]| {
                let mut statistics = ClassificationStatistics::new(4);
                for &(label, predicted, loss) in part {
                    statistics.record(label, predicted, f64::from(loss)).unwrap();
                }
                statistics
            };
            let mut merged = of(&samples[..cut]);
            merged.merge(&of(&samples[cut..])).unwrap();
            prop_assert_eq!(merged.samples(), samples.len() as u64);
            // Whole-number losses: the sums are exact too.
            prop_assert_eq!(merged, of(&samples));
        }
    }
}

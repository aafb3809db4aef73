//! One class for each sample.
//!
//! Counts are kept by cell of the confusion matrix, and only cells that are not 0: there are never more of them than samples, while a
//! matrix of 21,841 classes has 477 million. All that is said of single classes follows from them when it is asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Detail, Metrics, Schema, StatisticsError};
use crate::metrics::{ClassCounts, Counts, Formula, METRICS, Metric, Scored, Sum, square_between};

/// Of up to so many classes every probability of a prediction is kept. Of more, those of the likeliest [`LIKELIEST_CLASSES`] and that of
/// the true class: what a prediction takes then no longer grows with the classes. Metrics that need all scores are left out there.
pub const MOST_SCORED_CLASSES: usize = 1024;
/// Probabilities that are kept of a prediction over more classes.
pub const LIKELIEST_CLASSES: usize = 10;
/// Up to so many classes a confusion matrix is shown as rows and columns; of more, its cells are.
pub const MOST_MATRIX_CLASSES: usize = 256;

/// What a part of a split says about a classifier.
///
/// The counts are exact in any order. `loss_sum` is a sum of floats that keeps its digits: merge the parts in shard order to get the same last one
/// each time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassificationStatistics {
    /// Samples that were scored.
    pub samples: u64,
    /// Σ of the unweighted cross-entropy.
    pub loss_sum: f64,
    /// Cells of the confusion matrix that are not 0, by true and then by predicted class.
    pub confusion: Vec<ConfusionCell>,
}

/// One cell of a confusion matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionCell {
    /// True class.
    pub truth: u32,
    /// Predicted class.
    pub predicted: u32,
    /// Samples.
    pub count: u64,
}

impl ConfusionCell {
    fn place(&self) -> (u32, u32) {
        (self.truth, self.predicted)
    }
}

impl ClassificationStatistics {
    /// Of samples, each with its true and its predicted class.
    pub fn of_samples(samples: impl IntoIterator<Item = (u32, u32)>, loss_sum: f64) -> Self {
        let mut cells = BTreeMap::new();
        let mut counted = 0;
        for place in samples {
            *cells.entry(place).or_insert(0) += 1;
            counted += 1;
        }
        Self {
            samples: counted,
            loss_sum,
            confusion: in_order(cells),
        }
    }

    /// From a whole matrix. Row: true class; column: predicted class; row-major.
    pub fn of_matrix(classes: usize, loss_sum: f64, matrix: &[u64]) -> Self {
        let confusion = cells_of_matrix(classes, matrix);
        Self {
            samples: confusion.iter().map(|cell| cell.count).sum(),
            loss_sum,
            confusion,
        }
    }

    /// Whether the cells are in order, of classes that exist, and add up to the samples.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, classes: usize) -> Result<(), StatisticsError> {
        let is_class = |class: u32| (class as usize) < classes;
        if let Some(&cell) = self
            .confusion
            .iter()
            .find(|cell| !is_class(cell.truth) || !is_class(cell.predicted))
        {
            return Err(StatisticsError::Class { classes, cell });
        }
        let mut pairs = self.confusion.windows(2);
        if let Some(pair) = pairs.find(|pair| pair[0].place() >= pair[1].place()) {
            return Err(StatisticsError::Order { cell: pair[1] });
        }
        let counted: u128 = self.confusion.iter().map(|cell| u128::from(cell.count)).sum();
        match counted == u128::from(self.samples) {
            true => Ok(()),
            false => Err(StatisticsError::Samples {
                samples: self.samples,
                counted,
            }),
        }
    }

    /// The sum of parts, in the order given.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut cells = BTreeMap::new();
        let (mut sum, mut loss) = (Self::default(), Sum::default());
        for part in parts {
            sum.samples = sum.samples.saturating_add(part.samples);
            loss.add(part.loss_sum);
            for cell in &part.confusion {
                let count: &mut u64 = cells.entry(cell.place()).or_default();
                *count = count.saturating_add(cell.count);
            }
        }
        sum.loss_sum = loss.value();
        sum.confusion = in_order(cells);
        sum
    }

    /// Σ over samples of the squared difference between true and predicted class.
    fn squares(&self) -> u128 {
        let cells = self.confusion.iter();
        let squares = cells.map(|cell| square_between(cell.truth, cell.predicted) * u128::from(cell.count));
        squares.sum()
    }

    /// The metrics that follow from the counts; `None` of no samples.
    pub fn evaluate(&self, classes: usize) -> Option<Metrics> {
        if self.samples == 0 {
            return None;
        }
        let counts = Counts {
            samples: self.samples,
            classes: per_class(classes, &self.confusion),
            squares: self.squares(),
        };
        let value = |formula: Formula| match formula {
            Formula::Loss => Some(self.loss_sum / self.samples as f64),
            Formula::Accuracy(formula) | Formula::Counts(formula) | Formula::PerClass(formula) => formula(&counts),
            _ => None,
        };
        let values = METRICS
            .iter()
            .filter_map(|metric| Some((metric.name.to_owned(), value(metric.formula)?)));
        Some(Metrics {
            samples: self.samples,
            values: values.collect(),
            detail: Detail::Classification {
                confusion: self.confusion.clone(),
            },
            intervals: None,
            thresholds: Vec::new(),
        })
    }
}

fn in_order(cells: BTreeMap<(u32, u32), u64>) -> Vec<ConfusionCell> {
    let cell = |((truth, predicted), count)| ConfusionCell {
        truth,
        predicted,
        count,
    };
    cells.into_iter().filter(|(_, count)| *count > 0).map(cell).collect()
}

/// The cells of a whole matrix that are not 0.
pub fn cells_of_matrix(classes: usize, matrix: &[u64]) -> Vec<ConfusionCell> {
    let place = |class: usize| u32::try_from(class).unwrap_or(u32::MAX);
    let cells = matrix.iter().enumerate().filter(|(_, count)| **count > 0);
    let cell = |(at, &count): (usize, &u64)| ConfusionCell {
        truth: place(at / classes.max(1)),
        predicted: place(at % classes.max(1)),
        count,
    };
    cells.map(cell).collect()
}

/// The whole matrix: row: true class; column: predicted class; row-major. For few classes.
pub fn matrix_of_cells(classes: usize, cells: &[ConfusionCell]) -> Vec<u64> {
    let mut matrix = vec![0; classes * classes];
    for cell in cells {
        if let Some(count) = matrix.get_mut(cell.truth as usize * classes + cell.predicted as usize) {
            *count += cell.count;
        }
    }
    matrix
}

/// How often each class was true, predicted, and both. Cells of classes that do not exist are passed over.
pub fn per_class(classes: usize, cells: &[ConfusionCell]) -> Vec<ClassCounts> {
    let mut counts = vec![ClassCounts::default(); classes];
    for cell in cells {
        if let Some(class) = counts.get_mut(cell.truth as usize) {
            class.labelled += cell.count;
            class.right += if cell.truth == cell.predicted { cell.count } else { 0 };
        }
        if let Some(class) = counts.get_mut(cell.predicted as usize) {
            class.predicted += cell.count;
        }
    }
    counts
}

pub(super) fn numbers_per_prediction(classes: usize) -> usize {
    match classes <= MOST_SCORED_CLASSES {
        true => classes,
        // A class and its probability each.
        false => 2 * (LIKELIEST_CLASSES + 1),
    }
}

pub(super) fn can_tell(metric: &Metric, classes: usize) -> bool {
    let all_are_kept = classes <= MOST_SCORED_CLASSES;
    match metric.formula {
        Formula::Predictions(formula) => {
            let scores = vec![1.0 / classes as f64; if all_are_kept { classes } else { 1 }];
            let named: &[u32] = if all_are_kept { &[] } else { &[0] };
            let sample = Scored {
                label: 0,
                named,
                scores: &scores,
                classes,
            };
            formula(&sample).is_some()
        }
        Formula::OneVsRest(..) | Formula::OneVsOne(_) => classes > 1 && all_are_kept,
        _ => true,
    }
}

pub(super) fn check_schema(schema: Schema<'_>) -> Result<(), String> {
    match schema.classes.is_empty() {
        true => Err("expected at least one class, found none".to_owned()),
        false => Ok(()),
    }
}

pub(super) fn schema_difference(expected: &[String], found: &[String]) -> Option<String> {
    (expected != found).then(|| {
        format!(
            "classes: expected [{}], found [{}]",
            expected.join(", "),
            found.join(", ")
        )
    })
}

/// A split has a count for each class, and they add up.
pub(super) fn check_split(schema: Schema<'_>, samples: u64, class_counts: &[u64]) -> Result<(), String> {
    let (classes, found) = (schema.classes.len(), class_counts.len());
    let counted = class_counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
    match counted {
        Some(counted) if counted == samples && found == classes => Ok(()),
        _ => {
            let sum = counted.map_or_else(|| "more than can be counted".to_owned(), |counted| counted.to_string());
            Err(format!(
                "expected {classes} class counts that add up to {samples}, found {found} that add up to {sum}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::MetricName;

    fn cell(truth: u32, predicted: u32, count: u64) -> ConfusionCell {
        ConfusionCell {
            truth,
            predicted,
            count,
        }
    }

    fn statistics(samples: u64, confusion: &[ConfusionCell]) -> ClassificationStatistics {
        ClassificationStatistics {
            samples,
            loss_sum: 2.0,
            confusion: confusion.to_vec(),
        }
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        let cases = [
            (
                statistics(5, &[cell(0, 0, 2), cell(1, 1, 2)]),
                "expected confusion counts of 5 samples, found 4",
            ),
            (
                statistics(0, &[cell(0, 0, u64::MAX), cell(0, 1, 1)]),
                "expected confusion counts of 0 samples, found 18446744073709551616",
            ),
            (statistics(1, &[cell(2, 0, 1)]), "expected classes below 2, found"),
            (statistics(1, &[cell(0, 2, 1)]), "expected classes below 2, found"),
            (
                statistics(2, &[cell(1, 0, 1), cell(0, 0, 1)]),
                "expected each cell once",
            ),
            (
                statistics(2, &[cell(1, 0, 1), cell(1, 0, 1)]),
                "expected each cell once",
            ),
        ];
        for (statistics, message) in cases {
            let error = statistics.check(2).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        assert_eq!(statistics(3, &[cell(0, 1, 2), cell(1, 0, 1)]).check(2), Ok(()));
    }

    #[test]
    fn no_samples_have_no_metrics() {
        assert_eq!(ClassificationStatistics::default().evaluate(3), None);
    }

    #[test]
    fn undefined_numbers_are_left_out_of_the_names() {
        let metrics = statistics(4, &[cell(0, 0, 4)]).evaluate(2).unwrap();
        let values = &metrics.values;
        assert!(!values.contains_key("roc_auc") && !values.contains_key("cohen_kappa"));
        assert_eq!((values["loss"], values["f1_macro"]), (0.5, 0.5));
    }

    #[test]
    fn what_so_many_classes_cannot_tell_is_known_beforehand() {
        let told = |name: &str, classes| can_tell(MetricName::named(name).metric(), classes);
        assert!(told("top_2_accuracy", 3) && !told("top_2_accuracy", 2));
        assert!(told("top_10_accuracy", 2000) && !told("top_10_accuracy", 10));
        assert!(told("roc_auc_ovo", 2) && !told("roc_auc_ovo", 1) && !told("roc_auc", 2000));
        assert!(told("brier_score", 1024) && !told("brier_score", 1025));
        assert!(told("log_loss", 2000) && told("expected_calibration_error", 2000) && told("accuracy", 1));
    }

    #[test]
    fn a_matrix_and_its_cells_are_the_same() {
        let matrix = [4, 0, 1, 0, 0, 2, 0, 0, 9];
        let cells = cells_of_matrix(3, &matrix);
        assert_eq!(cells, [cell(0, 0, 4), cell(0, 2, 1), cell(1, 2, 2), cell(2, 2, 9)]);
        assert_eq!(matrix_of_cells(3, &cells), matrix);
        let third = per_class(3, &cells)[2];
        assert_eq!((third.right, third.labelled, third.predicted), (9, 9, 12));
    }

    proptest! {
        #[test]
        fn cutting_a_split_into_parts_changes_no_count(
            samples in prop::collection::vec((0u32..4, 0u32..4), 1..200), cut in 0usize..200,
        ) {
            let cut = cut.min(samples.len());
            let of = |part: &[(u32, u32)]| ClassificationStatistics::of_samples(part.iter().copied(), part.len() as f64);
            let merged = ClassificationStatistics::merged([&of(&samples[..cut]), &of(&samples[cut..])]);
            prop_assert_eq!(merged.check(4), Ok(()));
            prop_assert_eq!(merged, of(&samples));
        }
    }
}

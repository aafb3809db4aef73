//! Any number of labels for each sample: none, one, or several, which do not exclude each other.
//!
//! The network gives a probability for each label by itself. From which one on a label is predicted is the job's to say, or is tuned on validation:
//! [`LabelThresholds`]. Counts are kept by label and add up exactly in any order; what looks at all labels of a sample at once is computed from the
//! predictions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Detail, Metrics, Schema, StatisticsError};
use crate::metrics::{Average, ClassCounts, Counts, Formula, METRICS, Metric, Sum, Thresholds};

/// From which probability on labels are predicted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelThresholds {
    /// A label is predicted from this probability on.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0, "default" = 0.5))]
    pub threshold: f64,
    /// Whether each label gets a threshold of its own when training is over: the one with the highest F1 on validation in the best epoch, of several the
    /// lowest. A label that no sample of validation has keeps `threshold`. Test and all later predictions use them; the metrics of validation, which
    /// choose the best epoch, use `threshold`.
    #[schemars(extend("default" = false))]
    pub tune_thresholds: bool,
}

impl LabelThresholds {
    /// Where nothing is written, and in every job of a build before.
    pub const DEFAULT: Self = Self {
        threshold: 0.5,
        tune_thresholds: false,
    };

    /// What was tuned, as the schema says, and else the job's own.
    pub fn of(self, schema: Schema<'_>) -> Thresholds<'_> {
        match schema.thresholds {
            [] => Thresholds::Same(self.threshold),
            tuned => Thresholds::Own(tuned),
        }
    }
}

/// Every probability of a prediction is kept, so there are no more labels than this.
pub const MOST_LABELS: usize = 1024;

/// What a part of a split says about a network that gives labels.
///
/// The counts are exact in any order. `loss_sum` is a sum of floats that keeps its digits: merge the parts in shard order to get the same last one
/// each time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MultiLabelStatistics {
    /// Samples that were scored.
    pub samples: u64,
    /// Σ over samples of the mean over labels of the unweighted binary cross-entropy.
    pub loss_sum: f64,
    /// Of each label, in the order of the outputs.
    pub labels: Vec<ClassCounts>,
}

impl MultiLabelStatistics {
    /// Of no samples yet.
    pub fn new(labels: usize) -> Self {
        Self {
            labels: vec![ClassCounts::default(); labels],
            ..Self::default()
        }
    }

    /// Adds a sample without its loss: label by label, whether it is true and whether it is predicted.
    pub fn add(&mut self, flags: impl IntoIterator<Item = (bool, bool)>) {
        self.samples += 1;
        for (label, (is_true, is_predicted)) in self.labels.iter_mut().zip(flags) {
            label.add(is_true, is_predicted, 1);
        }
    }

    /// Whether there are counts of each label, and none above the samples.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, labels: usize) -> Result<(), StatisticsError> {
        let found = self.labels.len();
        if found != labels {
            return Err(StatisticsError::Labels { labels, found });
        }
        match self.labels.iter().find(|counts| !counts.can_be_of(self.samples)) {
            None => Ok(()),
            Some(found) => Err(StatisticsError::LabelCounts {
                samples: self.samples,
                found: *found,
            }),
        }
    }

    /// The sum of parts, in the order given.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut sum, mut loss) = (Self::default(), Sum::default());
        for part in parts {
            sum.samples = sum.samples.saturating_add(part.samples);
            loss.add(part.loss_sum);
            ClassCounts::merge_each(&mut sum.labels, &part.labels);
        }
        sum.loss_sum = loss.value();
        sum
    }

    /// The metrics that follow from the counts; `None` of no samples.
    pub fn evaluate(&self) -> Option<Metrics> {
        if self.samples == 0 {
            return None;
        }
        let counts = Counts {
            samples: self.samples,
            classes: self.labels.clone(),
            squares: 0,
        };
        let value = |formula: Formula| match formula {
            Formula::Loss => Some(self.loss_sum / self.samples as f64),
            Formula::PerClass(formula) => formula(&counts),
            _ => None,
        };
        let values = METRICS
            .iter()
            .filter_map(|metric| Some((metric.name.to_owned(), value(metric.formula)?)));
        Some(Metrics {
            samples: self.samples,
            values: values.collect(),
            detail: Detail::MultiLabel {
                labels: self.labels.clone(),
            },
            intervals: None,
            thresholds: Vec::new(),
        })
    }
}

/// What weighs nothing may be undefined.
pub(super) fn undefined_label(metric: &Metric, samples: u64, label_counts: &[u64]) -> Option<usize> {
    let Formula::OneVsRest(curve, average) = metric.formula else {
        return None;
    };
    label_counts.iter().position(|&positives| {
        let negatives = samples.saturating_sub(positives);
        let counts = average == Average::Macro || positives > 0;
        // What counts is whether there are any.
        let [positives, negatives] = [positives, negatives].map(|count| count.min(1) as u32);
        counts && curve.of_equal_scores(positives, negatives).is_none()
    })
}

pub(super) fn check_schema(schema: Schema<'_>) -> Result<(), String> {
    let (labels, targets) = (schema.classes.len(), schema.targets.len());
    match (1..=MOST_LABELS).contains(&labels) && targets == 0 {
        true => Ok(()),
        false => Err(format!(
            "expected 1 to {MOST_LABELS} labels and no targets, found {labels} and {targets}"
        )),
    }
}

/// A split has a count for each label, and none is above the samples.
pub(super) fn check_split(schema: Schema<'_>, samples: u64, label_counts: &[u64]) -> Result<(), String> {
    let (labels, found) = (schema.classes.len(), label_counts.len());
    match label_counts.iter().find(|count| **count > samples) {
        Some(count) => Err(format!("expected at most {samples} samples of a label, found {count}")),
        None if found == labels => Ok(()),
        None => Err(format!("expected {labels} label counts, found {found}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Statistics;

    fn statistics() -> MultiLabelStatistics {
        let samples = [
            [(true, true), (false, false)],
            [(true, false), (false, true)],
            [(false, false), (true, true)],
        ];
        let mut statistics = MultiLabelStatistics::new(2);
        samples.into_iter().for_each(|flags| statistics.add(flags));
        statistics.loss_sum = 1.5;
        statistics
    }

    #[test]
    fn pooled_counts_are_not_the_accuracy_where_labels_do_not_exclude_each_other() {
        let metrics = statistics().evaluate().unwrap();
        assert_eq!((metrics.values["loss"], metrics.values["precision_macro"]), (0.5, 0.75));
        assert_eq!(metrics.values["f1_micro"], 4.0 / 6.0);
        assert!(!metrics.values.contains_key("accuracy") && !metrics.values.contains_key("cohen_kappa"));
        assert_eq!(MultiLabelStatistics::default().evaluate(), None);
    }

    #[test]
    fn parts_add_up() {
        let sum = MultiLabelStatistics::merged([&statistics(), &MultiLabelStatistics::default(), &statistics()]);
        assert_eq!((sum.samples, sum.loss_sum, sum.labels[0].labelled), (6, 3.0, 4));
        assert_eq!(sum.check(2), Ok(()));
    }

    #[test]
    fn a_label_that_all_samples_have_or_none_leaves_the_area_undefined() {
        let undefined = |name: &str, counts: &[u64]| {
            let metric = METRICS.iter().find(|metric| metric.name == name).unwrap();
            undefined_label(metric, 10, counts)
        };
        assert_eq!(undefined("roc_auc", &[3, 9]), None);
        assert_eq!(undefined("roc_auc", &[3, 0]), Some(1));
        assert_eq!(undefined("roc_auc", &[10, 3]), Some(0));
        assert_eq!(undefined("roc_auc_ovr_weighted", &[3, 0]), None);
        assert_eq!(undefined("average_precision", &[0, 10]), None);
        assert_eq!(undefined("f1_macro", &[0, 10]), None);
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        let message = |statistics: MultiLabelStatistics| statistics.check(2).unwrap_err().to_string();
        let mut few = statistics();
        few.labels.pop();
        assert_eq!(message(few), "expected counts of 2 labels, found 1");
        let mut more = statistics();
        more.labels[1].predicted = 4;
        assert!(message(more).starts_with("expected counts of a label among 3 samples, found"));
        let mut impossible = statistics();
        impossible.labels[0].right = 2;
        assert!(message(impossible).starts_with("expected counts of a label among 3 samples, found"));
    }

    #[test]
    fn a_record_tells_them_from_those_of_other_tasks() {
        let stored = serde_json::to_string(&Statistics::MultiLabel(statistics())).unwrap();
        assert_eq!(
            stored,
            r#"{"samples":3,"loss_sum":1.5,"labels":[{"right":1,"labelled":2,"predicted":1},{"right":1,"labelled":1,"predicted":2}]}"#
        );
        assert_eq!(
            serde_json::from_str::<Statistics>(&stored).unwrap(),
            Statistics::MultiLabel(statistics())
        );
    }
}

//! Forms of stored metrics that earlier programs wrote, and how they are read.
//!
//! A form is never changed once it was written to a journal: a new one is added, and the older ones are converted here.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::classification::cells_of_matrix;
use super::{Detail, Metrics};
use crate::metrics::bootstrap::Intervals;

/// All forms, the newest first. They have no tag: their fields tell them apart.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum StoredMetrics {
    /// A map by name.
    ByName {
        samples: u64,
        values: BTreeMap<String, f64>,
        detail: Detail,
        #[serde(default)]
        intervals: Option<Intervals>,
        #[serde(default)]
        thresholds: Vec<f64>,
    },
    /// Fields for the metrics that there were, and a whole matrix; written up to program version 0.1.0.
    Fields(ClassificationFields),
}

#[derive(Deserialize)]
pub(super) struct ClassificationFields {
    samples: u64,
    loss: f64,
    accuracy: f64,
    balanced_accuracy: f64,
    precision: Averages,
    recall: Averages,
    f1: Averages,
    matthews_correlation: f64,
    cohen_kappa: Option<f64>,
    roc_auc: Option<f64>,
    /// Row: true class; column: predicted class; row-major.
    confusion: Vec<u64>,
}

#[derive(Deserialize)]
struct Averages {
    #[serde(rename = "macro")]
    macro_average: f64,
    micro: f64,
    weighted: f64,
}

impl From<StoredMetrics> for Metrics {
    fn from(stored: StoredMetrics) -> Self {
        match stored {
            StoredMetrics::ByName {
                samples,
                values,
                detail,
                intervals,
                thresholds,
            } => Self {
                samples,
                values,
                detail,
                intervals,
                thresholds,
            },
            StoredMetrics::Fields(fields) => fields.convert(),
        }
    }
}

impl ClassificationFields {
    fn convert(self) -> Metrics {
        let mut values = BTreeMap::new();
        let mut put = |name: &str, value: Option<f64>| {
            values.extend(value.map(|value| (name.to_owned(), value)));
        };
        put("loss", Some(self.loss));
        put("accuracy", Some(self.accuracy));
        put("balanced_accuracy", Some(self.balanced_accuracy));
        for (name, averages) in [("precision", self.precision), ("recall", self.recall), ("f1", self.f1)] {
            put(&format!("{name}_macro"), Some(averages.macro_average));
            put(&format!("{name}_micro"), Some(averages.micro));
            put(&format!("{name}_weighted"), Some(averages.weighted));
        }
        put("matthews_correlation", Some(self.matthews_correlation));
        put("cohen_kappa", self.cohen_kappa);
        put("roc_auc", self.roc_auc);
        let confusion = cells_of_matrix(self.confusion.len().isqrt(), &self.confusion);
        Metrics {
            samples: self.samples,
            values,
            detail: Detail::Classification { confusion },
            intervals: None,
            thresholds: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::record::Event;
    use crate::record::{JobEvent, Record};
    use crate::state::ShardOutcome;
    use crate::task::{ConfusionCell, Detail, Metrics, Statistics};

    fn metrics_of(line: &str) -> Metrics {
        let record: Record = serde_json::from_str(line).unwrap();
        match record.event {
            Event::Job {
                event: JobEvent::EvaluationCompleted { metrics, .. },
                ..
            } => *metrics,
            other => panic!("expected an evaluation, found {other:?}"),
        }
    }

    /// Written by version 0.1.0 at commit da01602.
    const FIELDS: &str = include_str!("fixtures/evaluation-fields.json");
    const SHARD: &str = include_str!("fixtures/shard.json");
    /// Written by the last build before thresholds of labels were tuned.
    const LABELS: &str = include_str!("fixtures/evaluation-labels.json");

    #[test]
    fn metrics_in_fields_with_a_whole_matrix_are_read() {
        let metrics = metrics_of(FIELDS);
        assert_eq!(metrics.samples, 10);
        assert_eq!(metrics.values.len(), 15);
        assert_eq!(metrics.values["accuracy"], 0.9);
        assert_eq!((metrics.values["f1_micro"], metrics.values["roc_auc"]), (0.9, 0.75));
        let cell = |predicted, count| ConfusionCell {
            truth: 0,
            predicted,
            count,
        };
        let confusion = vec![cell(0, 9), cell(1, 1)];
        assert_eq!(metrics.detail, Detail::Classification { confusion });
        let again = serde_json::to_string(&metrics).unwrap();
        assert_eq!(serde_json::from_str::<Metrics>(&again).unwrap(), metrics);
    }

    #[test]
    fn the_statistics_of_a_shard_have_not_changed_their_form() {
        let record: Record = serde_json::from_str(SHARD).unwrap();
        let Event::Job {
            event:
                JobEvent::ShardCompleted {
                    outcome: ShardOutcome::Evaluated(statistics),
                    ..
                },
            ..
        } = &record.event
        else {
            panic!("expected an evaluated shard, found {record:?}");
        };
        let Statistics::Classification(counts) = statistics else {
            panic!("expected counts of classes, found {statistics:?}");
        };
        assert_eq!((counts.samples, counts.confusion.len()), (16, 2));
        assert_eq!(serde_json::to_string(&record).unwrap(), SHARD.trim_end());
    }

    #[test]
    fn where_metrics_lie_is_stored_with_how_it_was_found() {
        let line = r#"{"at":1,"event":{"Job":{"job":"ants","event":{"EvaluationCompleted":{"split":"test","epoch":0,
            "metrics":{"samples":2,"values":{"loss":0.5},"detail":{"Classification":{"confusion":[]}},
            "intervals":{"resamples":1000,"seed":7,"level":0.95,"by_name":{"loss":{"low":0.25,"high":0.75}}}}}}}}}"#;
        let metrics = metrics_of(line);
        let intervals = metrics.intervals.clone().unwrap();
        assert_eq!((intervals.resamples, intervals.seed, intervals.level), (1000, 7, 0.95));
        assert_eq!(
            (intervals.by_name["loss"].low, intervals.by_name["loss"].high),
            (0.25, 0.75)
        );
        let again = serde_json::to_string(&metrics).unwrap();
        assert_eq!(serde_json::from_str::<Metrics>(&again).unwrap(), metrics);
    }

    #[test]
    fn a_record_from_before_thresholds_were_tuned_has_none_and_is_written_as_it_was() {
        let record: Record = serde_json::from_str(LABELS).unwrap();
        let metrics = metrics_of(LABELS);
        assert_eq!((metrics.samples, metrics.thresholds.len()), (20, 0));
        assert_eq!(serde_json::to_string(&record).unwrap(), LABELS.trim_end());
    }

    #[test]
    fn a_record_of_another_table_of_metrics_is_read() {
        let line = r#"{"at":1,"event":{"Job":{"job":"ants","event":{"EvaluationCompleted":{"split":"test","epoch":0,
            "metrics":{"samples":2,"values":{"loss":0.5,"area_under_tomorrow":0.25},"detail":{"Classification":{"confusion":[]}}}}}}}}"#;
        let metrics = metrics_of(line);
        assert_eq!(metrics.values["area_under_tomorrow"], 0.25);
        assert!(!metrics.values.contains_key("accuracy"));
        assert_eq!(metrics.intervals, None);
    }
}

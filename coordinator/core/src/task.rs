//! What a job learns, and all that follows from it: the schema of its labels, the statistics of a shard and their sum, the metrics, and
//! what is kept of a prediction.
//!
//! One file a task; the choices between tasks stand here. They are made by matching, not by trait objects: records are replayed, so every
//! form that one can have must be known.

pub mod classification;
mod error;
pub mod multi_label;
mod outputs;
pub mod regression;
pub mod tokens;
mod versions;
mod watched;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::bootstrap::Intervals;
use crate::metrics::{self, ClassCounts, Formula, METRICS, Metric};

pub use classification::{ClassificationStatistics, ConfusionCell};
pub use error::StatisticsError;
pub use multi_label::{LabelThresholds, MultiLabelStatistics};
pub use outputs::OutputConfig;
pub use regression::RegressionStatistics;
pub use tokens::TokenStatistics;
pub use watched::listed;

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Task {
    /// One class for each sample.
    Classification,
    /// One or several numbers for each sample.
    #[schemars(extend("x-firn-since" = 3))]
    Regression,
    /// Any number of labels for each sample, which do not exclude each other.
    #[serde(rename = "multi_label_classification")]
    #[schemars(extend("x-firn-since" = 5))]
    MultiLabel(LabelThresholds),
    /// A tag for each word of a text: names, places, parts of speech. Precision, recall and F1 are of whole entities, as seqeval counts them; accuracy
    /// is of words.
    #[serde(rename = "token_classification")]
    #[schemars(extend("x-firn-since" = 5))]
    Tokens,
}

/// The labels of a dataset, as its training split fixes them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schema<'a> {
    /// Names of classes, of labels, or of tags, in the order of the model's outputs.
    pub classes: &'a [String],
    /// Numbers in the order of the model's outputs.
    pub targets: &'a [regression::Target],
    /// From which probability on each label is predicted, where that was tuned; else empty.
    pub thresholds: &'a [f64],
}

impl<'a> Schema<'a> {
    /// Of a classification, or of labels.
    pub fn of_classes(classes: &'a [String]) -> Self {
        Self {
            classes,
            ..Self::default()
        }
    }

    /// What differs in another rank's view of the same data, if anything does.
    pub fn difference(self, found: Self) -> Option<String> {
        classification::schema_difference(self.classes, found.classes)
            .or_else(|| regression::schema_difference(self.targets, found.targets))
    }
}

/// What a part of a split says about a model; parts add up. Stored without a tag: the fields tell the tasks apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Statistics {
    /// One class for each sample.
    Classification(ClassificationStatistics),
    /// Numbers for each sample.
    Regression(RegressionStatistics),
    /// Any number of labels for each sample.
    MultiLabel(MultiLabelStatistics),
    /// A tag for each word of a text.
    Tokens(TokenStatistics),
}

/// What a split says about a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "versions::StoredMetrics")]
pub struct Metrics {
    /// Samples scored.
    pub samples: u64,
    /// By the names of [`METRICS`]; undefined ones are left out. A record may hold names that this build does not know, and lack others.
    pub values: BTreeMap<String, f64>,
    /// What the task tells beyond that.
    pub detail: Detail,
    /// Where the metrics lie: of the test split, and of no other. A record of a build before has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervals: Option<Intervals>,
    /// Of a validation: the threshold of each label with the highest F1 on it, where the job tunes them. These metrics are those of the job's
    /// `threshold`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<f64>,
}

/// What a task tells of a split beyond its metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Detail {
    /// One class for each sample. Precision and recall of a class follow from it.
    Classification {
        /// Cells that are not 0, by true and then by predicted class.
        confusion: Vec<ConfusionCell>,
    },
    /// Numbers for each sample.
    Regression {
        /// The metrics of each target by name, in the order of the model's outputs.
        targets: Vec<BTreeMap<String, f64>>,
    },
    /// Any number of labels for each sample. Precision and recall of a label follow from its counts.
    MultiLabel {
        /// Of each label, in the order of the model's outputs.
        labels: Vec<ClassCounts>,
    },
    /// A tag for each word of a text. Precision and recall of a type of entity follow from its counts.
    Tokens {
        /// Words that were scored.
        words: u64,
        /// Words whose tag is right.
        right: u64,
        /// Words that were not scored: cut off, or without a token.
        left_out: u64,
        /// Of each type of entity, in alphabetical order.
        entities: Vec<ClassCounts>,
    },
}

impl Detail {
    /// Why a recorded detail cannot be what follows from the shards, which is `self`; `None`: it can.
    pub fn difference(&self, found: &Self) -> Option<&'static str> {
        match (self, found) {
            (Self::Classification { confusion }, Self::Classification { confusion: found }) => {
                (confusion != found).then_some("the confusion matrix is not the sum of those of its shards")
            }
            (Self::Regression { targets }, Self::Regression { targets: found }) => {
                regression::difference(targets, found)
            }
            (Self::MultiLabel { labels }, Self::MultiLabel { labels: found }) => {
                (labels != found).then_some("the counts of the labels are not the sum of those of its shards")
            }
            (Self::Tokens { .. }, Self::Tokens { .. }) => {
                (self != found).then_some("the counts of words and entities are not the sum of those of its shards")
            }
            _ => Some("the metrics are those of another task"),
        }
    }
}

impl Task {
    /// Whether the task can learn from this schema.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn check_schema(self, schema: Schema<'_>) -> Result<(), String> {
        match self {
            Self::Classification => classification::check_schema(schema),
            Self::Regression => regression::check_schema(schema),
            Self::MultiLabel(_) => multi_label::check_schema(schema),
            Self::Tokens => tokens::check_schema(schema),
        }
    }

    /// Whether a split of so many samples, of which so many are of each class or have each label, fits the schema.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn check_split(self, schema: Schema<'_>, samples: u64, class_counts: &[u64]) -> Result<(), String> {
        match self {
            Self::Classification => classification::check_split(schema, samples, class_counts),
            Self::Regression => regression::check_split(class_counts),
            Self::MultiLabel(_) => multi_label::check_split(schema, samples, class_counts),
            Self::Tokens => tokens::check_split(schema, samples, class_counts),
        }
    }

    /// Numbers that are kept of one prediction: what the size of shards is chosen by.
    pub fn numbers_per_prediction(self, schema: Schema<'_>) -> usize {
        match self {
            Self::Classification => classification::numbers_per_prediction(schema.classes.len()),
            // The value and the prediction of each target.
            Self::Regression => 2 * schema.targets.len(),
            Self::MultiLabel(_) => schema.classes.len(),
            Self::Tokens => tokens::numbers_per_prediction(),
        }
    }

    /// Whether it gives what a metric is computed from.
    pub fn has(self, metric: &Metric) -> bool {
        match metric.formula {
            Formula::Loss => true,
            Formula::Accuracy(_) => matches!(self, Self::Classification | Self::Tokens),
            Formula::PerClass(_) | Formula::OneClass(_) => !matches!(self, Self::Regression),
            Formula::OneVsRest(..) => {
                matches!(self, Self::Classification | Self::MultiLabel(_))
            }
            Formula::Counts(_) | Formula::Predictions(_) | Formula::Confidence(_) | Formula::OneVsOne(_) => {
                matches!(self, Self::Classification)
            }
            Formula::LabelSets(_) => matches!(self, Self::MultiLabel(_)),
            Formula::Moments(_) | Formula::Errors(_) | Formula::Orders(_) => matches!(self, Self::Regression),
        }
    }

    /// Whether thresholds of labels are tuned on validation.
    pub fn tunes_thresholds(self) -> bool {
        matches!(
            self,
            Self::MultiLabel(LabelThresholds {
                tune_thresholds: true,
                ..
            })
        )
    }

    /// Whether a metric can have a value that says something on data of this schema, whatever is learned.
    pub fn can_tell(self, metric: &Metric, schema: Schema<'_>) -> bool {
        match self {
            Self::Classification => classification::can_tell(metric, schema.classes.len()),
            Self::Regression | Self::MultiLabel(_) | Self::Tokens => true,
        }
    }

    /// The first label whose counts in a split leave a metric undefined, whatever is learned.
    pub fn undefined_label(self, metric: &Metric, samples: u64, label_counts: &[u64]) -> Option<usize> {
        match self {
            Self::Classification | Self::Regression | Self::Tokens => None,
            Self::MultiLabel(_) => multi_label::undefined_label(metric, samples, label_counts),
        }
    }

    /// The metrics that it has, in the order of the table.
    pub fn metrics(self) -> impl Iterator<Item = &'static Metric> {
        METRICS.iter().filter(move |metric| self.has(metric))
    }
}

impl Statistics {
    /// Samples that were scored.
    pub fn samples(&self) -> u64 {
        match self {
            Self::Classification(statistics) => statistics.samples,
            Self::Regression(statistics) => statistics.samples,
            Self::MultiLabel(statistics) => statistics.samples,
            Self::Tokens(statistics) => statistics.samples,
        }
    }

    /// Σ of the unweighted loss.
    pub fn loss_sum(&self) -> f64 {
        match self {
            Self::Classification(statistics) => statistics.loss_sum,
            Self::Regression(statistics) => statistics.loss_sum,
            Self::MultiLabel(statistics) => statistics.loss_sum,
            Self::Tokens(statistics) => statistics.loss_sum,
        }
    }

    /// Whether they can be those of a part of a split of this schema.
    ///
    /// # Errors
    /// If the numbers cannot belong together.
    pub fn check(&self, schema: Schema<'_>) -> Result<(), StatisticsError> {
        match self {
            Self::Classification(statistics) => statistics.check(schema.classes.len()),
            Self::Regression(statistics) => statistics.check(schema.targets.len()),
            Self::MultiLabel(statistics) => statistics.check(schema.classes.len()),
            Self::Tokens(statistics) => statistics.check(schema),
        }
    }

    /// Whether they are what the detail of metrics was made of, as far as it says.
    pub fn agrees(&self, detail: &Detail) -> bool {
        match (self, detail) {
            (Self::Classification(counts), Detail::Classification { confusion }) => counts.confusion == *confusion,
            (Self::Regression(moments), Detail::Regression { targets }) => moments.agrees(targets),
            (Self::MultiLabel(counts), Detail::MultiLabel { labels }) => counts.labels == *labels,
            (
                Self::Tokens(counts),
                Detail::Tokens {
                    words,
                    right,
                    left_out,
                    entities,
                },
            ) => counts.agrees((*words, *right, *left_out), entities),
            _ => false,
        }
    }

    /// The sum of parts of one split, in the order given: floats are added in it. `None` without a part. The parts of a split are all of one
    /// task; what is of another than the first is passed over.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut parts = parts.into_iter().peekable();
        match parts.peek()? {
            Self::Classification(_) => {
                let parts = parts.filter_map(|part| match part {
                    Self::Classification(part) => Some(part),
                    _ => None,
                });
                Some(Self::Classification(ClassificationStatistics::merged(parts)))
            }
            Self::Regression(_) => {
                let parts = parts.filter_map(|part| match part {
                    Self::Regression(part) => Some(part),
                    _ => None,
                });
                Some(Self::Regression(RegressionStatistics::merged(parts)))
            }
            Self::MultiLabel(_) => {
                let parts = parts.filter_map(|part| match part {
                    Self::MultiLabel(part) => Some(part),
                    _ => None,
                });
                Some(Self::MultiLabel(MultiLabelStatistics::merged(parts)))
            }
            Self::Tokens(_) => {
                let parts = parts.filter_map(|part| match part {
                    Self::Tokens(part) => Some(part),
                    _ => None,
                });
                Some(Self::Tokens(TokenStatistics::merged(parts)))
            }
        }
    }

    /// The metrics of all that was added; `None` if that is nothing. `from_predictions` has those that only single predictions can tell.
    pub fn evaluate(&self, schema: Schema<'_>, from_predictions: &BTreeMap<String, f64>) -> Option<Metrics> {
        let mut metrics = match self {
            Self::Classification(statistics) => statistics.evaluate(schema.classes.len()),
            Self::Regression(statistics) => statistics.evaluate(),
            Self::MultiLabel(statistics) => statistics.evaluate(),
            Self::Tokens(statistics) => statistics.evaluate(),
        }?;
        let more = from_predictions.iter().map(|(name, value)| (name.clone(), *value));
        metrics.values.extend(more.filter(|(_, value)| value.is_finite()));
        Some(metrics)
    }
}

impl Metrics {
    /// With where they lie. What is undefined lies nowhere.
    pub fn within(mut self, intervals: Option<Intervals>) -> Self {
        self.intervals = intervals.map(|mut intervals| {
            let is_defined = |name: &str| self.values.contains_key(name) || metrics::watched::is_of_class(name);
            intervals.by_name.retain(|name, _| is_defined(name));
            intervals
        });
        self
    }

    /// With the threshold of each label that was tuned on it.
    pub fn with_thresholds(self, thresholds: Vec<f64>) -> Self {
        Self { thresholds, ..self }
    }

    /// Cells of the confusion matrix that are not 0; empty for a task without classes.
    pub fn confusion(&self) -> &[ConfusionCell] {
        match &self.detail {
            Detail::Classification { confusion } => confusion,
            Detail::Regression { .. } | Detail::MultiLabel { .. } | Detail::Tokens { .. } => &[],
        }
    }
}

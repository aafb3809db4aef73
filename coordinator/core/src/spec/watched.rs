//! Which metrics decide something: which checkpoint is best, when training ends, when the learning rate falls.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MetricName, PlateauSpec, ScheduleShape, TrainingSpec};
use crate::metrics::Watched;

/// A metric that decides something, with its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedField<'a> {
    /// The field of the metric.
    pub field: &'static str,
    /// That of its class.
    pub class_field: &'static str,
    /// Both.
    pub watched: Watched<'a>,
}

impl TrainingSpec {
    /// The metrics that decide something, each with its fields.
    pub fn watched(&self) -> impl Iterator<Item = WatchedField<'_>> {
        let stopping = self.early_stopping.as_ref().map(EarlyStopping::watched);
        let plateau = match &self.schedule.shape {
            ScheduleShape::Plateau(plateau) => Some(plateau.watched()),
            _ => None,
        };
        let fields = [
            (
                "spec.training.earlyStopping.metric",
                "spec.training.earlyStopping.class",
                stopping,
            ),
            (
                "spec.training.bestMetric",
                "spec.training.bestMetricClass",
                Some(self.watched_for_best()),
            ),
            ("spec.training.schedule.metric", "spec.training.schedule.class", plateau),
        ];
        fields.into_iter().filter_map(|(field, class_field, watched)| {
            Some(WatchedField {
                field,
                class_field,
                watched: watched?,
            })
        })
    }

    /// What chooses the best checkpoint.
    pub fn watched_for_best(&self) -> Watched<'_> {
        Watched::new(self.best_metric, self.best_metric_class.as_ref())
    }

    /// What ended training early: the record of it names the metric, and the rule its class.
    pub fn watched_by_stopping(&self, metric: MetricName) -> Watched<'_> {
        let rule = self.early_stopping.as_ref();
        Watched::new(metric, rule.and_then(|rule| rule.class.as_ref()))
    }
}

impl EarlyStopping {
    /// What must improve.
    pub fn watched(&self) -> Watched<'_> {
        Watched::new(self.metric, self.class.as_ref())
    }
}

impl PlateauSpec {
    /// What must improve.
    pub fn watched(&self) -> Watched<'_> {
        Watched::new(self.metric, self.class.as_ref())
    }
}

/// When to stop before the last epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EarlyStopping {
    /// What must improve.
    #[serde(with = "on_validation")]
    #[schemars(with = "on_validation::Name")]
    pub metric: MetricName,
    /// The class that `metric` is of, where it is of one, as `training.bestMetricClass` says.
    #[schemars(extend("x-firn-default" = "none: the metric is of all classes", "x-firn-since" = 5))]
    pub class: Option<String>,
    /// Evaluations without improvement after which training ends.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 3))]
    pub patience: u32,
    /// Smallest change that counts as an improvement.
    #[schemars(range(min = 0.0), extend("default" = 0.0))]
    pub min_delta: f64,
}

/// A metric is written with its split: `validation/f1_macro`.
pub(super) mod on_validation {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use serde_json::json;

    use super::MetricName;
    use crate::metrics::{METRICS, Metric};
    use crate::spec::Word;

    const PREFIX: &str = "validation/";

    /// In the schema: the words of the metrics behind their split.
    pub(in crate::spec) struct Name;

    impl JsonSchema for Name {
        fn schema_name() -> Cow<'static, str> {
            "ValidationMetric".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let choice = |metric: &Metric| {
                let word = format!("{PREFIX}{}", metric.name);
                json!({"type": "string", "const": word, "description": metric.about, "x-firn-since": metric.since})
            };
            json_schema!({"oneOf": METRICS.iter().map(choice).collect::<Vec<_>>()})
        }

        fn inline_schema() -> bool {
            true
        }
    }

    /// The metric as it is written.
    pub(in crate::spec) fn written(metric: MetricName) -> String {
        format!("{PREFIX}{}", metric.word())
    }

    pub(in crate::spec) fn serialize<S: Serializer>(metric: &MetricName, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&written(*metric))
    }

    pub(in crate::spec) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MetricName, D::Error> {
        let written = String::deserialize(deserializer)?;
        let metric = written.strip_prefix(PREFIX).and_then(MetricName::from_word);
        metric.ok_or_else(|| D::Error::custom(format!("unknown metric `{written}`")))
    }
}

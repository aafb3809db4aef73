//! What the outputs of a network mean, as the `config.json` that a job leaves says it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Schema, regression::Target};

/// Of `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(try_from = "Config")]
pub struct OutputConfig {
    /// Names of classes or labels, in the order of the outputs; of a regression empty.
    pub classes: Vec<String>,
    /// Of a regression, in the order of the outputs.
    pub targets: Vec<Target>,
    /// From which probability on each label is predicted, where that was tuned; else empty.
    pub thresholds: Vec<f64>,
}

/// The fields that are read.
#[derive(Deserialize)]
struct Config {
    id2label: BTreeMap<u32, String>,
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    thresholds: Vec<f64>,
}

impl OutputConfig {
    /// As the predictions are made and scored by.
    pub fn schema(&self) -> Schema<'_> {
        Schema {
            classes: &self.classes,
            targets: &self.targets,
            thresholds: &self.thresholds,
        }
    }
}

impl TryFrom<Config> for OutputConfig {
    type Error = String;

    fn try_from(config: Config) -> Result<Self, String> {
        let Config {
            id2label,
            targets,
            thresholds,
        } = config;
        let (labels, found) = (id2label.len(), thresholds.len());
        if found != 0 && found != labels {
            return Err(format!("expected {labels} `thresholds`, one a label, found {found}"));
        }
        let classes = match targets.is_empty() {
            true => id2label.into_values().collect(),
            false => Vec::new(),
        };
        Ok(Self {
            classes,
            targets,
            thresholds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str) -> Result<OutputConfig, String> {
        serde_json::from_str(config).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_are_in_the_order_of_the_outputs() {
        let labels: Vec<String> = (0..12).map(|label| format!("\"{label}\": \"l{label}\"")).collect();
        let found = read(&format!("{{\"id2label\": {{{}}}}}", labels.join(", "))).unwrap();
        assert_eq!((found.classes[2].as_str(), found.classes[11].as_str()), ("l2", "l11"));
        assert!(found.targets.is_empty() && found.thresholds.is_empty());
    }

    #[test]
    fn names_of_numbers_are_no_classes() {
        let target = r#"{"name": "price", "mean": 2.0, "std": 0.5}"#;
        let found = read(&format!(
            "{{\"id2label\": {{\"0\": \"price\"}}, \"targets\": [{target}]}}"
        ))
        .unwrap();
        assert_eq!((found.classes.len(), found.targets[0].name.as_str()), (0, "price"));
    }

    #[test]
    fn each_label_has_a_threshold_or_none_has() {
        let of = |thresholds: &str| {
            read(&format!(
                "{{\"id2label\": {{\"0\": \"a\", \"1\": \"b\"}}, \"thresholds\": {thresholds}}}"
            ))
        };
        assert_eq!(of("[0.25, 0.5]").unwrap().schema().thresholds, [0.25, 0.5]);
        let message = of("[0.25]").unwrap_err();
        assert!(
            message.starts_with("expected 2 `thresholds`, one a label, found 1"),
            "{message}"
        );
    }
}

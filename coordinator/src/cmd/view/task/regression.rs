//! Numbers: the scale of each target, and, of several, the metrics of each.

use firn_core::metrics::METRICS;
use firn_proto::v1alpha1::{DatasetSummary, Evaluation, TargetSummary};
use serde_json::{Map, Value, json};

use crate::cmd::view::{
    humanise::{counted, metric},
    table::table,
};

pub(super) const HEADLINES: [&str; 4] = ["loss", "mae", "r2", "spearman"];

pub(super) fn labels(dataset: &DatasetSummary) -> String {
    counted(dataset.targets.len() as u64, "target")
}

/// `targets: price 206,855 ± 115,395`: the mean of train and its deviation.
pub(super) fn label_line(dataset: &DatasetSummary) -> Option<String> {
    let target = |target: &TargetSummary| format!("{} {} ± {}", target.name, metric(target.mean), metric(target.std));
    let named: Vec<String> = dataset.targets.iter().map(target).collect();
    Some(format!("targets: {}", named.join(", ")))
}

pub(super) fn label_table(dataset: &DatasetSummary) -> String {
    let row = |target: &TargetSummary| vec![target.name.clone(), target.mean.to_string(), target.std.to_string()];
    table(&["TARGET", "MEAN", "STD"], dataset.targets.iter().map(row).collect(), 1)
}

pub(super) fn label_document(dataset: &DatasetSummary) -> Map<String, Value> {
    let target = |target: &TargetSummary| json!({"name": target.name, "mean": target.mean, "std": target.std});
    Map::from_iter([("targets".to_owned(), dataset.targets.iter().map(target).collect())])
}

/// One target says no more than the metrics do.
pub(super) fn tables(evaluation: &Evaluation) -> Vec<String> {
    if evaluation.targets.len() < 2 {
        return Vec::new();
    }
    let is_known = |name: &&str| {
        evaluation
            .targets
            .iter()
            .any(|target| target.metrics.contains_key(*name))
    };
    let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).filter(is_known).collect();
    let rows = evaluation.targets.iter().map(|target| {
        let value = |name: &&str| {
            target
                .metrics
                .get(*name)
                .map_or_else(|| "-".to_owned(), |value| metric(*value))
        };
        std::iter::once(target.target.clone())
            .chain(names.iter().map(value))
            .collect()
    });
    let title = format!("TARGET ({})", evaluation.split.to_uppercase());
    let headers: Vec<String> = std::iter::once(title)
        .chain(names.iter().map(|name| name.to_uppercase()))
        .collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    vec![table(&headers, rows.collect(), 1)]
}

pub(super) fn document(evaluation: &Evaluation) -> Map<String, Value> {
    let targets = evaluation.targets.iter();
    let targets = targets.map(|target| json!({"target": target.target, "metrics": target.metrics}));
    Map::from_iter([("targets".to_owned(), targets.collect())])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use firn_proto::v1alpha1::TargetMetrics;

    use super::*;

    #[test]
    fn several_targets_stand_side_by_side_and_one_says_nothing_more() {
        let target = |name: &str, mae: f64, r2: f64| TargetMetrics {
            target: name.to_owned(),
            metrics: BTreeMap::from([("r2".to_owned(), r2), ("mae".to_owned(), mae)]),
        };
        let mut evaluation = Evaluation {
            split: "test".to_owned(),
            targets: vec![target("price", 41_250.0, 0.61), target("age", 7.5, 0.25)],
            ..Evaluation::default()
        };
        let expected = "\
TARGET (TEST)          MAE       R2
price           41250.0000   0.6100
age                 7.5000   0.2500
";
        assert_eq!(tables(&evaluation), [expected]);
        evaluation.targets.pop();
        assert!(tables(&evaluation).is_empty());
    }
}

//! Metrics of samples that may have several labels, against scikit-learn's.
//!
//! `golden/labels.json` says in `made_by` which script made it, and with which version.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use firn_core::{
    metrics::{
        Formula, LabelMetrics, Labelled, MetricName, RedrawnLabels, Thresholds, Watched, best_threshold, bootstrap,
    },
    task::{LabelThresholds, Metrics, MultiLabelStatistics, Schema, Statistics, Task},
};
use serde_json::{Map, Value};

const HALF: Thresholds<'static> = Thresholds::Same(0.5);

struct Sample {
    labels: Vec<u32>,
    scores: Vec<f64>,
}

impl Sample {
    fn labelled<'a>(&'a self, thresholds: Thresholds<'a>) -> Labelled<'a> {
        Labelled {
            labels: &self.labels,
            scores: &self.scores,
            thresholds,
        }
    }
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/labels.json")).unwrap()
}

fn samples(case: &Value) -> Vec<Sample> {
    let rows = |field: &str| case[field].as_array().unwrap().clone();
    let sample = |(labels, scores)| Sample {
        labels: serde_json::from_value(labels).unwrap(),
        scores: serde_json::from_value(scores).unwrap(),
    };
    rows("labels").into_iter().zip(rows("scores")).map(sample).collect()
}

/// Of each label, whether each sample has it, and its score.
fn columns(samples: &[Sample]) -> Vec<Vec<(bool, f64)>> {
    let column = |label: usize| {
        let pair = |sample: &Sample| (sample.labels.contains(&(label as u32)), sample.scores[label]);
        samples.iter().map(pair).collect()
    };
    (0..samples[0].scores.len()).map(column).collect()
}

fn evaluated(samples: &[Sample], thresholds: Thresholds<'_>) -> Metrics {
    let labels = samples[0].scores.len();
    // Two parts, as two ranks would send them.
    let part = |odd: usize| {
        let mut statistics = MultiLabelStatistics::new(labels);
        for sample in samples.iter().skip(odd).step_by(2) {
            statistics.add(sample.labelled(thresholds).by_label());
            statistics.loss_sum += sample.labelled(thresholds).cross_entropy();
        }
        assert_eq!(statistics.check(labels), Ok(()));
        Statistics::MultiLabel(statistics)
    };
    let all = Statistics::merged(&[part(0), part(1)]).unwrap();
    let mut metrics = LabelMetrics::default();
    samples
        .iter()
        .for_each(|sample| metrics.add(&sample.labelled(thresholds)));
    columns(samples).iter().for_each(|column| metrics.add_label(column));
    let from_predictions = metrics.values().into_iter();
    let from_predictions = from_predictions.map(|(name, value)| (name.to_owned(), value)).collect();
    let names: Vec<String> = (0..labels).map(|label| label.to_string()).collect();
    all.evaluate(Schema::of_classes(&names), &from_predictions).unwrap()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

fn are_those(case: &str, metrics: &Metrics, expected: &Map<String, Value>) {
    for (metric, expected) in expected {
        let found = metrics.values.get(metric).copied();
        let is_same = match (found, expected.as_f64()) {
            (Some(found), Some(expected)) => near(found, expected),
            (None, None) => true,
            _ => false,
        };
        assert!(is_same, "{case}: {metric} is {found:?}, of the reference {expected}");
    }
}

#[test]
fn tuned_thresholds_are_the_best_ones_of_scikit_learns_curve_and_so_are_the_metrics_by_them() {
    let mut undefined = 0;
    for case in golden()["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let samples = samples(case);
        let found: Vec<Option<f64>> = columns(&samples).iter().map(|column| best_threshold(column)).collect();
        let expected: Vec<Option<f64>> = serde_json::from_value(case["thresholds"].clone()).unwrap();
        assert_eq!(found, expected, "{name}: each is one of the scores");
        undefined += expected.iter().filter(|threshold| threshold.is_none()).count();
        let tuned: Vec<f64> = found.iter().map(|threshold| threshold.unwrap_or(0.5)).collect();
        let metrics = evaluated(&samples, Thresholds::Own(&tuned));
        are_those(name, &metrics, case["tuned"].as_object().unwrap());
    }
    assert!(undefined > 0, "some label has no sample");
}

#[test]
fn metrics_of_labels_equal_those_of_scikit_learn() {
    for case in golden()["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let metrics = evaluated(&samples(case), HALF);
        let expected = case["expected"].as_object().unwrap();
        are_those(name, &metrics, expected);
        let task = Task::MultiLabel(LabelThresholds::DEFAULT);
        let of_split = task
            .metrics()
            .filter(|metric| !matches!(metric.formula, Formula::OneClass(_)));
        let of_task: Vec<&str> = of_split.map(|metric| metric.name).collect();
        let mut referred: Vec<&str> = expected.keys().map(String::as_str).collect();
        referred.sort_by_key(|name| of_task.iter().position(|known| known == name));
        assert_eq!(referred, of_task, "{name}: every metric has its reference");
        let firn_core::task::Detail::MultiLabel { labels } = &metrics.detail else {
            panic!("{name}: {:?}", metrics.detail);
        };
        let names: Vec<String> = (0..labels.len()).map(|label| format!("label {label}")).collect();
        for ((found, label), expected) in labels.iter().zip(&names).zip(case["per_label"].as_array().unwrap()) {
            let found = [found.precision(), found.recall(), found.f1(), found.labelled as f64];
            let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
            let watched = ["precision", "recall", "f1"].map(|metric| {
                metrics.value(
                    Watched::new(MetricName::named(metric), Some(label)),
                    Schema::of_classes(&names),
                )
            });
            assert_eq!(
                watched[..],
                [found[0], found[1], found[2]].map(Some),
                "{label} decides by the same values"
            );
            assert!(
                found.iter().zip(&expected).all(|(a, b)| near(*a, *b)),
                "{name}: {found:?} {expected:?}"
            );
        }
    }
}

#[test]
fn intervals_of_labels_equal_the_percentiles_of_numpy_on_the_same_resamples() {
    let golden = golden();
    let resamples = golden["resamples"].as_u64().unwrap() as u32;
    let cases = golden["cases"].as_array().unwrap().iter();
    let mut compared = 0;
    for case in cases.filter(|case| !case["intervals"].is_null()) {
        let (name, seed) = (&case["name"], case["seed"].as_u64().unwrap());
        let samples = samples(case);
        let mut split = RedrawnLabels::new(samples[0].scores.len());
        samples.iter().for_each(|sample| split.add(&sample.labelled(HALF)));
        columns(&samples).iter().for_each(|column| split.add_label(column));
        let drawn: Vec<_> = (0..resamples)
            .map(|number| bootstrap::resample(&split, seed, number))
            .collect();
        let names: Vec<String> = (0..samples[0].scores.len()).map(|label| label.to_string()).collect();
        let found = bootstrap::intervals(seed, &drawn, &names).by_name;
        for (metric, expected) in case["intervals"].as_object().unwrap() {
            let ends: Option<[f64; 2]> = serde_json::from_value(expected.clone()).unwrap();
            let is_same = match (found.get(metric), ends) {
                (Some(found), Some([low, high])) => near(found.low, low) && near(found.high, high),
                (None, None) => true,
                _ => false,
            };
            assert!(
                is_same,
                "{name}: {metric} lies in {:?}, in the reference's {ends:?}",
                found.get(metric)
            );
            compared += 1;
        }
    }
    assert_eq!(
        compared,
        4 * 19 + (3 + 2 + 2 + 2) * 3,
        "metrics of four cases, and of their labels"
    );
}

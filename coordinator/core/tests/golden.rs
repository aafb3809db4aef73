//! The numbers of the core against those of the libraries that people will compare with.
//!
//! The files in `golden/` say in `made_by` which script made them, and with which version of which library.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use firn_core::{
    metrics::{ClassificationMetrics, ClassificationStatistics, roc_auc},
    order::SampleOrder,
    schedule::learning_rate,
    spec::{ScheduleShape, ScheduleSpec, Warmup, Word},
};
use serde_json::Value;

fn cases(file: &str) -> Vec<Value> {
    let golden: Value = serde_json::from_str(file).unwrap();
    let cases = golden["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn unsigned(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn sample_orders_equal_those_of_the_second_implementation() {
    for case in cases(include_str!("golden/order.json")) {
        let samples = unsigned(&case["samples"]);
        let order = SampleOrder::new(unsigned(&case["seed"]), unsigned(&case["epoch"]) as u32, samples);
        let expected: Vec<u64> = case["order"].as_array().unwrap().iter().map(unsigned).collect();
        assert_eq!(order.positions(0..samples), expected);
    }
}

#[test]
fn learning_rates_equal_those_of_transformers() {
    for case in cases(include_str!("golden/schedule.json")) {
        let warmup = match case["warmup"].as_u64() {
            Some(steps) => Warmup::Steps(steps as u32),
            None => Warmup::Ratio(case["warmup"].as_f64().unwrap()),
        };
        let shape = ScheduleShape::from_word(case["shape"].as_str().unwrap()).unwrap();
        let (peak, total) = (case["peak"].as_f64().unwrap(), unsigned(&case["total"]));
        for (step, expected) in case["rates"].as_array().unwrap().iter().enumerate() {
            let rate = learning_rate(&ScheduleSpec { shape, warmup }, peak, step as u64, total);
            let expected = expected.as_f64().unwrap();
            assert!(
                (rate - expected).abs() <= 1e-15 * peak.max(1.0),
                "{shape:?} {warmup:?} step {step}: {rate} {expected}"
            );
        }
    }
}

fn evaluated(case: &Value) -> ClassificationMetrics {
    let classes = unsigned(&case["classes"]) as u32;
    let labels: Vec<u32> = case["labels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|label| unsigned(label) as u32)
        .collect();
    let scores: Vec<f64> = case["scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|score| score.as_f64().unwrap())
        .collect();
    // Two parts, as two ranks would send them.
    let mut parts = [
        ClassificationStatistics::new(classes),
        ClassificationStatistics::new(classes),
    ];
    for (i, (&label, row)) in labels.iter().zip(scores.chunks_exact(classes as usize)).enumerate() {
        let first_of_the_largest = (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        parts[i % 2]
            .record(label, first_of_the_largest as u32, -row[label as usize].ln())
            .unwrap();
    }
    let [mut all, second] = parts;
    all.merge(&second).unwrap();
    all.evaluate(roc_auc(&labels, &scores, classes)).unwrap()
}

#[test]
fn metrics_equal_those_of_scikit_learn() {
    for case in cases(include_str!("golden/metrics.json")) {
        let name = case["name"].as_str().unwrap();
        let metrics = evaluated(&case);
        let named = metrics.named();
        for (metric, expected) in case["expected"].as_object().unwrap() {
            match expected.as_f64() {
                None => assert!(!named.contains_key(metric), "{name}: {metric} should be undefined"),
                Some(expected) => {
                    let found = named[metric];
                    assert!(
                        (found - expected).abs() < 1e-12,
                        "{name}: {metric} is {found}, scikit-learn's {expected}"
                    );
                }
            }
        }
        let defined = case["expected"]
            .as_object()
            .unwrap()
            .values()
            .filter(|value| !value.is_null())
            .count();
        assert_eq!(named.len(), defined, "{name}: every metric has its reference");

        for (class, expected) in metrics.per_class.iter().zip(case["per_class"].as_array().unwrap()) {
            let found = [class.precision, class.recall, class.f1, class.support as f64];
            for (found, expected) in found.iter().zip(expected.as_array().unwrap()) {
                assert!((found - expected.as_f64().unwrap()).abs() < 1e-12, "{name}: {class:?}");
            }
        }
        let confusion: Vec<u64> = case["confusion"].as_array().unwrap().iter().map(unsigned).collect();
        assert_eq!(metrics.confusion, confusion, "{name}");
    }
}

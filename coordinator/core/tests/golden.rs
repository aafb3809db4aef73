//! The numbers of the core against those of the libraries that people will compare with.
//!
//! The files in `golden/` say in `made_by` which script made them, and with which version of which library.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use firn_core::{
    metrics::{
        Moments, RedrawnClasses, RedrawnNumbers, ScoreMetrics, Scored, Watched,
        bootstrap::{self, Redrawn},
        targets,
    },
    order::SampleOrder,
    random::{Purpose, Random},
    range_test::{RangeTest, Taken},
    schedule::{learning_rate, peak},
    spec::{MetricName, PlateauSpec, ScheduleShape, ScheduleSpec, ThresholdMode, TrainingSpec, Warmup, Word},
    task::{
        ClassificationStatistics, Metrics, Schema, Statistics,
        classification::{matrix_of_cells, per_class},
        regression::{Distance, Target},
    },
};
use std::collections::BTreeMap;

use serde_json::{Value, json};

fn cases(file: &str) -> Vec<Value> {
    let golden: Value = serde_json::from_str(file).unwrap();
    let cases = golden["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

/// With a peak of 1e-3.
fn training() -> TrainingSpec {
    serde_json::from_value(json!({
        "epochs": 100, "batchSize": 32, "seed": 0,
        "optimizer": {"type": "sgd", "learningRate": 1e-3, "weightDecay": 0.0, "momentum": 0.9, "nesterov": false},
        "schedule": {"type": "constant", "warmupSteps": 0},
        "loss": {"type": "cross_entropy", "labelSmoothing": 0.0, "classBalance": "none"},
        "bestMetric": "validation/loss", "batchNorm": "eval", "weightDecayOf": "all", "layerDecay": 1.0, "sampling": "shuffle", "frozenPrecision": "fp32", "determinism": "default", "checkpointInterval": "60s",
    }))
    .unwrap()
}

fn unsigned(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn numbers_within_an_epoch_equal_those_of_the_second_implementation() {
    let golden: Value = serde_json::from_str(include_str!("golden/order.json")).unwrap();
    let cases = golden["within"].as_array().unwrap();
    assert!(cases.len() >= 4);
    for case in cases {
        let places: Vec<u64> = case["places"].as_array().unwrap().iter().map(unsigned).collect();
        let (seed, epoch) = (unsigned(&case["seed"]), unsigned(&case["epoch"]) as u32);
        let mut random = Random::within(seed, Purpose::Augmentation, epoch, &places);
        assert_eq!(json!(random.unit()), case["unit"]);
        assert_eq!(json!(random.uniform([-2.5, 4.0])), case["uniform"]);
        let normals = [random.normals(), random.normals()].concat();
        for (ours, theirs) in normals.iter().zip(case["normals"].as_array().unwrap()) {
            assert!((ours - theirs.as_f64().unwrap()).abs() < 1e-12);
        }
        assert_eq!(random.below(10), unsigned(&case["below"]));
    }
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
fn balanced_draws_equal_those_of_the_second_implementation() {
    let golden: Value = serde_json::from_str(include_str!("golden/order.json")).unwrap();
    let list = |value: &Value| -> Vec<u64> { value.as_array().unwrap().iter().map(unsigned).collect() };
    for case in golden["balanced"].as_array().unwrap() {
        let classes: Vec<u32> = list(&case["classes"]).into_iter().map(|class| class as u32).collect();
        let order = SampleOrder::balanced(unsigned(&case["seed"]), unsigned(&case["epoch"]) as u32, &classes);
        assert_eq!(order.positions(0..order.samples()), list(&case["order"]));
    }
}

#[test]
fn range_tests_equal_those_of_fastai() {
    for case in cases(include_str!("golden/range_test.json")) {
        let number = |name: &str| case[name].as_f64().unwrap();
        let list = |name: &str| -> Vec<f64> {
            let values = case[name].as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap()).collect()
        };
        let steps = unsigned(&case["steps"]) as u32;
        let schedule = ScheduleSpec {
            shape: ScheduleShape::RangeTest {
                start_learning_rate: number("first"),
                steps,
            },
            warmup: Warmup::Steps(0),
        };
        let rates: Vec<f64> = (0..u64::from(steps))
            .map(|step| learning_rate(&schedule, number("last"), step, 1_000_000))
            .collect();
        let is_close = |found: f64, expected: f64| (found - expected).abs() <= 1e-9 * expected.abs();
        for (found, expected) in rates.iter().zip(list("rates")) {
            assert!(is_close(*found, expected), "rate {found}, expected {expected}");
        }
        let taken = rates.iter().zip(list("losses")).map(|(rate, loss)| Taken {
            learning_rate: *rate,
            loss,
            skipped: false,
        });
        let test = RangeTest::of(steps, taken);
        assert_eq!(test.end().unwrap().word(), case["end"].as_str().unwrap());
        let smoothed = list("smoothed");
        assert_eq!(test.points().len(), smoothed.len());
        for (point, expected) in test.points().iter().zip(smoothed) {
            let found = point.smoothed_loss;
            assert!(is_close(found, expected), "average {found}, expected {expected}");
        }
        assert!(
            is_close(test.steepest().unwrap(), number("steepest")),
            "{:?}",
            test.steepest()
        );
        assert!(is_close(test.tenth_of_minimum().unwrap(), number("tenth_of_minimum")));
    }
}

#[test]
fn learning_rates_equal_those_of_transformers() {
    for case in cases(include_str!("golden/schedule.json")) {
        let warmup = match case["warmup"].as_u64() {
            Some(steps) => Warmup::Steps(steps as u32),
            None => Warmup::Ratio(case["warmup"].as_f64().unwrap()),
        };
        let shape: ScheduleShape = serde_json::from_value(case["shape"].clone()).unwrap();
        let (peak, total) = (case["peak"].as_f64().unwrap(), unsigned(&case["total"]));
        for (step, expected) in case["rates"].as_array().unwrap().iter().enumerate() {
            let schedule = ScheduleSpec {
                shape: shape.clone(),
                warmup,
            };
            let rate = learning_rate(&schedule, peak, step as u64, total);
            let expected = expected.as_f64().unwrap();
            assert!(
                (rate - expected).abs() <= 1e-14 * peak.max(1.0),
                "{shape:?} {warmup:?} step {step}: {rate} {expected}"
            );
        }
    }
}

#[test]
fn peaks_that_fall_from_epoch_to_epoch_equal_those_of_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("golden/schedule.json")).unwrap();
    for case in golden["by_epoch"].as_array().unwrap() {
        let mut training = training();
        training.schedule.shape = serde_json::from_value(case["shape"].clone()).unwrap();
        for (epoch, expected) in (0..).zip(case["rates"].as_array().unwrap()) {
            let (found, expected) = (peak(&training, epoch, |_, _| None), expected.as_f64().unwrap());
            assert!((found - expected).abs() <= 1e-15, "{case} epoch {epoch}: {found}");
            // And with a warm-up: the rate rises to the peak of the epoch that the step is of.
            let schedule = ScheduleSpec {
                warmup: Warmup::Steps(4),
                ..training.schedule.clone()
            };
            assert_eq!(learning_rate(&schedule, found, 1, 100), found / 4.0);
            assert_eq!(learning_rate(&schedule, found, 4, 100), found);
        }
    }
}

fn evaluated(case: &Value, classes: &[String]) -> Metrics {
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
    let rows: Vec<&[f64]> = scores.chunks_exact(classes.len()).collect();
    let predicted = |row: &[f64]| (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32;
    // Two parts, as two ranks would send them.
    let part = |odd: usize| {
        let samples: Vec<_> = labels.iter().zip(&rows).skip(odd).step_by(2).collect();
        // The loss has no limits of its own; the reference's has.
        let probability = |label: u32, row: &[f64]| row[label as usize].clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        let loss = samples.iter().map(|(label, row)| -probability(**label, row).ln()).sum();
        let pairs = samples.iter().map(|(label, row)| (**label, predicted(row)));
        Statistics::Classification(ClassificationStatistics::of_samples(pairs, loss))
    };
    let all = Statistics::merged(&[part(0), part(1)]).unwrap();
    let from_scores = ScoreMetrics::of_matrix(&labels, &scores, classes.len());
    all.evaluate(Schema::of_classes(classes), &from_scores).unwrap()
}

fn plateau(case: &Value) -> PlateauSpec {
    let settings = &case["settings"];
    let (default, number) = (PlateauSpec::DEFAULT, |name: &str| settings[name].as_f64());
    PlateauSpec {
        class: None,
        metric: MetricName::from_word(case["metric"].as_str().unwrap()).unwrap(),
        factor: number("factor").unwrap_or(default.factor),
        patience: settings["patience"].as_u64().map_or(default.patience, |it| it as u32),
        threshold: number("threshold").unwrap_or(default.threshold),
        threshold_mode: settings["threshold_mode"]
            .as_str()
            .map_or(default.threshold_mode, |word| ThresholdMode::from_word(word).unwrap()),
        cooldown: settings["cooldown"].as_u64().map_or(default.cooldown, |it| it as u32),
        min_learning_rate: number("min_lr").unwrap_or(default.min_learning_rate),
    }
}

#[test]
fn rates_reduced_on_a_plateau_equal_those_of_pytorch() {
    let mut reductions = 0;
    for case in cases(include_str!("golden/plateau.json")) {
        let mut training = training();
        training.schedule.shape = ScheduleShape::Plateau(plateau(&case));
        let values: Vec<Option<f64>> = case["values"].as_array().unwrap().iter().map(Value::as_f64).collect();
        let rates: Vec<f64> = case["rates"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_f64)
            .collect();
        assert_eq!(rates.len(), values.len() + 1);
        for (epoch, expected) in (0..).zip(&rates) {
            // Nobody asks for what is not known yet.
            let value = |_: Watched<'_>, earlier: u32| (earlier < epoch).then(|| values[earlier as usize]).unwrap();
            assert_eq!(peak(&training, epoch, value), *expected, "epoch {epoch} of {case}");
        }
        reductions += rates.windows(2).filter(|pair| pair[1] < pair[0]).count();
    }
    assert!(reductions > 50, "the cases would not show a difference");
}

#[test]
fn metrics_equal_those_of_scikit_learn() {
    for case in cases(include_str!("golden/metrics.json")) {
        let name = case["name"].as_str().unwrap();
        let classes: Vec<String> = (0..unsigned(&case["classes"])).map(|class| class.to_string()).collect();
        let metrics = evaluated(&case, &classes);
        let named = &metrics.values;
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

        let per_class = per_class(classes.len(), metrics.confusion());
        for ((class, name), expected) in per_class
            .iter()
            .zip(&classes)
            .zip(case["per_class"].as_array().unwrap())
        {
            let found = [class.precision(), class.recall(), class.f1(), class.labelled as f64];
            let watched = ["precision", "recall", "f1"].map(|metric| {
                let watched = Watched::new(MetricName::named(metric), Some(name));
                metrics.value(watched, Schema::of_classes(&classes))
            });
            assert_eq!(
                watched[..],
                [found[0], found[1], found[2]].map(Some),
                "{name} decides by the same values"
            );
            for (found, expected) in found.iter().zip(expected.as_array().unwrap()) {
                assert!((found - expected.as_f64().unwrap()).abs() < 1e-12, "{name}: {class:?}");
            }
        }
        let confusion: Vec<u64> = case["confusion"].as_array().unwrap().iter().map(unsigned).collect();
        assert_eq!(matrix_of_cells(classes.len(), metrics.confusion()), confusion, "{name}");
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

/// All metrics of one target, from two parts as two ranks would send them.
fn of_target(pairs: &[(f64, f64)]) -> BTreeMap<String, f64> {
    let part = |odd: usize| Moments::of_pairs(&pairs.iter().skip(odd).step_by(2).copied().collect::<Vec<_>>());
    let mut metrics = targets::of_moments(&Moments::merged([part(0), part(1)].iter()));
    metrics.extend(targets::of_pairs(pairs));
    metrics
}

fn assert_near(name: &str, found: &BTreeMap<String, f64>, expected: &Value) {
    let expected = expected.as_object().unwrap();
    for (metric, expected) in expected {
        match (found.get(metric), expected.as_f64()) {
            (None, None) => {}
            // What is subtracted from a large mean is known to so many digits only, in the reference as well.
            (Some(found), Some(expected)) if (found - expected).abs() <= 1e-10 * expected.abs().max(1.0) => {}
            (found, expected) => panic!("{name}: {metric} is {found:?}, the reference's {expected:?}"),
        }
    }
    let defined = expected.values().filter(|value| !value.is_null()).count();
    assert_eq!(found.len(), defined, "{name}: every metric has its reference");
}

#[test]
fn metrics_of_numbers_equal_those_of_scikit_learn_and_scipy() {
    for case in cases(include_str!("golden/regression.json")) {
        let (name, width) = (case["name"].as_str().unwrap(), unsigned(&case["targets"]) as usize);
        let (values, predictions) = (numbers(&case["values"]), numbers(&case["predictions"]));
        let column = |target: usize| {
            let of = |all: &[f64]| all.iter().skip(target).step_by(width).copied().collect::<Vec<_>>();
            of(&values).into_iter().zip(of(&predictions)).collect::<Vec<_>>()
        };
        let found: Vec<_> = (0..width).map(|target| of_target(&column(target))).collect();
        for (found, expected) in found.iter().zip(case["per_target"].as_array().unwrap()) {
            assert_near(name, found, expected);
        }
        assert_near(name, &targets::mean(&found), &case["expected"]);
    }
}

/// Intervals of all resamples beside those of the reference.
fn assert_intervals(case: &Value, split: &dyn Redrawn, resamples: u32) {
    let (name, seed) = (case["name"].as_str().unwrap(), unsigned(&case["seed"]));
    let drawn: Vec<_> = (0..resamples)
        .map(|number| bootstrap::resample(split, seed, number))
        .collect();
    // Numbers have none.
    let classes = case["classes"].as_u64().unwrap_or(0);
    let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
    let found = bootstrap::intervals(seed, &drawn, &names).by_name;
    let expected = case["expected"].as_object().unwrap();
    for (metric, expected) in expected {
        let ends = expected.as_array().map(|_| numbers(expected));
        let found = found.get(metric).map(|found| vec![found.low, found.high]);
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
        let is_same = match (&found, &ends) {
            (Some(found), Some(ends)) => found.iter().zip(ends).all(near),
            (None, None) => true,
            _ => false,
        };
        assert!(
            is_same,
            "{name}: {metric} lies in {found:?}, in the reference's {ends:?}"
        );
    }
    let defined = expected.values().filter(|value| !value.is_null()).count();
    assert_eq!(found.len(), defined, "{name}: every metric has its reference");
}

#[test]
fn intervals_equal_the_percentiles_of_numpy_on_the_same_resamples() {
    let golden: Value = serde_json::from_str(include_str!("golden/bootstrap.json")).unwrap();
    let resamples = unsigned(&golden["resamples"]) as u32;
    for case in golden["classes"].as_array().unwrap() {
        let classes = unsigned(&case["classes"]) as usize;
        let (labels, scores) = (case["labels"].as_array().unwrap(), numbers(&case["scores"]));
        let mut split = RedrawnClasses::new(classes);
        for (label, scores) in labels.iter().map(unsigned).zip(scores.chunks_exact(classes)) {
            split.add(&Scored {
                label: label as u32,
                named: &[],
                scores,
                classes,
            });
        }
        for class in ScoreMetrics::wanted(classes) {
            let column = scores.iter().skip(class as usize).step_by(classes);
            split.add_column(class, column.copied().collect());
        }
        assert_intervals(case, &split, resamples);
    }
    for case in golden["numbers"].as_array().unwrap() {
        let width = unsigned(&case["targets"]) as usize;
        let (values, predictions) = (numbers(&case["values"]), numbers(&case["predictions"]));
        let scale = |number: usize| Target {
            name: number.to_string(),
            mean: 0.0,
            std: 2.0,
        };
        let targets: Vec<Target> = (0..width).map(scale).collect();
        let rows = values.chunks_exact(width).zip(predictions.chunks_exact(width));
        let losses = rows.map(|(values, predictions)| Distance::Squared.of_sample(&targets, values, predictions));
        let pairs = (0..width).map(|target| {
            let of = |all: &[f64]| all.iter().skip(target).step_by(width).copied().collect::<Vec<_>>();
            of(&values).into_iter().zip(of(&predictions)).collect()
        });
        assert_intervals(case, &RedrawnNumbers::new(losses.collect(), pairs.collect()), resamples);
    }
}

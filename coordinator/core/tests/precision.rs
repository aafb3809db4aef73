//! Ten million samples lose no digit that anybody looks at, and the order in which parts are added shows in none.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use firn_core::{
    metrics::Sum,
    task::{ClassificationStatistics, RegressionStatistics},
};

const SAMPLES: u64 = 10_000_000;
const PARTS: u64 = 500;

/// What differs in a value and in its prediction, in steps of 1/1024: numbers that doubles hold exactly.
fn steps(sample: u64) -> (i64, i64) {
    let mixed = sample.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 52) as i64, ((mixed >> 40) & 0xff) as i64)
}

/// A spread of 1 at a mean of 400,000: prices, or days.
fn pair(sample: u64) -> (f64, f64) {
    let (value, error) = steps(sample);
    let in_units = |steps: i64| 400_000.0 + steps as f64 / 1024.0;
    (in_units(value), in_units(value + error))
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-13 * expected.abs()
}

#[test]
fn numbers_keep_their_digits() {
    let size = SAMPLES / PARTS;
    let part = |number: u64| {
        let pairs: Vec<_> = (number * size..(number + 1) * size).map(pair).collect();
        let samples = pairs
            .iter()
            .map(|(value, prediction)| (std::slice::from_ref(value), std::slice::from_ref(prediction)));
        RegressionStatistics::of_samples(samples, 0.1 * size as f64)
    };
    let parts: Vec<RegressionStatistics> = (0..PARTS).map(part).collect();

    // The same in integers.
    let (mut values, mut squares, mut errors, mut error_squares) = (0i128, 0i128, 0i128, 0i128);
    for (value, error) in (0..SAMPLES).map(steps) {
        values += i128::from(value);
        squares += i128::from(value * value);
        errors += i128::from(error);
        error_squares += i128::from(error * error);
    }
    let samples = i128::from(SAMPLES);
    let about_the_mean = (samples * squares - values * values) as f64 / SAMPLES as f64;
    let expected = [
        ("mae", errors as f64 / 1024.0 / SAMPLES as f64),
        ("mse", error_squares as f64 / 1024.0 / 1024.0 / SAMPLES as f64),
        ("r2", 1.0 - error_squares as f64 / about_the_mean),
        ("loss", 0.1),
    ];
    let forwards = RegressionStatistics::merged(&parts).evaluate().unwrap();
    let backwards = RegressionStatistics::merged(parts.iter().rev()).evaluate().unwrap();
    assert_eq!(forwards.samples, SAMPLES);
    for (name, expected) in expected {
        for found in [&forwards, &backwards] {
            assert!(
                near(found.values[name], expected),
                "{name}: {} {expected}",
                found.values[name]
            );
        }
    }
    for (name, value) in &forwards.values {
        assert!(near(backwards.values[name], *value), "{name} depends on the order");
    }
}

#[test]
fn losses_keep_their_digits() {
    let losses = |samples: u64| (0..samples).map(|_| 0.1);
    let expected = 0.1 * SAMPLES as f64;
    let plain: f64 = losses(SAMPLES).sum();
    assert!(!near(plain, expected), "a plain sum would do: {plain} {expected}");
    assert!(near(losses(SAMPLES).collect::<Sum>().value(), expected));

    let samples = SAMPLES / PARTS;
    let part = |_| {
        let loss: Sum = losses(samples).collect();
        ClassificationStatistics {
            samples,
            loss_sum: loss.value(),
            ..ClassificationStatistics::default()
        }
    };
    let parts: Vec<ClassificationStatistics> = (0..PARTS).map(part).collect();
    for merged in [
        ClassificationStatistics::merged(&parts),
        ClassificationStatistics::merged(parts.iter().rev()),
    ] {
        assert!(near(merged.loss_sum, expected), "{} {expected}", merged.loss_sum);
    }
}

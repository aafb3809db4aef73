//! Stored intervals stay what they are: resamples that are counted side by side give what each by itself gave in the build before.
//!
//! `golden/intervals_before.json` was written by that build, of scores that are filled by formula; ends are the bits of doubles.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use firn_core::metrics::{RedrawnClasses, ScoreMetrics, Scored, bootstrap};
use serde_json::Value;

/// A fixed number in [0, 1).
fn part(sample: u64, place: u64) -> f64 {
    let mut word = (sample * 1024 + place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((word ^ (word >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[test]
fn intervals_are_those_of_the_build_before_to_the_last_bit() {
    let golden: Value = serde_json::from_str(include_str!("golden/intervals_before.json")).unwrap();
    let seed = golden["seed"].as_u64().unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let [samples, classes, steps] = ["samples", "classes", "steps"].map(|field| case[field].as_u64().unwrap());
        let classes = classes as usize;
        let mut split = RedrawnClasses::new(classes);
        let mut columns = vec![Vec::new(); classes];
        for sample in 0..samples {
            let label = (part(sample, 0) * classes as f64) as u32;
            let score = |class: u64| {
                let lead = if class == u64::from(label) { 0.5 } else { 0.0 };
                let score = (part(sample, class + 1) + lead) / 1.5;
                // In steps, so that many are equal.
                if steps > 0 {
                    (score * steps as f64).round() / steps as f64
                } else {
                    score
                }
            };
            let scores: Vec<f64> = (0..classes as u64).map(score).collect();
            split.add(&Scored {
                label,
                named: &[],
                scores: &scores,
                classes,
            });
            columns
                .iter_mut()
                .zip(scores)
                .for_each(|(column, score): (&mut Vec<f64>, f64)| column.push(score));
        }
        for class in ScoreMetrics::wanted(classes) {
            split.add_column(class, columns[class as usize].clone());
        }
        let side_by_side: Vec<_> = (0..bootstrap::blocks())
            .flat_map(|block| bootstrap::block(&split, seed, block))
            .collect();
        for (resample, metrics) in (0..bootstrap::RESAMPLES).zip(&side_by_side).step_by(97) {
            assert_eq!(
                &bootstrap::resample(&split, seed, resample),
                metrics,
                "alone and side by side"
            );
        }
        let found = bootstrap::intervals(seed, &side_by_side, &[]).by_name;
        let expected = case["intervals"].as_object().unwrap();
        assert_eq!(found.len(), expected.len());
        for (name, interval) in found {
            let ends = [interval.low, interval.high].map(|end| format!("{:016x}", end.to_bits()));
            assert_eq!(
                serde_json::to_value(&ends).unwrap(),
                expected[&name],
                "{name} of {case}"
            );
        }
    }
}

//! How sure a metric is: intervals by the percentile bootstrap (Efron 1979).
//!
//! The samples of a split are drawn again, as many as there are and each as often as it comes, a thousand times. The interval of a metric goes
//! from the 2.5th to the 97.5th percentile of its values, interpolated as `numpy.percentile` does. Which samples are drawn follows from the job's seed
//! by [`Random`], so whoever has the predictions finds the same numbers.
//!
//! This file knows nothing of threads: whoever has several gives each some of the resamples.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lanes::{Drawn, LANES};
use crate::random::{Below, Purpose, Random};

/// How often the samples are drawn again.
pub const RESAMPLES: u32 = 1000;
/// The part of the values that lies within an interval.
pub const LEVEL: f64 = 0.95;
/// The parts of the values that lie below its ends.
const ENDS: [f64; 2] = [0.025, 0.975];

/// Samples that can be drawn again.
pub trait Redrawn: Sync {
    /// How many there are.
    fn samples(&self) -> usize;

    /// The metrics that are defined where each sample counts so often.
    fn metrics(&self, weights: &[u32]) -> BTreeMap<&'static str, f64>;

    /// The same of each resample of a block.
    fn metrics_of(&self, drawn: &Drawn) -> Vec<BTreeMap<&'static str, f64>> {
        (0..drawn.lanes())
            .map(|lane| self.metrics(&drawn.weights(lane)))
            .collect()
    }
}

/// Where a metric lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Of a split, as they are recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// How often the samples were drawn again.
    pub resamples: u32,
    /// What they were drawn by.
    pub seed: u64,
    /// The part of the values that lies within an interval.
    pub level: f64,
    /// By name of the metric.
    pub by_name: BTreeMap<String, Interval>,
}

/// How often each sample counts in a resample (from 0): as often as it is drawn.
pub fn weights(seed: u64, resample: u32, samples: usize) -> Vec<u32> {
    let mut random = Random::new(seed, Purpose::Bootstrap, resample);
    let mut weights = vec![0; samples];
    if samples > 0 {
        let place = Below::new(samples as u64);
        for _ in 0..samples {
            weights[random.next_below(place) as usize] += 1;
        }
    }
    weights
}

/// The metrics of one resample (from 0).
pub fn resample(split: &dyn Redrawn, seed: u64, resample: u32) -> BTreeMap<&'static str, f64> {
    split.metrics(&weights(seed, resample, split.samples()))
}

/// Blocks of resamples that are counted side by side.
pub fn blocks() -> u32 {
    RESAMPLES.div_ceil(LANES as u32)
}

/// The metrics of the resamples of a block (from 0), in order.
pub fn block(split: &dyn Redrawn, seed: u64, block: u32) -> Vec<BTreeMap<&'static str, f64>> {
    let first = block * LANES as u32;
    let resamples = first..(first + LANES as u32).min(RESAMPLES);
    let samples = split.samples();
    let weights = resamples.map(|resample| weights(seed, resample, samples));
    split.metrics_of(&Drawn::of(samples, weights))
}

/// The intervals of the metrics of a split, from those of its resamples, in any order. A metric that is undefined in some resamples has the
/// percentiles of the others, as `numpy.nanpercentile` has it; one that is undefined in more than half of them has none.
pub fn intervals(seed: u64, resamples: &[BTreeMap<&'static str, f64>]) -> Intervals {
    let mut values: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for (name, value) in resamples.iter().flatten().filter(|(_, value)| !value.is_nan()) {
        values.entry(name).or_default().push(*value);
    }
    let interval = |(name, mut values): (&'static str, Vec<f64>)| {
        if values.len() * 2 < resamples.len() {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let [low, high] = ENDS.map(|part| percentile(&values, part));
        let interval = Interval { low, high };
        let is_finite = interval.low.is_finite() && interval.high.is_finite();
        is_finite.then(|| (name.to_owned(), interval))
    };
    Intervals {
        resamples: resamples.len() as u32,
        seed,
        level: LEVEL,
        by_name: values.into_iter().filter_map(interval).collect(),
    }
}

/// Between the two values beside the place, in the same part. Of rising values, of which there is one.
fn percentile(values: &[f64], part: f64) -> f64 {
    let place = part * (values.len() - 1) as f64;
    let below = place.floor();
    let (low, high) = (values[below as usize], values[place.ceil() as usize]);
    match low == high {
        // Also where both are infinite.
        true => low,
        false => low + (high - low) * (place - below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: &[f64]) -> Vec<BTreeMap<&'static str, f64>> {
        values
            .iter()
            .map(|value| BTreeMap::from([("accuracy", *value)]))
            .collect()
    }

    #[test]
    fn percentiles_are_interpolated() {
        let rising: Vec<f64> = (0..=100).map(f64::from).collect();
        let all = intervals(0, &values(&rising));
        assert_eq!(all.by_name["accuracy"], Interval { low: 2.5, high: 97.5 });
        assert_eq!((all.resamples, all.level), (101, 0.95));
        let one = intervals(0, &values(&[0.5]));
        assert_eq!(one.by_name["accuracy"], Interval { low: 0.5, high: 0.5 });
    }

    #[test]
    fn a_metric_that_is_seldom_defined_or_endless_has_none() {
        let mut resamples = values(&[0.5, 0.75]);
        resamples.extend([BTreeMap::new(), BTreeMap::new()]);
        assert!(intervals(0, &resamples).by_name.contains_key("accuracy"));
        resamples.push(BTreeMap::new());
        assert!(intervals(0, &resamples).by_name.is_empty());
        assert!(intervals(0, &values(&[f64::INFINITY; 4])).by_name.is_empty());
    }

    #[test]
    fn as_many_samples_are_drawn_as_there_are_and_each_resample_has_its_own() {
        let drawn: Vec<Vec<u32>> = (0..3).map(|resample| weights(7, resample, 50)).collect();
        assert!(drawn.iter().all(|weights| weights.iter().sum::<u32>() == 50));
        assert_ne!(drawn[0], drawn[1]);
        assert_ne!(drawn[0], weights(8, 0, 50));
        assert_eq!(drawn[2], weights(7, 2, 50));
        assert!(weights(7, 0, 0).is_empty());
    }
}

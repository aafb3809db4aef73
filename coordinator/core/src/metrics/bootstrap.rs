//! How sure a metric is: intervals by the percentile bootstrap (Efron 1979).
//!
//! The samples of a split are drawn again, as many as there are and each as often as it comes, a thousand times. The interval of a metric goes
//! from the 2.5th to the 97.5th percentile of its values, interpolated as `numpy.percentile` does. Which samples are drawn follows from the job's seed
//! by [`Random`], so whoever has the predictions finds the same numbers.
//!
//! This file knows nothing of threads: whoever has several gives each some of the resamples.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counts::ClassCounts;
use super::lanes::{Drawn, LANES};
use super::table::{Formula, METRICS};
use super::watched;
use crate::random::{Below, Purpose, Random};

/// How often the samples are drawn again.
pub const RESAMPLES: u32 = 1000;
/// The part of the values that lies within an interval.
pub const LEVEL: f64 = 0.95;
/// The parts of the values that lie below its ends.
const ENDS: [f64; 2] = [0.025, 0.975];
/// Classes, labels or types of entity whose own metrics have intervals, at most: of more, a record would be long.
pub const MOST_CLASSES: usize = 100;

/// Samples that can be drawn again.
pub trait Redrawn: Sync {
    /// How many there are.
    fn samples(&self) -> usize;

    /// What comes of the resample in which each sample counts so often.
    fn resample(&self, weights: &[u32]) -> Resample;

    /// The same of each resample of a block.
    fn resamples(&self, drawn: &Drawn) -> Vec<Resample> {
        (0..drawn.lanes())
            .map(|lane| self.resample(&drawn.weights(lane)))
            .collect()
    }
}

/// What comes of one resample.
#[derive(Debug, Clone, PartialEq)]
pub struct Resample {
    /// Those that are defined.
    pub metrics: BTreeMap<&'static str, f64>,
    /// How often each class, label or type of entity was true, predicted and both; empty where there are none, or more than [`MOST_CLASSES`].
    pub classes: Vec<ClassCounts>,
}

impl Resample {
    /// `classes`: none of numbers.
    pub fn new(metrics: BTreeMap<&'static str, f64>, mut classes: Vec<ClassCounts>) -> Self {
        if classes.len() > MOST_CLASSES {
            classes = Vec::new();
        }
        Self { metrics, classes }
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

/// What comes of one resample (from 0).
pub fn resample(split: &dyn Redrawn, seed: u64, resample: u32) -> Resample {
    split.resample(&weights(seed, resample, split.samples()))
}

/// Blocks of resamples that are counted side by side.
pub fn blocks() -> u32 {
    RESAMPLES.div_ceil(LANES as u32)
}

/// What comes of the resamples of a block (from 0), in order.
pub fn block(split: &dyn Redrawn, seed: u64, block: u32) -> Vec<Resample> {
    let first = block * LANES as u32;
    let resamples = first..(first + LANES as u32).min(RESAMPLES);
    let samples = split.samples();
    let weights = resamples.map(|resample| weights(seed, resample, samples));
    split.resamples(&Drawn::of(samples, weights))
}

/// The intervals of the metrics of a split, from those of its resamples, in any order. A metric that is undefined in some resamples has the
/// percentiles of the others, as `numpy.nanpercentile` has it; one that is undefined in more than half of them has none. `classes`: the names of
/// those that the split has; the metrics of one are called as [`watched::name`] does.
pub fn intervals(seed: u64, resamples: &[Resample], classes: &[String]) -> Intervals {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let metrics = resamples.iter().flat_map(|resample| &resample.metrics);
    for (name, value) in metrics.filter(|(_, value)| !value.is_nan()) {
        match values.get_mut(*name) {
            Some(values) => values.push(*value),
            None => drop(values.insert((*name).to_owned(), vec![*value])),
        }
    }
    values.extend(of_classes(resamples, classes));
    let interval = |(name, mut values): (String, Vec<f64>)| {
        if values.len() * 2 < resamples.len() {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let [low, high] = ENDS.map(|part| percentile(&values, part));
        let interval = Interval { low, high };
        let is_finite = interval.low.is_finite() && interval.high.is_finite();
        is_finite.then_some((name, interval))
    };
    Intervals {
        resamples: resamples.len() as u32,
        seed,
        level: LEVEL,
        by_name: values.into_iter().filter_map(interval).collect(),
    }
}

/// The metrics of each class by itself, by name: their values in all resamples.
fn of_classes<'a>(resamples: &'a [Resample], classes: &'a [String]) -> impl Iterator<Item = (String, Vec<f64>)> + 'a {
    let formulas = METRICS.iter().filter_map(|metric| match metric.formula {
        Formula::OneClass(formula) => Some((metric.name, formula)),
        _ => None,
    });
    formulas.flat_map(move |(metric, formula)| {
        classes.iter().enumerate().filter_map(move |(place, class)| {
            let values = resamples
                .iter()
                .map(|resample| resample.classes.get(place).map(formula));
            Some((watched::name(metric, class), values.collect::<Option<Vec<f64>>>()?))
        })
    })
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

    fn resample(metrics: BTreeMap<&'static str, f64>) -> Resample {
        Resample::new(metrics, Vec::new())
    }

    fn values(values: &[f64]) -> Vec<Resample> {
        let metrics = values.iter().map(|value| BTreeMap::from([("accuracy", *value)]));
        metrics.map(resample).collect()
    }

    #[test]
    fn percentiles_are_interpolated() {
        let rising: Vec<f64> = (0..=100).map(f64::from).collect();
        let all = intervals(0, &values(&rising), &[]);
        assert_eq!(all.by_name["accuracy"], Interval { low: 2.5, high: 97.5 });
        assert_eq!((all.resamples, all.level), (101, 0.95));
        let one = intervals(0, &values(&[0.5]), &[]);
        assert_eq!(one.by_name["accuracy"], Interval { low: 0.5, high: 0.5 });
    }

    #[test]
    fn a_metric_that_is_seldom_defined_or_endless_has_none() {
        let mut resamples = values(&[0.5, 0.75]);
        resamples.extend([resample(BTreeMap::new()), resample(BTreeMap::new())]);
        assert!(intervals(0, &resamples, &[]).by_name.contains_key("accuracy"));
        resamples.push(resample(BTreeMap::new()));
        assert!(intervals(0, &resamples, &[]).by_name.is_empty());
        assert!(intervals(0, &values(&[f64::INFINITY; 4]), &[]).by_name.is_empty());
    }

    #[test]
    fn more_classes_than_a_record_holds_have_no_intervals_of_their_own() {
        struct Many(usize);
        impl Redrawn for Many {
            fn samples(&self) -> usize {
                1
            }
            fn resample(&self, _: &[u32]) -> Resample {
                Resample::new(BTreeMap::new(), vec![ClassCounts::default(); self.0])
            }
        }
        let found = |classes: usize| {
            let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
            let drawn = [super::resample(&Many(classes), 0, 0)];
            intervals(0, &drawn, &names).by_name.len()
        };
        assert_eq!((found(MOST_CLASSES), found(MOST_CLASSES + 1)), (3 * MOST_CLASSES, 0));
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

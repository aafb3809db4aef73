//! Metrics of samples that may have several labels, where the scores of single samples are needed, and the same samples as the
//! [bootstrap](super::bootstrap) draws them again.

use std::collections::BTreeMap;

use super::bootstrap::{Redrawn, Resample};
use super::counts::{ClassCounts, Counts};
use super::label_sets::{LabelSet, Labelled};
use super::lanes::{Drawn, LANES, Once, Weights};
use super::one_vs_rest::OneVsRest;
use super::ordered::Ordered;
use super::redrawn::mean;
use super::sum::Sum;
use super::table::{Formula, METRICS};

type OfSet = fn(&LabelSet) -> f64;

fn of_sets() -> impl Iterator<Item = (&'static str, OfSet)> {
    METRICS.iter().filter_map(|metric| match metric.formula {
        Formula::LabelSets(formula) => Some((metric.name, formula)),
        _ => None,
    })
}

/// Collects the samples of a split one by one, and then label by label, so that no more than one label's scores have to be in memory.
pub struct LabelMetrics {
    samples: u64,
    sums: Vec<(&'static str, OfSet, Sum)>,
    areas: OneVsRest,
}

impl Default for LabelMetrics {
    fn default() -> Self {
        Self {
            samples: 0,
            sums: of_sets()
                .map(|(name, formula)| (name, formula, Sum::default()))
                .collect(),
            areas: OneVsRest::new(),
        }
    }
}

impl LabelMetrics {
    /// Adds a sample.
    pub fn add(&mut self, sample: &Labelled<'_>) {
        let set = sample.set();
        self.samples += 1;
        self.sums
            .iter_mut()
            .for_each(|(_, formula, sum)| sum.add(formula(&set)));
    }

    /// Adds a label: of each sample, whether it has it, and its probability.
    pub fn add_label(&mut self, pairs: &[(bool, f64)]) {
        Column::new(pairs).add_to(&mut self.areas, &Once);
    }

    /// The values of those that are defined, once all samples and all labels were added.
    pub fn values(&self) -> BTreeMap<&'static str, f64> {
        if self.samples == 0 {
            return BTreeMap::new();
        }
        let means = self.sums.iter();
        let means = means.map(|(name, _, sum)| (*name, sum.value() / self.samples as f64));
        means.chain(self.areas.values(0)).collect()
    }
}

/// The scores of one label, in the order of the samples.
struct Column {
    is_true: Vec<bool>,
    /// `None`: one is not a number.
    scores: Option<Ordered>,
}

impl Column {
    fn new(pairs: &[(bool, f64)]) -> Self {
        Self {
            is_true: pairs.iter().map(|pair| pair.0).collect(),
            scores: Ordered::of(pairs.iter().map(|pair| pair.1)),
        }
    }

    fn add_to<W: Weights>(&self, areas: &mut OneVsRest, weights: &W) {
        let Some(scores) = &self.scores else {
            areas.add_undefined();
            return;
        };
        let mut own = [0u64; LANES];
        for (place, _) in self.is_true.iter().enumerate().filter(|(_, is_true)| **is_true) {
            for (own, weight) in own.iter_mut().zip(weights.row(place)) {
                *own += u64::from(weight);
            }
        }
        let is_positive = |place: usize| self.is_true[place];
        let weighted = own.map(|own| own as f64);
        areas.add((scores, weights), is_positive, (&own, &weighted), |_, _, _| {});
    }
}

/// Samples that may have several labels.
pub struct RedrawnLabels {
    labels: usize,
    losses: Vec<f64>,
    sets: Vec<(&'static str, Vec<f64>)>,
    /// Of each sample, where its flags end.
    ends: Vec<usize>,
    /// The labels of a sample that are true or predicted, and which of both: there are few of them.
    flags: Vec<(u32, bool, bool)>,
    columns: Vec<Column>,
}

impl RedrawnLabels {
    /// Of a model with so many outputs.
    pub fn new(labels: usize) -> Self {
        Self {
            labels,
            losses: Vec::new(),
            sets: of_sets().map(|(name, _)| (name, Vec::new())).collect(),
            ends: Vec::new(),
            flags: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// Adds a sample.
    pub fn add(&mut self, sample: &Labelled<'_>) {
        let set = sample.set();
        self.losses.push(sample.cross_entropy());
        for ((_, values), (_, formula)) in self.sets.iter_mut().zip(of_sets()) {
            values.push(formula(&set));
        }
        let flags = (0..).zip(sample.by_label());
        let flags = flags.map(|(label, (is_true, is_predicted))| (label, is_true, is_predicted));
        self.flags
            .extend(flags.filter(|(_, is_true, is_predicted)| *is_true || *is_predicted));
        self.ends.push(self.flags.len());
    }

    /// Adds the scores of a label: of each sample, whether it has it, and its probability.
    pub fn add_label(&mut self, pairs: &[(bool, f64)]) {
        self.columns.push(Column::new(pairs));
    }

    /// Of each resample, whose weights `of_lane` gives.
    fn with_areas<W: Weights>(&self, weights: W, of_lane: impl Fn(usize) -> Vec<u32>) -> Vec<Resample> {
        let mut areas = OneVsRest::new();
        for column in &self.columns {
            column.add_to(&mut areas, &weights);
        }
        let of_lane = |lane: usize| {
            let mut resample = self.of_samples(&of_lane(lane));
            resample.metrics.extend(areas.values(lane));
            resample
        };
        (0..weights.lanes()).map(of_lane).collect()
    }

    /// With the metrics that do not compare samples.
    fn of_samples(&self, weights: &[u32]) -> Resample {
        let counts = self.counts(weights);
        let of_counts = METRICS.iter().filter_map(|metric| match metric.formula {
            Formula::PerClass(formula) => Some((metric.name, formula(&counts)?)),
            _ => None,
        });
        let means = self.sets.iter().map(|(name, values)| (*name, mean(values, weights)));
        let loss = ("loss", mean(&self.losses, weights));
        let metrics = of_counts.chain(means).chain([loss]).collect();
        Resample::new(metrics, counts.classes)
    }

    fn counts(&self, weights: &[u32]) -> Counts {
        let mut classes = vec![ClassCounts::default(); self.labels];
        let mut begin = 0;
        for (end, weight) in self.ends.iter().zip(weights) {
            for (label, is_true, is_predicted) in &self.flags[begin..*end] {
                classes[*label as usize].add(*is_true, *is_predicted, u64::from(*weight));
            }
            begin = *end;
        }
        let samples = weights.iter().map(|weight| u64::from(*weight)).sum();
        Counts {
            samples,
            classes,
            squares: 0,
        }
    }
}

impl Redrawn for RedrawnLabels {
    fn samples(&self) -> usize {
        self.losses.len()
    }

    fn resample(&self, weights: &[u32]) -> Resample {
        self.with_areas(weights, |_| weights.to_vec()).swap_remove(0)
    }

    fn resamples(&self, drawn: &Drawn) -> Vec<Resample> {
        self.with_areas(drawn, |lane| drawn.weights(lane))
    }
}

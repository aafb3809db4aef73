//! Metrics of samples that may have several labels, where the scores of single samples are needed, and the same samples as the
//! [bootstrap](super::bootstrap) draws them again.

use std::collections::BTreeMap;

use super::bootstrap::Redrawn;
use super::counts::{ClassCounts, Counts};
use super::label_sets::{LabelSet, Labelled};
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
        let weights = vec![1; pairs.len()];
        let column = Column::new(pairs);
        column.add_to(&mut self.areas, &weights);
    }

    /// The values of those that are defined, once all samples and all labels were added.
    pub fn values(&self) -> BTreeMap<&'static str, f64> {
        if self.samples == 0 {
            return BTreeMap::new();
        }
        let means = self.sums.iter();
        let means = means.map(|(name, _, sum)| (*name, sum.value() / self.samples as f64));
        means.chain(self.areas.values()).collect()
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

    fn add_to(&self, areas: &mut OneVsRest, weights: &[u32]) {
        let Some(scores) = &self.scores else {
            areas.add_undefined();
            return;
        };
        let own = self.is_true.iter().zip(weights).filter(|(is_true, _)| **is_true);
        let own: u64 = own.map(|(_, weight)| u64::from(*weight)).sum();
        areas.add(scores, |place| self.is_true[place], weights, own as f64);
    }
}

/// Samples that may have several labels.
pub struct RedrawnLabels {
    labels: usize,
    losses: Vec<f64>,
    sets: Vec<(&'static str, Vec<f64>)>,
    /// Samples × labels, row-major: whether each is true, and whether it is predicted.
    flags: Vec<(bool, bool)>,
    columns: Vec<Column>,
}

impl RedrawnLabels {
    /// Of a model with so many outputs.
    pub fn new(labels: usize) -> Self {
        Self {
            labels,
            losses: Vec::new(),
            sets: of_sets().map(|(name, _)| (name, Vec::new())).collect(),
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
        self.flags.extend(sample.by_label());
    }

    /// Adds the scores of a label: of each sample, whether it has it, and its probability.
    pub fn add_label(&mut self, pairs: &[(bool, f64)]) {
        self.columns.push(Column::new(pairs));
    }

    fn counts(&self, weights: &[u32]) -> Counts {
        let mut classes = vec![ClassCounts::default(); self.labels];
        for (flags, weight) in self.flags.chunks(self.labels.max(1)).zip(weights) {
            for (class, (is_true, is_predicted)) in classes.iter_mut().zip(flags) {
                class.add(*is_true, *is_predicted, u64::from(*weight));
            }
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

    fn metrics(&self, weights: &[u32]) -> BTreeMap<&'static str, f64> {
        let counts = self.counts(weights);
        let mut areas = OneVsRest::new();
        for column in &self.columns {
            column.add_to(&mut areas, weights);
        }
        let mut metrics: BTreeMap<&'static str, f64> = areas.values().collect();
        metrics.extend(METRICS.iter().filter_map(|metric| match metric.formula {
            Formula::PerClass(formula) => Some((metric.name, formula(&counts)?)),
            _ => None,
        }));
        metrics.extend(self.sets.iter().map(|(name, values)| (*name, mean(values, weights))));
        metrics.insert("loss", mean(&self.losses, weights));
        metrics
    }
}

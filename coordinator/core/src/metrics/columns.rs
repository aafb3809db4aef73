//! Metrics that compare the scores of one class over all samples: the class against the rest, and against each other class.
//!
//! Classes are added one after the other, so no more than one class's scores have to be in memory. A sample may count several times, or not
//! at all, as it does in a split that is drawn again; everything is counted in integers, and divided once.

use std::collections::BTreeMap;

use super::one_vs_rest::{ByAverage, OneVsRest};
use super::ordered::Ordered;
use super::table::{Formula, METRICS};

/// The averages over the classes that were added.
pub(super) struct Columns<'a> {
    /// Of each sample.
    labels: &'a [u32],
    /// How often each sample counts.
    weights: &'a [u32],
    /// How many samples count of each class.
    sizes: Vec<u64>,
    rest: OneVsRest,
    /// Σ of the areas over ordered pairs of classes, of their weights, by average; `None` once a score was not a number.
    pairs: Option<(ByAverage, ByAverage)>,
    doubled_pairs: Vec<u64>,
}

impl<'a> Columns<'a> {
    /// Of samples with these labels, each counting so often.
    pub(super) fn new(classes: usize, labels: &'a [u32], weights: &'a [u32]) -> Self {
        let mut sizes = vec![0; classes];
        for (label, weight) in labels.iter().zip(weights) {
            sizes[*label as usize] += u64::from(*weight);
        }
        Self {
            labels,
            weights,
            sizes,
            rest: OneVsRest::new(),
            pairs: Some((ByAverage::default(), ByAverage::default())),
            doubled_pairs: vec![0; classes],
        }
    }

    /// Adds a class by the order of its scores; `None`: one of them is not a number.
    pub(super) fn add(&mut self, class: u32, scores: Option<&Ordered>) {
        let Some(scores) = scores else {
            self.rest.add_undefined();
            self.pairs = None;
            return;
        };
        // Of two classes there is one column, and so no average.
        let weighted = match self.sizes.len() {
            2 => 1.0,
            _ => self.sizes[class as usize] as f64,
        };
        let is_positive = |place: usize| self.labels[place] == class;
        self.rest.add(scores, is_positive, self.weights, weighted);
        self.against_each(class, scores);
    }

    /// Hand & Till 2001: of a class and each other one, the area under the ROC curve of this class's score on the samples of both.
    fn against_each(&mut self, class: u32, scores: &Ordered) {
        let Some((sums, weights)) = &mut self.pairs else { return };
        self.doubled_pairs.fill(0);
        let mut above = 0;
        for run in scores.runs().rev() {
            let weight = |place: &u32| u64::from(self.weights[*place as usize]);
            let label = |place: &u32| self.labels[*place as usize];
            let tied: u64 = run.iter().filter(|place| label(place) == class).map(weight).sum();
            for place in run {
                self.doubled_pairs[label(place) as usize] += weight(place) * (2 * above + tied);
            }
            above += tied;
        }
        let size = self.sizes[class as usize];
        for (other, doubled) in self.doubled_pairs.iter().enumerate() {
            let other_size = self.sizes[other];
            if other == class as usize || size == 0 || other_size == 0 {
                continue;
            }
            let area = *doubled as f64 / (2.0 * size as f64 * other_size as f64);
            let weight = (size + other_size) as f64;
            sums.macro_average += area;
            sums.weighted += area * weight;
            weights.macro_average += 1.0;
            weights.weighted += weight;
        }
    }

    /// The values of those that are defined, once all classes were added.
    pub(super) fn finish(&self) -> BTreeMap<&'static str, f64> {
        let mut values: BTreeMap<&'static str, f64> = self.rest.values().collect();
        for metric in METRICS {
            let Formula::OneVsOne(average) = metric.formula else {
                continue;
            };
            let Some((sums, weights)) = self.pairs else { continue };
            if weights.of(average) > 0.0 {
                values.insert(metric.name, sums.of(average) / weights.of(average));
            }
        }
        values
    }
}

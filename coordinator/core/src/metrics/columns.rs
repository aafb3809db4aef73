//! Metrics that compare the scores of one class over all samples: the class against the rest, and against each other class.
//!
//! Classes are added one after the other, so no more than one class's scores have to be in memory. A sample may count several times, or not
//! at all, as it does in a split that is drawn again; everything is counted in integers, and divided once.

use std::collections::BTreeMap;

use super::lanes::{LANES, Row, Weights, add_products};
use super::one_vs_rest::{ByAverage, OneVsRest};
use super::ordered::Ordered;
use super::table::{Formula, METRICS};

/// Of areas over ordered pairs of classes.
#[derive(Default, Clone, Copy)]
struct Pairs {
    sums: ByAverage,
    weights: ByAverage,
}

/// The averages over the classes that were added, in each resample of a block.
pub(super) struct Columns<'a, W> {
    /// Of each sample.
    labels: &'a [u32],
    /// How often each sample counts.
    weights: W,
    /// How many samples count of each class.
    sizes: Vec<[u64; LANES]>,
    rest: OneVsRest,
    /// `None` once a score was not a number.
    pairs: Option<[Pairs; LANES]>,
    doubled_pairs: Vec<[u64; LANES]>,
}

impl<'a, W: Weights> Columns<'a, W> {
    /// Of samples with these labels, each counting so often.
    pub(super) fn new(classes: usize, labels: &'a [u32], weights: W) -> Self {
        let mut sizes = vec![[0; LANES]; classes];
        for (place, label) in labels.iter().enumerate() {
            for (size, weight) in sizes[*label as usize].iter_mut().zip(weights.row(place)) {
                *size += u64::from(weight);
            }
        }
        Self {
            labels,
            weights,
            sizes,
            rest: OneVsRest::new(),
            pairs: Some([Pairs::default(); LANES]),
            doubled_pairs: vec![[0; LANES]; classes],
        }
    }

    /// Adds a class by the order of its scores; `None`: one of them is not a number.
    pub(super) fn add(&mut self, class: u32, scores: Option<&Ordered>) {
        let Some(scores) = scores else {
            self.rest.add_undefined();
            self.pairs = None;
            return;
        };
        let sizes = &self.sizes[class as usize];
        // Of two classes there is one column, and so no average.
        let weighted = match self.sizes.len() {
            2 => [1.0; LANES],
            _ => sizes.map(|size| size as f64),
        };
        let labels = self.labels;
        let is_positive = |place: usize| labels[place] == class;
        self.doubled_pairs.fill([0; LANES]);
        let doubled_pairs = &mut self.doubled_pairs;
        let each_class = |place: usize, rows: (&Row, &Row), times: u64| {
            add_products(&mut doubled_pairs[labels[place] as usize], rows, times);
        };
        self.rest
            .add((scores, &self.weights), is_positive, (sizes, &weighted), each_class);
        self.add_pairs(class as usize);
    }

    /// Hand & Till 2001: of a class and each other one, the area under the ROC curve of this class's score on the samples of both.
    fn add_pairs(&mut self, class: usize) {
        let Some(pairs) = &mut self.pairs else { return };
        for (other, doubled) in self.doubled_pairs.iter().enumerate() {
            if other == class {
                continue;
            }
            for (lane, pairs) in pairs.iter_mut().enumerate().take(self.weights.lanes()) {
                let (size, other_size) = (self.sizes[class][lane], self.sizes[other][lane]);
                if size == 0 || other_size == 0 {
                    continue;
                }
                let area = doubled[lane] as f64 / (2.0 * size as f64 * other_size as f64);
                let weight = (size + other_size) as f64;
                pairs.sums.macro_average += area;
                pairs.sums.weighted += area * weight;
                pairs.weights.macro_average += 1.0;
                pairs.weights.weighted += weight;
            }
        }
    }

    /// The values of those that are defined, of each resample, once all classes were added.
    pub(super) fn finish(&self) -> Vec<BTreeMap<&'static str, f64>> {
        (0..self.weights.lanes()).map(|lane| self.of_lane(lane)).collect()
    }

    fn of_lane(&self, lane: usize) -> BTreeMap<&'static str, f64> {
        let mut values: BTreeMap<&'static str, f64> = self.rest.values(lane).collect();
        for metric in METRICS {
            let Formula::OneVsOne(average) = metric.formula else {
                continue;
            };
            let Some(pairs) = self.pairs.map(|pairs| pairs[lane]) else {
                continue;
            };
            if pairs.weights.of(average) > 0.0 {
                values.insert(metric.name, pairs.sums.of(average) / pairs.weights.of(average));
            }
        }
        values
    }
}

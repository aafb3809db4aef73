//! One class, or one label, against the rest, by the order of its scores: what is counted on the way down, and the averages over all.

use super::lanes::{Falling, LANES, Row, Step, Weights, add};
use super::ordered::Ordered;
use super::table::{Average, Formula, METRICS};

/// What a class is compared with the rest by, in each resample of a block. It is told of the samples from the highest score to the lowest.
pub trait Curve {
    /// The next samples.
    fn lower(&mut self, step: &Step);

    /// Once all were told of; `None`: it is undefined.
    fn value(&self, lane: usize) -> Option<f64>;
}

/// How a curve begins, where in each resample so many samples are of the class.
#[derive(Debug)]
pub struct CurveKind(pub(super) fn(positives: &[u64; LANES]) -> Box<dyn Curve>);

impl CurveKind {
    /// Of samples that all have the same score.
    pub fn of_equal_scores(&self, positives: u32, negatives: u32) -> Option<f64> {
        let lane = |count: u32| {
            let mut row = [0; LANES];
            row[0] = count;
            row
        };
        let mut curve = (self.0)(&lane(positives).map(u64::from));
        curve.lower(&Step {
            above: [0; LANES],
            positives: lane(positives),
            negatives: lane(negatives),
        });
        curve.value(0)
    }
}

/// A number by average.
#[derive(Default, Clone, Copy)]
pub(super) struct ByAverage {
    pub(super) macro_average: f64,
    pub(super) weighted: f64,
}

impl ByAverage {
    pub(super) fn of(self, average: Average) -> f64 {
        match average {
            Average::Macro => self.macro_average,
            Average::Weighted => self.weighted,
        }
    }
}

/// The metrics of one kind of curve.
struct OfKind {
    kind: &'static CurveKind,
    /// By metric: how it is averaged, and Σ weight · value of each resample so far; `None` once it is undefined for a class.
    sums: Vec<(&'static str, Average, [Option<f64>; LANES])>,
}

/// The averages over the classes that were added, in each resample of a block.
pub(super) struct OneVsRest {
    kinds: Vec<OfKind>,
    /// Σ of the weights of the classes, by average.
    weights: [ByAverage; LANES],
}

impl OneVsRest {
    pub(super) fn new() -> Self {
        let mut kinds: Vec<OfKind> = Vec::new();
        for metric in METRICS {
            let Formula::OneVsRest(kind, average) = metric.formula else {
                continue;
            };
            let place = kinds.iter().position(|known| std::ptr::eq(known.kind, kind));
            let place = place.unwrap_or_else(|| {
                kinds.push(OfKind { kind, sums: Vec::new() });
                kinds.len() - 1
            });
            kinds[place].sums.push((metric.name, average, [Some(0.0); LANES]));
        }
        Self {
            kinds,
            weights: [ByAverage::default(); LANES],
        }
    }

    /// Adds a class. `is_positive` is of each sample by its place; `positives`: samples of the class in each resample; `weighted`: what the class weighs in
    /// the weighted average. `beside` is told of each sample that is not of the class: its place, its weights, and samples of the class that stand above
    /// it, to be counted twice, or beside it, to be counted once.
    #[allow(clippy::needless_range_loop, reason = "a lane is a place in several rows")]
    pub(super) fn add<W: Weights>(
        &mut self,
        (scores, weights): (&Ordered, &W),
        is_positive: impl Fn(usize) -> bool,
        (positives, weighted): (&[u64; LANES], &[f64; LANES]),
        beside: impl FnMut(usize, (&Row, &Row), u64),
    ) {
        let mut curves: Vec<Box<dyn Curve>> = self.kinds.iter().map(|of| (of.kind.0)(positives)).collect();
        fall(scores, weights, is_positive, beside, |step| {
            curves.iter_mut().for_each(|curve| curve.lower(step));
        });
        for lane in 0..weights.lanes() {
            let of_class = ByAverage {
                macro_average: 1.0,
                weighted: weighted[lane],
            };
            self.weights[lane].macro_average += of_class.macro_average;
            self.weights[lane].weighted += of_class.weighted;
            for (of, curve) in self.kinds.iter_mut().zip(&curves) {
                let value = curve.value(lane);
                for (_, average, sums) in &mut of.sums {
                    let weight = of_class.of(*average);
                    // What weighs nothing may be undefined.
                    if weight > 0.0 {
                        sums[lane] = sums[lane].and_then(|sum| Some(sum + weight * value?));
                    }
                }
            }
        }
    }

    /// One class has scores that are no numbers: no average is defined.
    pub(super) fn add_undefined(&mut self) {
        let sums = self.kinds.iter_mut().flat_map(|of| &mut of.sums);
        sums.for_each(|(.., sums)| *sums = [None; LANES]);
    }

    /// The values of those that are defined in a resample, once all classes were added.
    pub(super) fn values(&self, lane: usize) -> impl Iterator<Item = (&'static str, f64)> {
        let weights = self.weights[lane];
        let value = move |(name, average, sums): &(&'static str, Average, [Option<f64>; LANES])| {
            let weight = weights.of(*average);
            sums[lane].filter(|_| weight > 0.0).map(|sum| (*name, sum / weight))
        };
        self.kinds.iter().flat_map(|of| &of.sums).filter_map(value)
    }
}

/// Walks down the scores of a class.
fn fall<W: Weights>(
    scores: &Ordered,
    weights: &W,
    is_positive: impl Fn(usize) -> bool,
    mut beside: impl FnMut(usize, (&Row, &Row), u64),
    mut lower: impl FnMut(&Step),
) {
    let mut above = [0u32; LANES];
    let mut step = Step::NONE;
    let mut falling = Falling::new(weights, scores.places());
    let mut end = scores.places().len();
    for run in scores.runs().rev() {
        end -= run.len();
        if let [place] = run {
            let (place, row) = (*place as usize, falling.row(end));
            if !is_positive(place) {
                beside(place, (&row, &above), 2);
                add(&mut step.above, &row);
                continue;
            }
            step.positives = row;
        } else {
            for place in run {
                let row = weights.row(*place as usize);
                match is_positive(*place as usize) {
                    true => add(&mut step.positives, &row),
                    false => add(&mut step.negatives, &row),
                }
            }
            for place in run.iter().filter(|place| !is_positive(**place as usize)) {
                let row = weights.row(*place as usize);
                beside(*place as usize, (&row, &above), 2);
                beside(*place as usize, (&row, &step.positives), 1);
            }
            if step.positives == [0; LANES] {
                add(&mut step.above, &step.negatives);
                step.negatives = [0; LANES];
                continue;
            }
        }
        lower(&step);
        add(&mut above, &step.positives);
        step = Step::NONE;
    }
    lower(&step);
}

/// Of (score, is of the class) pairs; `None` if a score is not a number, or if it is undefined.
#[cfg(test)]
pub(super) fn of_pairs(kind: &CurveKind, samples: &[(f64, bool)]) -> Option<f64> {
    use super::lanes::Once;
    let ordered = Ordered::of(samples.iter().map(|sample| sample.0))?;
    let mut positives = [0; LANES];
    positives[0] = samples.iter().filter(|sample| sample.1).count() as u64;
    let mut curve = (kind.0)(&positives);
    let is_positive = |place: usize| samples[place].1;
    fall(&ordered, &Once, is_positive, |_, _, _| {}, |step| curve.lower(step));
    curve.value(0)
}

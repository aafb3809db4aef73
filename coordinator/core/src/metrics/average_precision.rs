//! Average precision: Σ over falling thresholds of (recall - recall before) · precision, equal scores being one threshold.
//!
//! Equal to `sklearn.metrics.average_precision_score`, which does not interpolate. Of a class without a true sample it is 0, as there.

use super::lanes::{LANES, Step};
use super::one_vs_rest::{Curve, CurveKind};
use super::sum::Sum;

/// Undefined without a sample.
pub(super) static AREA: CurveKind = CurveKind(|positives| {
    Box::new(Steps {
        // Of a class without a true sample every term is 0, whatever it is divided by.
        all: positives.map(|all| all.max(1) as f64),
        taken: [0.0; LANES],
        positives: [0.0; LANES],
        sums: [Sum::default(); LANES],
    })
});

/// Numbers of samples, which doubles hold exactly.
struct Steps {
    all: [f64; LANES],
    taken: [f64; LANES],
    positives: [f64; LANES],
    sums: [Sum; LANES],
}

impl Curve for Steps {
    #[allow(clippy::needless_range_loop, reason = "a lane is a place in several rows")]
    fn lower(&mut self, step: &Step) {
        for lane in 0..LANES {
            let tied = f64::from(step.positives[lane]);
            self.taken[lane] += f64::from(step.above[lane]) + tied + f64::from(step.negatives[lane]);
            self.positives[lane] += tied;
            // Where no sample of the class is drawn here, the term is 0, and the sum stays what it is to the last bit.
            let term = (tied / self.all[lane]) * (self.positives[lane] / self.taken[lane].max(1.0));
            self.sums[lane].add(term);
        }
    }

    fn value(&self, lane: usize) -> Option<f64> {
        (self.taken[lane] > 0.0).then(|| self.sums[lane].value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::one_vs_rest::of_pairs;

    fn area_of_pairs(samples: &[(f64, bool)]) -> Option<f64> {
        of_pairs(&AREA, samples)
    }

    #[test]
    fn it_is_scikit_learns_on_the_example_of_its_reference() {
        let samples = [(0.1, false), (0.35, true), (0.4, false), (0.8, true)];
        assert!((area_of_pairs(&samples).unwrap() - 0.833_333_333_333_333_3).abs() < 1e-15);
    }

    #[test]
    fn a_class_without_a_true_sample_has_none_and_equal_scores_are_one_threshold() {
        assert_eq!(area_of_pairs(&[(0.1, false), (0.2, false)]), Some(0.0));
        assert_eq!(area_of_pairs(&[(0.5, false), (0.5, true)]), Some(0.5));
        assert_eq!(area_of_pairs(&[]), None);
    }
}

//! Area under the ROC curve, exactly: pairs of a positive and a negative sample that are in the right order, ties counting half.
//!
//! Equal to `sklearn.metrics.roc_auc_score` (which integrates the curve by trapezoids), but counted in integers: no rounding until the
//! one division at the end, so the order in which ranks deliver their samples cannot change a digit.

use super::lanes::{LANES, Step};
use super::one_vs_rest::{Curve, CurveKind};

/// (Σ over positives of 2·negatives below + negatives equal) / (2·positives·negatives), which is the Mann–Whitney statistic. Undefined without a
/// positive or without a negative: scikit-learn answers NaN there.
pub(super) static AREA: CurveKind = CurveKind(|_| Box::new(Pairs::default()));

/// Counted on the way down: Σ over negatives of 2·positives above + positives equal, which is the same.
#[derive(Default)]
struct Pairs {
    positives: [u64; LANES],
    negatives: [u64; LANES],
    /// Not above the square of all samples, of which a column has less than 2^32.
    doubled: [u64; LANES],
}

impl Curve for Pairs {
    #[allow(clippy::needless_range_loop, reason = "a lane is a place in several rows")]
    fn lower(&mut self, step: &Step) {
        for lane in 0..LANES {
            let (above, tied) = (u64::from(step.above[lane]), u64::from(step.negatives[lane]));
            let (positives, doubled) = (u64::from(step.positives[lane]), self.positives[lane].wrapping_mul(2));
            let pairs = above.wrapping_mul(doubled);
            let pairs = pairs.wrapping_add(tied.wrapping_mul(doubled.wrapping_add(positives)));
            self.doubled[lane] = self.doubled[lane].wrapping_add(pairs);
            self.positives[lane] = self.positives[lane].wrapping_add(positives);
            self.negatives[lane] = self.negatives[lane].wrapping_add(above.wrapping_add(tied));
        }
    }

    fn value(&self, lane: usize) -> Option<f64> {
        let all_pairs = 2 * u128::from(self.positives[lane]) * u128::from(self.negatives[lane]);
        (all_pairs > 0).then(|| self.doubled[lane] as f64 / all_pairs as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::ScoreMetrics;
    use crate::metrics::one_vs_rest::of_pairs;

    fn area_of_pairs(samples: &[(f64, bool)]) -> Option<f64> {
        of_pairs(&AREA, samples)
    }

    #[test]
    fn ties_count_half() {
        assert_eq!(area_of_pairs(&[(0.5, true), (0.5, false)]), Some(0.5));
        assert_eq!(
            area_of_pairs(&[(0.1, false), (0.4, false), (0.35, true), (0.8, true)]),
            Some(0.75)
        );
        // Zero has two bit patterns and one value.
        assert_eq!(area_of_pairs(&[(0.0, true), (-0.0, false)]), Some(0.5));
    }

    #[test]
    fn it_is_undefined_where_one_side_is_missing_or_a_score_is_not_a_number() {
        assert_eq!(area_of_pairs(&[]), None);
        assert_eq!(area_of_pairs(&[(0.3, true)]), None);
        assert_eq!(area_of_pairs(&[(0.3, false), (0.1, false)]), None);
        assert_eq!(area_of_pairs(&[(f64::NAN, false), (0.1, true)]), None);
        let three = ScoreMetrics::of_matrix(&[0, 1, 0], &[0.5, 0.2, 0.3, 0.1, 0.8, 0.1, 0.7, 0.2, 0.1], 3);
        assert_eq!(three.get("roc_auc"), None);
        let one = ScoreMetrics::of_matrix(&[0, 0], &[1.0, 1.0], 1);
        assert_eq!(one.get("roc_auc"), None);
    }

    proptest! {
        #[test]
        fn it_is_the_fraction_of_pairs_in_the_right_order(
            samples in prop::collection::vec((0u8..12, any::<bool>()), 0..60),
        ) {
            let samples: Vec<(f64, bool)> = samples.into_iter().map(|(score, label)| (f64::from(score) / 7.0, label)).collect();
            let (mut right, mut pairs) = (0.0, 0.0);
            for &(positive, _) in samples.iter().filter(|sample| sample.1) {
                for &(negative, _) in samples.iter().filter(|sample| !sample.1) {
                    right += if positive > negative { 1.0 } else if positive == negative { 0.5 } else { 0.0 };
                    pairs += 1.0;
                }
            }
            let expected = (pairs > 0.0).then_some(right / pairs);
            prop_assert_eq!(area_of_pairs(&samples), expected);
        }

        #[test]
        fn the_order_of_delivery_does_not_change_a_digit(
            mut samples in prop::collection::vec((any::<f64>().prop_filter("a number", |x| !x.is_nan()), any::<bool>()), 0..60),
        ) {
            let forwards = area_of_pairs(&samples);
            samples.reverse();
            prop_assert_eq!(forwards, area_of_pairs(&samples));
        }
    }
}

//! Average precision: Σ over falling thresholds of (recall - recall before) · precision, equal scores being one threshold.
//!
//! Equal to `sklearn.metrics.average_precision_score`, which does not interpolate. Of a class without a true sample it is 0, as there.

use super::one_vs_rest::Tied;
use super::sum::Sum;

/// `None` without a sample.
pub(super) fn area(runs: &[Tied]) -> Option<f64> {
    if runs.is_empty() {
        return None;
    }
    let all: u64 = runs.iter().map(|tied| tied.positives).sum();
    let (mut taken, mut positives, mut sum) = (0u64, 0u64, Sum::default());
    for tied in runs.iter().rev() {
        taken += tied.positives + tied.negatives;
        positives += tied.positives;
        if tied.positives > 0 {
            sum.add((tied.positives as f64 / all as f64) * (positives as f64 / taken as f64));
        }
    }
    Some(sum.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::one_vs_rest::tied_of_pairs;

    fn area_of_pairs(samples: &[(f64, bool)]) -> Option<f64> {
        area(&tied_of_pairs(samples)?)
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

//! Average precision: Σ over falling thresholds of (recall - recall before) · precision, equal scores being one threshold.
//!
//! Equal to `sklearn.metrics.average_precision_score`, which does not interpolate. Of a class without a true sample it is 0, as there.

/// Of (score, is positive) pairs in rising order of the score.
pub(super) fn of_ordered(samples: &[(f64, bool)]) -> Option<f64> {
    if samples.is_empty() {
        return None;
    }
    let all = samples.iter().filter(|(_, positive)| *positive).count();
    let (mut taken, mut positives, mut sum) = (0usize, 0usize, 0.0);
    for tied in samples.chunk_by(|a, b| a.0 == b.0).rev() {
        let tied_positives = tied.iter().filter(|(_, positive)| *positive).count();
        taken += tied.len();
        positives += tied_positives;
        if tied_positives > 0 {
            sum += (tied_positives as f64 / all as f64) * (positives as f64 / taken as f64);
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_scikit_learns_on_the_example_of_its_reference() {
        let samples = [(0.1, false), (0.35, true), (0.4, false), (0.8, true)];
        assert!((of_ordered(&samples).unwrap() - 0.833_333_333_333_333_3).abs() < 1e-15);
    }

    #[test]
    fn a_class_without_a_true_sample_has_none_and_equal_scores_are_one_threshold() {
        assert_eq!(of_ordered(&[(0.1, false), (0.2, false)]), Some(0.0));
        assert_eq!(of_ordered(&[(0.5, false), (0.5, true)]), Some(0.5));
        assert_eq!(of_ordered(&[]), None);
    }
}

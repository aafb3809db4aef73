//! Area under the ROC curve, exactly: pairs of a positive and a negative sample that are in the right order, ties counting half.
//!
//! Equal to `sklearn.metrics.roc_auc_score` (which integrates the curve by trapezoids), but counted in integers: no rounding until the
//! one division at the end, so the order in which ranks deliver their samples cannot change a digit.

use std::cmp::Ordering;

/// The area for the scores of a model with `classes` outputs: for two classes that of the second class's score; for more, the
/// unweighted mean over classes of one class against the rest (`multi_class="ovr", average="macro"`).
///
/// `labels`: the true class of each sample; `scores`: samples × classes, row-major. `None` where it is undefined: a class without
/// a true sample or one that all samples belong to (scikit-learn answers NaN there), or a score that is not a number.
///
/// # Panics
/// If `scores` does not hold `classes` numbers for each label.
pub fn roc_auc(labels: &[u32], scores: &[f64], classes: u32) -> Option<f64> {
    match classes {
        0 | 1 => None,
        2 => class_against_rest(labels, scores, 2, 1),
        _ => roc_auc_one_vs_rest(labels, scores, classes),
    }
}

/// The unweighted mean over all classes of the area of one class against the rest; `None` if any of them is undefined.
///
/// # Panics
/// If `scores` does not hold `classes` numbers for each label.
pub fn roc_auc_one_vs_rest(labels: &[u32], scores: &[f64], classes: u32) -> Option<f64> {
    if classes == 0 {
        return None;
    }
    let mut sum = 0.0;
    for class in 0..classes {
        sum += class_against_rest(labels, scores, classes, class)?;
    }
    Some(sum / f64::from(classes))
}

fn class_against_rest(labels: &[u32], scores: &[f64], classes: u32, class: u32) -> Option<f64> {
    let width = classes as usize;
    assert_eq!(
        scores.len(),
        labels.len() * width,
        "one score for each class of each sample"
    );
    let pairs = labels
        .iter()
        .zip(scores.chunks_exact(width))
        .map(|(&label, row)| (row[class as usize], label == class));
    roc_auc_binary(pairs)
}

/// The area of (score, is positive) pairs: (Σ over positives of 2·negatives below + negatives equal) / (2·positives·negatives), which is
/// the Mann–Whitney statistic. `None` without a positive, without a negative, or if a score is not a number.
pub fn roc_auc_binary(samples: impl IntoIterator<Item = (f64, bool)>) -> Option<f64> {
    let mut samples: Vec<(f64, bool)> = samples.into_iter().collect();
    if samples.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    samples.sort_unstable_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));

    let (mut positives, mut negatives, mut doubled_pairs) = (0u128, 0u128, 0u128);
    for tied in samples.chunk_by(|a, b| a.0 == b.0) {
        let tied_positives = tied.iter().filter(|(_, positive)| *positive).count() as u128;
        let tied_negatives = tied.len() as u128 - tied_positives;
        doubled_pairs += tied_positives * (2 * negatives + tied_negatives);
        positives += tied_positives;
        negatives += tied_negatives;
    }
    let all_pairs = 2 * positives * negatives;
    (all_pairs > 0).then(|| doubled_pairs as f64 / all_pairs as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_count_half() {
        assert_eq!(roc_auc_binary([(0.5, true), (0.5, false)]), Some(0.5));
        assert_eq!(
            roc_auc_binary([(0.1, false), (0.4, false), (0.35, true), (0.8, true)]),
            Some(0.75)
        );
        // Zero has two bit patterns and one value.
        assert_eq!(roc_auc_binary([(0.0, true), (-0.0, false)]), Some(0.5));
    }

    #[test]
    fn it_is_undefined_where_one_side_is_missing_or_a_score_is_not_a_number() {
        assert_eq!(roc_auc_binary([]), None);
        assert_eq!(roc_auc_binary([(0.3, true)]), None);
        assert_eq!(roc_auc_binary([(0.3, false), (0.1, false)]), None);
        assert_eq!(roc_auc_binary([(f64::NAN, false), (0.1, true)]), None);
        assert_eq!(
            roc_auc(&[0, 1, 0], &[0.5, 0.2, 0.3, 0.1, 0.8, 0.1, 0.7, 0.2, 0.1], 3),
            None
        );
        assert_eq!(roc_auc(&[0, 0], &[1.0, 1.0], 1), None);
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
            prop_assert_eq!(roc_auc_binary(samples), expected);
        }

        #[test]
        fn the_order_of_delivery_does_not_change_a_digit(
            mut samples in prop::collection::vec((any::<f64>().prop_filter("a number", |x| !x.is_nan()), any::<bool>()), 0..60),
        ) {
            let forwards = roc_auc_binary(samples.clone());
            samples.reverse();
            prop_assert_eq!(forwards, roc_auc_binary(samples));
        }
    }
}

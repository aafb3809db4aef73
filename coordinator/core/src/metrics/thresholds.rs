//! From which probability on a label is predicted, and which gives the best F1.

/// From which probability on the labels of a sample are predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Thresholds<'a> {
    /// All from the same.
    Same(f64),
    /// Each from its own, in the order of the model's outputs.
    Own(&'a [f64]),
}

impl Thresholds<'_> {
    /// That of a label of the schema.
    pub fn of(self, label: usize) -> f64 {
        match self {
            Self::Same(threshold) => threshold,
            // There is one a label; without its own a label would never be predicted.
            Self::Own(own) => own.get(label).copied().unwrap_or(f64::INFINITY),
        }
    }
}

/// The threshold of one label with the highest F1 on `column`, which has for each sample whether it is of the label, and its probability. It is one of
/// these probabilities; of several the lowest, as `argmax` finds it in what `sklearn.metrics.precision_recall_curve` gives. `None` where no sample is of
/// the label: then no threshold is better than another.
pub fn best_threshold(column: &[(bool, f64)]) -> Option<f64> {
    let labelled = column.iter().filter(|(is_true, _)| *is_true).count() as u64;
    let mut falling = column.to_vec();
    falling.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let mut best: Option<Candidate> = None;
    let (mut right, mut predicted) = (0, 0);
    for (place, (is_true, score)) in falling.iter().enumerate() {
        right += u64::from(*is_true);
        predicted += 1;
        let is_last_of_equals = falling.get(place + 1).is_none_or(|(_, next)| next != score);
        let found = Candidate {
            threshold: *score,
            right,
            counted: labelled + predicted,
        };
        if is_last_of_equals && best.as_ref().is_none_or(|best| !found.is_worse_than(best)) {
            best = Some(found);
        }
    }
    best.filter(|_| labelled > 0).map(|best| best.threshold)
}

/// A threshold, whose F1 is 2 `right` / `counted`.
struct Candidate {
    threshold: f64,
    right: u64,
    counted: u64,
}

impl Candidate {
    /// In whole numbers: two thresholds of the same F1 are never told apart by their last digit.
    fn is_worse_than(&self, other: &Self) -> bool {
        u128::from(self.right) * u128::from(other.counted) < u128::from(other.right) * u128::from(self.counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_thresholds_with_the_same_f1_the_lowest_is_taken() {
        // F1 by falling threshold: 2/3, 1/2, 2/5 + …: at 0.9 one of two is found, at 0.2 both with two others.
        let column = [(true, 0.9), (false, 0.5), (false, 0.4), (true, 0.2)];
        assert_eq!(best_threshold(&column), Some(0.2), "2/3 at 0.9 and 4/6 at 0.2");
        let column = [(true, 0.9), (false, 0.5), (false, 0.4), (false, 0.3), (true, 0.2)];
        assert_eq!(best_threshold(&column), Some(0.9), "2/3 at 0.9 and 4/7 at 0.2");
    }

    #[test]
    fn equal_probabilities_are_predicted_together() {
        assert_eq!(best_threshold(&[(true, 0.7), (false, 0.7), (true, 0.6)]), Some(0.6));
        assert_eq!(best_threshold(&[(false, 0.7), (true, 0.7)]), Some(0.7));
    }

    #[test]
    fn a_label_that_no_sample_has_leaves_no_choice() {
        assert_eq!(best_threshold(&[(false, 0.7), (false, 0.1)]), None);
        assert_eq!(best_threshold(&[]), None);
    }

    #[test]
    fn a_label_without_a_threshold_of_its_own_is_not_predicted() {
        assert_eq!(Thresholds::Own(&[0.25]).of(0), 0.25);
        assert_eq!(Thresholds::Own(&[0.25]).of(1), f64::INFINITY);
        assert_eq!(Thresholds::Same(0.5).of(7), 0.5);
    }
}

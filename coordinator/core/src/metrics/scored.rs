//! Metrics that are the mean over samples of what the scores of a single sample are worth.

/// What a network says of one sample, and what is true.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// True class.
    pub label: u32,
    /// Classes that the scores are of, the true one among them; empty: all, in their order.
    pub named: &'a [u32],
    /// Probabilities.
    pub scores: &'a [f64],
    /// Classes of the training schema.
    pub classes: usize,
}

impl Scored<'_> {
    fn class_at(&self, place: usize) -> Option<u32> {
        match self.named.is_empty() {
            true => u32::try_from(place).ok(),
            false => self.named.get(place).copied(),
        }
    }

    /// Each class that has a score, with it.
    pub fn by_class(&self) -> impl Iterator<Item = (u32, f64)> {
        let scores = self.scores.iter().enumerate();
        scores.filter_map(|(place, score)| Some((self.class_at(place)?, *score)))
    }

    /// The class with the highest score and this score; of equals, the first. `None` without scores.
    pub fn likeliest(&self) -> Option<(u32, f64)> {
        let mut best: Option<(usize, f64)> = None;
        for (place, score) in self.scores.iter().enumerate() {
            if best.is_none_or(|(_, highest)| *score > highest) {
                best = Some((place, *score));
            }
        }
        let (place, score) = best?;
        Some((self.class_at(place)?, score))
    }

    /// The score of the true class.
    fn of_label(&self) -> Option<f64> {
        let place = match self.named.is_empty() {
            true => self.label as usize,
            false => self.named.iter().position(|class| *class == self.label)?,
        };
        self.scores.get(place).copied()
    }
}

/// Between the true and the predicted class, as their places in the order (`sklearn.metrics.mean_absolute_error` of ranks).
pub(super) fn rank_distance(sample: &Scored<'_>) -> Option<f64> {
    let (predicted, _) = sample.likeliest()?;
    Some(f64::from(predicted.abs_diff(sample.label)))
}

/// Of the true class, without limits: what the loss adds up.
pub(super) fn negative_log_likelihood(sample: &Scored<'_>) -> Option<f64> {
    Some(-sample.of_label()?.ln())
}

/// `sklearn.metrics.log_loss`, which keeps probabilities away from 0 and 1 by the distance of 1 from the next double.
pub(super) fn log_loss(sample: &Scored<'_>) -> Option<f64> {
    let probability = sample.of_label()?.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    Some(-probability.ln())
}

/// `sklearn.metrics.brier_score_loss`: the squared distance from the truth, of two classes half of it. `None` where not all scores are kept.
pub(super) fn brier_score(sample: &Scored<'_>) -> Option<f64> {
    if !sample.named.is_empty() || sample.scores.len() != sample.classes {
        return None;
    }
    let distance = |(class, score): (usize, &f64)| {
        let truth = if class == sample.label as usize { 1.0 } else { 0.0 };
        (truth - score) * (truth - score)
    };
    let distance: f64 = sample.scores.iter().enumerate().map(distance).sum();
    Some(if sample.classes <= 2 { distance / 2.0 } else { distance })
}

/// `sklearn.metrics.top_k_accuracy_score`: whether the true class is among the K likeliest, where of equal scores the later class comes first, as
/// there. `None` where there are not more classes than K: all would be right. Where not all scores are kept, it is the order of those that are.
pub(super) fn top<const K: usize>(sample: &Scored<'_>) -> Option<f64> {
    if K >= sample.classes {
        return None;
    }
    let own = sample.of_label()?;
    let is_ahead = |(place, score): &(usize, &f64)| {
        **score > own || (**score == own && sample.class_at(*place).is_some_and(|class| class > sample.label))
    };
    let ahead = sample.scores.iter().enumerate().filter(is_ahead).count();
    Some(if ahead < K { 1.0 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored<'a>(label: u32, named: &'a [u32], scores: &'a [f64], classes: usize) -> Scored<'a> {
        Scored {
            label,
            named,
            scores,
            classes,
        }
    }

    #[test]
    fn of_equal_scores_the_first_class_is_predicted_and_the_last_one_comes_first_among_the_likeliest() {
        let sample = scored(0, &[], &[0.4, 0.4, 0.2], 3);
        assert_eq!(sample.likeliest(), Some((0, 0.4)));
        assert_eq!(top::<2>(&sample), Some(1.0));
        assert_eq!(top::<2>(&scored(0, &[], &[0.2, 0.4, 0.4], 3)), Some(0.0));
        let even = [0.25; 4];
        let hits = [0, 1, 2, 3].map(|label| top::<2>(&scored(label, &[], &even, 4)).unwrap());
        assert_eq!(hits, [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(top::<3>(&sample), None, "of three classes all would be right");
    }

    #[test]
    fn of_many_classes_the_kept_ones_tell_all_but_the_brier_score() {
        let sample = scored(7, &[5, 9, 7], &[0.5, 0.3, 1e-9], 2000);
        assert_eq!(sample.likeliest(), Some((5, 0.5)));
        assert_eq!((top::<2>(&sample), top::<3>(&sample)), (Some(0.0), Some(1.0)));
        assert_eq!(log_loss(&sample), Some(-1e-9f64.ln()));
        assert_eq!(brier_score(&sample), None);
    }

    #[test]
    fn a_probability_of_nothing_has_a_finite_log_loss_and_no_finite_loss() {
        let sample = scored(0, &[], &[0.0, 1.0], 2);
        assert_eq!(log_loss(&sample), Some(-f64::EPSILON.ln()));
        assert_eq!(negative_log_likelihood(&sample), Some(f64::INFINITY));
        assert_eq!(brier_score(&sample), Some(1.0));
    }
}

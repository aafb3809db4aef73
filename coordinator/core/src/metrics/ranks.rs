//! Metrics of one target that need single predictions: the order of them, or their errors one by one.

use super::ordered::Ordered;

/// The order of the values of a target, and of its predictions; `None` of either: something is not a number.
#[derive(Debug, Clone)]
pub struct Orders {
    values: Option<Ordered>,
    predictions: Option<Ordered>,
}

impl Orders {
    /// Of (value, prediction) pairs.
    pub fn of_pairs(pairs: &[(f64, f64)]) -> Self {
        Self {
            values: Ordered::of(pairs.iter().map(|pair| pair.0)),
            predictions: Ordered::of(pairs.iter().map(|pair| pair.1)),
        }
    }
}

/// `scipy.stats.spearmanr`: Pearson's correlation of the ranks, where equal numbers share the mean of theirs. Undefined where all values or all
/// predictions are the same, and where something is not a number. Counted in integers up to the one division: ranks are doubled.
pub(super) fn spearman(orders: &Orders, weights: &[u32]) -> Option<f64> {
    let values = doubled_deviations(orders.values.as_ref()?, weights);
    let predictions = doubled_deviations(orders.predictions.as_ref()?, weights);
    let (mut squares, mut predicted_squares, mut products) = (0i128, 0i128, 0i128);
    for (weight, (value, prediction)) in weights.iter().zip(values.into_iter().zip(predictions)) {
        let weight = i128::from(*weight);
        squares += weight * i128::from(value) * i128::from(value);
        predicted_squares += weight * i128::from(prediction) * i128::from(prediction);
        products += weight * i128::from(value) * i128::from(prediction);
    }
    let scale = (squares as f64 * predicted_squares as f64).sqrt();
    (scale > 0.0).then(|| (products as f64 / scale).clamp(-1.0, 1.0))
}

/// Twice the distance of each number's rank from the mean rank.
fn doubled_deviations(ordered: &Ordered, weights: &[u32]) -> Vec<i64> {
    let weight = |place: &u32| i64::from(weights[*place as usize]);
    let samples: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    let mut deviations = vec![0; weights.len()];
    let mut before = 0;
    for tied in ordered.runs() {
        let size: i64 = tied.iter().map(weight).sum();
        // The mean of the ranks before + 1 to before + size, less (samples + 1) / 2.
        let deviation = 2 * before + size - samples;
        tied.iter().for_each(|place| deviations[*place as usize] = deviation);
        before += size;
    }
    deviations
}

/// Of one sample of `sklearn.metrics.mean_absolute_percentage_error`, which takes a value of 0 for the distance of 1 from the next double.
pub(super) fn relative_error(value: f64, prediction: f64) -> f64 {
    (value - prediction).abs() / value.abs().max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(f64, f64)], weights: &[u32]) -> Option<f64> {
        spearman(&Orders::of_pairs(pairs), weights)
    }

    #[test]
    fn equal_numbers_share_the_mean_of_their_ranks() {
        let ordered = Ordered::of([3.0, 1.0, 3.0, 0.0, -0.0]).unwrap();
        // Ranks 4.5, 3, 4.5, 1.5, 1.5; their mean is 3.
        assert_eq!(doubled_deviations(&ordered, &[1; 5]), [3, 0, 3, -3, -3]);
    }

    #[test]
    fn it_is_undefined_of_what_has_no_order() {
        assert_eq!(of(&[(1.0, f64::NAN), (2.0, 1.0)], &[1; 2]), None);
        assert_eq!(of(&[(1.0, 5.0), (2.0, 5.0)], &[1; 2]), None);
        assert_eq!(of(&[(1.0, 5.0), (2.0, 7.0)], &[1; 2]), Some(1.0));
        assert_eq!(of(&[(1.0, 7.0), (2.0, 5.0)], &[1; 2]), Some(-1.0));
        assert_eq!(of(&[], &[]), None);
    }

    #[test]
    fn a_pair_that_counts_twice_is_there_twice() {
        let pairs = [(1.0, 5.0), (2.0, 7.0), (3.0, 6.0), (4.0, 0.0)];
        let repeated = [pairs[0], pairs[0], pairs[1], pairs[2]];
        assert_eq!(of(&pairs, &[2, 1, 1, 0]), of(&repeated, &[1; 4]));
    }

    #[test]
    fn a_value_of_nothing_has_a_large_relative_error() {
        assert_eq!(relative_error(2.0, 1.0), 0.5);
        assert_eq!(relative_error(-2.0, 1.0), 1.5);
        assert_eq!(relative_error(0.0, 1.0), 1.0 / f64::EPSILON);
        assert_eq!(relative_error(0.0, 0.0), 0.0);
    }
}

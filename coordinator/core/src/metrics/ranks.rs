//! Spearman's correlation, which needs the order of single predictions.

use super::moments::{Moments, pearson};

/// `scipy.stats.spearmanr` of (value, prediction) pairs: Pearson's correlation of their ranks, where equal ones share the mean of theirs.
/// Undefined where all values or all predictions are the same, and where something is not a number.
pub(super) fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let values = ranks(pairs.iter().map(|pair| pair.0).collect())?;
    let predictions = ranks(pairs.iter().map(|pair| pair.1).collect())?;
    pearson(&Moments::of_pairs(values.into_iter().zip(predictions)))
}

/// From 1; `None` if something is not a number.
fn ranks(numbers: Vec<f64>) -> Option<Vec<f64>> {
    if numbers.iter().any(|number| number.is_nan()) {
        return None;
    }
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_unstable_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
    let mut ranks = vec![0.0; numbers.len()];
    let mut before = 0;
    for tied in order.chunk_by(|a, b| numbers[*a] == numbers[*b]) {
        let rank = before as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|place| ranks[*place] = rank);
        before += tied.len();
    }
    Some(ranks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_share_the_mean_of_their_ranks() {
        let numbers = vec![3.0, 1.0, 3.0, 0.0, -0.0];
        assert_eq!(ranks(numbers), Some(vec![4.5, 3.0, 4.5, 1.5, 1.5]));
        assert_eq!(ranks(vec![1.0, f64::NAN]), None);
    }
}

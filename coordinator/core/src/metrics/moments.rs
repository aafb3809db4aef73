//! Metrics that follow from the moments of a target and of its predictions: scikit-learn's and SciPy's definitions, each in a few lines.
//!
//! Second moments are kept about the means, not as sums of squares: prices of 400,000 whose spread is 1 would leave nothing of it in a sum
//! of squares of doubles. The mean is found first, then what is about it; parts are merged in the same two steps. All sums are those of
//! [`Sum`], so neither the number of samples nor the order of the parts shows in a metric.

use serde::{Deserialize, Serialize};

use super::sum::Sum;

/// Of one target over some samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Samples.
    pub samples: u64,
    /// Mean of the true values.
    pub value_mean: f64,
    /// Mean of the predictions.
    pub prediction_mean: f64,
    /// Σ (value - mean)².
    pub value_squares: f64,
    /// Σ (prediction - mean)².
    pub prediction_squares: f64,
    /// Σ (value - its mean)(prediction - its mean).
    pub products: f64,
    /// Σ |value - prediction|.
    pub absolute_errors: f64,
    /// Σ (value - prediction)².
    pub squared_errors: f64,
}

impl Moments {
    /// Of (value, prediction) pairs.
    pub fn of_pairs(pairs: &[(f64, f64)]) -> Self {
        Self::of_counted(pairs.iter().map(|pair| (1, *pair)))
    }

    /// Of (value, prediction) pairs, each counting so often.
    pub(super) fn of_weighted(pairs: &[(f64, f64)], weights: &[u32]) -> Self {
        Self::of_counted(weights.iter().copied().zip(pairs.iter().copied()))
    }

    fn of_counted(pairs: impl Iterator<Item = (u32, (f64, f64))> + Clone) -> Self {
        let samples: u64 = pairs.clone().map(|(weight, _)| u64::from(weight)).sum();
        let Some((_, (first_value, first_prediction))) = pairs.clone().next() else {
            return Self::default();
        };
        if samples == 0 {
            return Self::default();
        }
        // About the first pair, so that what all have in common is not rounded.
        let mean = |first: f64, of: fn((f64, f64)) -> f64| {
            let sum: Sum = pairs
                .clone()
                .map(|(weight, pair)| f64::from(weight) * (of(pair) - first))
                .collect();
            first + sum.value() / samples as f64
        };
        let value_mean = mean(first_value, |pair| pair.0);
        let prediction_mean = mean(first_prediction, |pair| pair.1);
        let mut sums = [Sum::default(); 5];
        for (weight, (value, prediction)) in pairs {
            let (weight, error) = (f64::from(weight), value - prediction);
            let (value, prediction) = (value - value_mean, prediction - prediction_mean);
            let terms = [
                value * value,
                prediction * prediction,
                value * prediction,
                error.abs(),
                error * error,
            ];
            sums.iter_mut()
                .zip(terms)
                .for_each(|(sum, term)| sum.add(weight * term));
        }
        Self::of_parts(samples, (value_mean, prediction_mean), sums)
    }

    fn of_parts(samples: u64, (value_mean, prediction_mean): (f64, f64), sums: [Sum; 5]) -> Self {
        let [
            value_squares,
            prediction_squares,
            products,
            absolute_errors,
            squared_errors,
        ] = sums.map(Sum::value);
        Self {
            samples,
            value_mean,
            prediction_mean,
            value_squares,
            prediction_squares,
            products,
            absolute_errors,
            squared_errors,
        }
    }

    /// Of all samples of parts: what Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979),
    /// do for two, for all of them at once.
    pub fn merged<'a>(parts: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let parts = parts.filter(|part| part.samples > 0);
        let Some(first) = parts.clone().next() else {
            return Self::default();
        };
        let samples = parts.clone().fold(0u64, |sum, part| sum.saturating_add(part.samples));
        let mean = |of: fn(&Self) -> f64| {
            let first = of(first);
            let sum: Sum = parts
                .clone()
                .map(|part| part.samples as f64 * (of(part) - first))
                .collect();
            first + sum.value() / samples as f64
        };
        let value_mean = mean(|part| part.value_mean);
        let prediction_mean = mean(|part| part.prediction_mean);
        let mut sums = [Sum::default(); 5];
        for part in parts {
            let weight = part.samples as f64;
            let (value, prediction) = (part.value_mean - value_mean, part.prediction_mean - prediction_mean);
            let inner = [
                part.value_squares,
                part.prediction_squares,
                part.products,
                part.absolute_errors,
                part.squared_errors,
            ];
            let between = [value * value, prediction * prediction, value * prediction, 0.0, 0.0];
            for (sum, (inner, between)) in sums.iter_mut().zip(inner.into_iter().zip(between)) {
                sum.add(inner);
                sum.add(weight * between);
            }
        }
        Self::of_parts(samples, (value_mean, prediction_mean), sums)
    }

    /// Whether all of them are numbers.
    pub fn is_finite(&self) -> bool {
        let all = [
            self.value_mean,
            self.prediction_mean,
            self.value_squares,
            self.prediction_squares,
            self.products,
            self.absolute_errors,
            self.squared_errors,
        ];
        all.iter().all(|number| number.is_finite())
    }
}

/// `sklearn.metrics.mean_absolute_error`.
pub(super) fn mean_absolute_error(moments: &Moments) -> Option<f64> {
    (moments.samples > 0).then(|| moments.absolute_errors / moments.samples as f64)
}

/// `sklearn.metrics.mean_squared_error`.
pub(super) fn mean_squared_error(moments: &Moments) -> Option<f64> {
    (moments.samples > 0).then(|| moments.squared_errors / moments.samples as f64)
}

/// `sklearn.metrics.root_mean_squared_error`.
pub(super) fn root_mean_squared_error(moments: &Moments) -> Option<f64> {
    mean_squared_error(moments).map(f64::sqrt)
}

/// `sklearn.metrics.r2_score`: 1 - Σ(value - prediction)² / Σ(value - mean)². Where all values are the same it is 1 if every prediction is
/// right, else 0; of fewer than two samples it is undefined.
pub(super) fn r2(moments: &Moments) -> Option<f64> {
    match moments.samples {
        0 | 1 => None,
        _ if moments.value_squares > 0.0 => Some(1.0 - moments.squared_errors / moments.value_squares),
        _ => Some(if moments.squared_errors == 0.0 { 1.0 } else { 0.0 }),
    }
}

/// `sklearn.metrics.explained_variance_score`: 1 - Σ(error - mean error)² / Σ(value - mean)². Where all values are the same it is 1 if all
/// errors are, else 0.
pub(super) fn explained_variance(moments: &Moments) -> Option<f64> {
    match moments.samples {
        0 => None,
        _ if moments.value_squares > 0.0 => {
            // The squares of the errors about their mean are value_squares + prediction_squares - 2 products.
            Some((2.0 * moments.products - moments.prediction_squares) / moments.value_squares)
        }
        _ => Some(if moments.prediction_squares == 0.0 { 1.0 } else { 0.0 }),
    }
}

/// `scipy.stats.pearsonr`; undefined where all values or all predictions are the same.
pub(super) fn pearson(moments: &Moments) -> Option<f64> {
    let scale = moments.value_squares.sqrt() * moments.prediction_squares.sqrt();
    (scale > 0.0).then(|| (moments.products / scale).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-10 * a.abs().max(b.abs()).max(1.0)
    }

    #[test]
    fn a_constant_is_as_scikit_learn_and_scipy_have_it() {
        let of = |pairs: &[(f64, f64)]| Moments::of_pairs(pairs);
        assert_eq!(r2(&of(&[(0.1, 0.1), (0.1, 0.1), (0.1, 0.1)])), Some(1.0));
        assert_eq!(r2(&of(&[(0.1, 0.1), (0.1, 0.5), (0.1, 0.1)])), Some(0.0));
        assert_eq!(pearson(&of(&[(0.1, 0.1), (0.1, 0.5), (0.1, 0.1)])), None);
        assert_eq!(pearson(&of(&[(0.1, 0.3), (0.2, 0.3), (0.3, 0.3)])), None);
        assert_eq!(r2(&of(&[(2.0, 2.0)])), None);
        assert_eq!(
            explained_variance(&of(&[(0.1, 0.3), (0.1, 0.3), (0.1, 0.3)])),
            Some(1.0)
        );
        assert_eq!(explained_variance(&of(&[(0.1, 0.3), (0.1, 0.5)])), Some(0.0));
        assert_eq!(mean_absolute_error(&Moments::default()), None);
    }

    #[test]
    fn a_part_alone_is_the_whole() {
        let part = Moments::of_pairs(&[(1.0 / 3.0, 0.1), (0.7, 1e9), (-5.0, 0.3)]);
        assert_eq!(Moments::merged([&part, &Moments::default()].into_iter()), part);
    }

    #[test]
    fn a_pair_that_counts_twice_is_there_twice() {
        let (pairs, weights) = ([(9.0, 9.0), (1.0, 2.0), (3.0, 2.5)], [0, 2, 1]);
        let weighted = Moments::of_weighted(&pairs, &weights);
        let repeated = Moments::of_pairs(&[(1.0, 2.0), (1.0, 2.0), (3.0, 2.5)]);
        assert_eq!(weighted.samples, 3);
        assert!(near(r2(&weighted).unwrap(), r2(&repeated).unwrap()));
        assert!(near(pearson(&weighted).unwrap(), pearson(&repeated).unwrap()));
    }

    proptest! {
        #[test]
        fn cutting_a_split_into_parts_changes_no_metric(
            pairs in prop::collection::vec((-1e6..1e6f64, -1e6..1e6f64), 2..200), cut in 0usize..200, far in -1e9..1e9f64,
        ) {
            let pairs: Vec<_> = pairs.into_iter().map(|(value, prediction)| (value + far, prediction + far)).collect();
            let cut = cut.min(pairs.len());
            let parts = [Moments::of_pairs(&pairs[..cut]), Moments::of_pairs(&pairs[cut..])];
            let merged = Moments::merged(parts.iter());
            let whole = Moments::of_pairs(&pairs);
            prop_assert_eq!(merged.samples, whole.samples);
            for metric in [mean_absolute_error, root_mean_squared_error, r2, explained_variance, pearson] {
                let (merged, whole) = (metric(&merged), metric(&whole));
                prop_assert!(merged.zip(whole).map_or(merged == whole, |(a, b)| near(a, b)), "{merged:?} {whole:?}");
            }
        }
    }
}

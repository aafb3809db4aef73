//! Metrics that follow from the moments of a target and of its predictions: scikit-learn's and SciPy's definitions, each in a few lines.
//!
//! Second moments are kept about the means, not as sums of squares: prices of 400,000 whose spread is 1 would leave nothing of it in a sum
//! of squares of doubles. Two parts are merged by the formula of Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for
//! computing sample variances" (1979), which is exact but for rounding; in the same order it gives the same bits.

use serde::{Deserialize, Serialize};

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
    /// Of (value, prediction) pairs, in their order.
    pub fn of_pairs(pairs: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut moments = Self::default();
        for (value, prediction) in pairs {
            moments.add(value, prediction);
        }
        moments
    }

    /// Adds a sample.
    pub fn add(&mut self, value: f64, prediction: f64) {
        let error = value - prediction;
        self.merge(&Self {
            samples: 1,
            value_mean: value,
            prediction_mean: prediction,
            absolute_errors: error.abs(),
            squared_errors: error * error,
            ..Self::default()
        });
    }

    /// Adds other samples.
    pub fn merge(&mut self, other: &Self) {
        if other.samples == 0 {
            return;
        }
        let (before, added) = (self.samples as f64, other.samples as f64);
        let share = added / (before + added);
        let value = other.value_mean - self.value_mean;
        let prediction = other.prediction_mean - self.prediction_mean;
        self.value_squares += other.value_squares + value * value * before * share;
        self.prediction_squares += other.prediction_squares + prediction * prediction * before * share;
        self.products += other.products + value * prediction * before * share;
        self.value_mean += value * share;
        self.prediction_mean += prediction * share;
        self.absolute_errors += other.absolute_errors;
        self.squared_errors += other.squared_errors;
        self.samples = self.samples.saturating_add(other.samples);
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

/// `sklearn.metrics.root_mean_squared_error`.
pub(super) fn root_mean_squared_error(moments: &Moments) -> Option<f64> {
    (moments.samples > 0).then(|| (moments.squared_errors / moments.samples as f64).sqrt())
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
        let of = |pairs: &[(f64, f64)]| Moments::of_pairs(pairs.iter().copied());
        assert_eq!(r2(&of(&[(0.1, 0.1), (0.1, 0.1), (0.1, 0.1)])), Some(1.0));
        assert_eq!(r2(&of(&[(0.1, 0.1), (0.1, 0.5), (0.1, 0.1)])), Some(0.0));
        assert_eq!(pearson(&of(&[(0.1, 0.1), (0.1, 0.5), (0.1, 0.1)])), None);
        assert_eq!(pearson(&of(&[(0.1, 0.3), (0.2, 0.3), (0.3, 0.3)])), None);
        assert_eq!(r2(&of(&[(2.0, 2.0)])), None);
        assert_eq!(mean_absolute_error(&Moments::default()), None);
    }

    proptest! {
        #[test]
        fn cutting_a_split_into_parts_changes_no_metric(
            pairs in prop::collection::vec((-1e6..1e6f64, -1e6..1e6f64), 2..200), cut in 0usize..200, far in -1e9..1e9f64,
        ) {
            let pairs: Vec<_> = pairs.into_iter().map(|(value, prediction)| (value + far, prediction + far)).collect();
            let cut = cut.min(pairs.len());
            let mut merged = Moments::of_pairs(pairs[..cut].iter().copied());
            merged.merge(&Moments::of_pairs(pairs[cut..].iter().copied()));
            let whole = Moments::of_pairs(pairs.iter().copied());
            prop_assert_eq!(merged.samples, whole.samples);
            for metric in [mean_absolute_error, root_mean_squared_error, r2, pearson] {
                let (merged, whole) = (metric(&merged), metric(&whole));
                prop_assert!(merged.zip(whole).map_or(merged == whole, |(a, b)| near(a, b)), "{merged:?} {whole:?}");
            }
        }
    }
}

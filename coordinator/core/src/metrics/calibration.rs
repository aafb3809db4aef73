//! How far confidence is from being right: the expected calibration error of Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017).
//!
//! Samples fall into 15 bins of equal width by the probability of the class that was predicted; a bin holds its upper edge and not its lower
//! one. scikit-learn has no such metric.

use super::sum::Sum;

/// Bins between 0 and 1.
const BINS: usize = 15;

/// What was predicted with which confidence, and how often it was right.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    bins: [Bin; BINS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    samples: u64,
    right: u64,
    confidence: Sum,
}

impl Calibration {
    /// Adds a sample that counts so often: the probability of the class that was predicted, and whether that was right.
    pub(super) fn add(&mut self, confidence: f64, is_right: bool, weight: u32) {
        let bin = &mut self.bins[place(confidence)];
        bin.samples += u64::from(weight);
        bin.right += if is_right { u64::from(weight) } else { 0 };
        bin.confidence.add(f64::from(weight) * confidence);
    }
}

/// The bin (k/15, (k+1)/15] of a confidence.
fn place(confidence: f64) -> usize {
    let edge = |bin: usize| bin as f64 / BINS as f64;
    (1..BINS).take_while(|bin| confidence > edge(*bin)).count()
}

/// Σ over bins of their part of the samples times |fraction that was right - mean confidence|.
pub(super) fn expected_error(calibration: &Calibration) -> Option<f64> {
    let samples: u64 = calibration.bins.iter().map(|bin| bin.samples).sum();
    let distance = |bin: &Bin| (bin.right as f64 - bin.confidence.value()).abs();
    let distances: f64 = calibration.bins.iter().map(distance).sum();
    (samples > 0).then(|| distances / samples as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_holds_its_upper_edge_and_not_its_lower_one() {
        assert_eq!(place(0.0), 0);
        assert_eq!((place(1.0 / 15.0), place(1.0 / 15.0 + 1e-12)), (0, 1));
        assert_eq!((place(14.0 / 15.0), place(1.0), place(1.0 + 1e-9)), (13, 14, 14));
    }

    #[test]
    fn it_is_the_distance_of_confidence_from_being_right() {
        let mut calibration = Calibration::default();
        assert_eq!(expected_error(&calibration), None);
        calibration.add(0.75, true, 3);
        calibration.add(0.75, false, 1);
        assert_eq!(expected_error(&calibration), Some(0.0));
        calibration.add(0.5, false, 4);
        assert_eq!(expected_error(&calibration), Some(0.25));
    }
}

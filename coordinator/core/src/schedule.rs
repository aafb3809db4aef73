//! The learning rate at a step: a curve over the steps, below a peak.
//!
//! The curve is a pure function of the step's number, and each rank computes it. The peak of an epoch is decided by the coordinator, and comes with
//! the directive to train the epoch: what falls from epoch to epoch lowers the peak.
//!
//! The formulas are those of transformers and PyTorch, so that a job can be compared with its twin there; each choice of [`ScheduleShape`] says
//! which. With a warm-up the first step has the rate 0. Where a curve ends at 0, the last step has not quite reached it: it is the step after
//! the last that would.

mod curves;
mod plateau;

use crate::metrics::Watched;
use crate::spec::{ScheduleShape, ScheduleSpec, TrainingSpec, Warmup};

/// The peak of an epoch (from 0). `value` gives a metric of the validation after an earlier epoch; `None` where it is undefined.
pub fn peak(training: &TrainingSpec, epoch: u32, value: impl Fn(Watched<'_>, u32) -> Option<f64>) -> f64 {
    let initial = training.optimizer.learning_rate();
    let fallen = |times: u32, gamma: f64| initial * gamma.powi(times.try_into().unwrap_or(i32::MAX));
    match &training.schedule.shape {
        ScheduleShape::Plateau(rule) => {
            let values = (0..epoch).map(|epoch| value(rule.watched(), epoch));
            plateau::peak(rule, initial, values)
        }
        ScheduleShape::Step { step_size, gamma } => fallen(epoch / (*step_size).max(1), *gamma),
        ScheduleShape::MultiStep { milestones, gamma } => {
            let passed = milestones.iter().filter(|milestone| **milestone <= epoch).count();
            fallen(passed.try_into().unwrap_or(u32::MAX), *gamma)
        }
        ScheduleShape::Exponential { gamma } => fallen(epoch, *gamma),
        ScheduleShape::Constant | ScheduleShape::Linear | ScheduleShape::Cosine => initial,
        ScheduleShape::CosineRestarts { .. } | ScheduleShape::Polynomial { .. } => initial,
        ScheduleShape::OneCycle(_) | ScheduleShape::InverseSqrt { .. } | ScheduleShape::RangeTest { .. } => initial,
    }
}

/// The learning rate of step `step` (over the whole job, from 0) of `total_steps`.
///
/// With w warm-up steps, T total steps and peak p it is p · s / w where s < w, and then what the curve of the shape gives.
pub fn learning_rate(spec: &ScheduleSpec, peak: f64, step: u64, total_steps: u64) -> f64 {
    let warmup = warmup_steps(spec.warmup, total_steps);
    if step < warmup {
        return peak * (step as f64 / warmup as f64);
    }
    let place = curves::Place {
        step,
        warmup,
        total_steps,
    };
    match spec.shape {
        ScheduleShape::Constant | ScheduleShape::Plateau(_) => peak,
        ScheduleShape::Step { .. } | ScheduleShape::MultiStep { .. } | ScheduleShape::Exponential { .. } => peak,
        ScheduleShape::Linear => peak * place.left(),
        ScheduleShape::Cosine => peak * curves::half_cosine(place.progress()),
        ScheduleShape::CosineRestarts {
            cycles,
            min_learning_rate,
        } => curves::above(min_learning_rate, peak, curves::half_cosines(place.progress(), cycles)),
        ScheduleShape::Polynomial {
            power,
            min_learning_rate,
        } => curves::above(min_learning_rate, peak, place.left().powf(power)),
        ScheduleShape::OneCycle(cycle) => curves::one_cycle(&cycle, peak, step, total_steps),
        ScheduleShape::InverseSqrt { timescale } => peak * place.inverse_square_root(timescale),
        ScheduleShape::RangeTest {
            start_learning_rate,
            steps,
        } => curves::exponential(start_learning_rate, peak, step, steps),
    }
}

/// Steps of the linear rise: ⌈ratio · total⌉, as `transformers.TrainingArguments.get_warmup_steps`, or the number itself.
pub fn warmup_steps(warmup: Warmup, total_steps: u64) -> u64 {
    match warmup {
        Warmup::Steps(steps) => u64::from(steps),
        Warmup::Ratio(ratio) => (total_steps as f64 * ratio).ceil() as u64,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(shape: ScheduleShape, warmup: Warmup) -> ScheduleSpec {
        ScheduleSpec { shape, warmup }
    }

    #[test]
    fn the_rate_rises_from_zero_to_the_peak_and_stays() {
        let spec = spec(ScheduleShape::Constant, Warmup::Steps(4));
        let rates: Vec<f64> = (0..6).map(|step| learning_rate(&spec, 2.0, step, 6)).collect();
        assert_eq!(rates, [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]);
    }

    #[test]
    fn a_cosine_is_at_half_the_peak_half_way() {
        let spec = spec(ScheduleShape::Cosine, Warmup::Steps(2));
        assert_eq!(learning_rate(&spec, 1.0, 2, 12), 1.0);
        assert!((learning_rate(&spec, 1.0, 7, 12) - 0.5).abs() < 1e-15);
        assert!(learning_rate(&spec, 1.0, 12, 12).abs() < 1e-15);
    }

    #[test]
    fn a_warm_up_that_is_longer_than_the_job_only_rises() {
        for shape in [ScheduleShape::Constant, ScheduleShape::Linear, ScheduleShape::Cosine] {
            let spec = spec(shape, Warmup::Steps(100));
            assert_eq!(learning_rate(&spec, 1.0, 10, 20), 0.1);
            assert!(learning_rate(&spec, 1.0, 200, 20).is_finite());
        }
    }

    #[test]
    fn a_ratio_is_rounded_up_to_whole_steps() {
        assert_eq!(warmup_steps(Warmup::Ratio(0.05), 90), 5);
        assert_eq!(warmup_steps(Warmup::Ratio(0.0), 90), 0);
        assert_eq!(warmup_steps(Warmup::Ratio(0.1), 1), 1);
    }

    proptest! {
        #[test]
        fn the_rate_is_between_zero_and_the_peak_and_never_rises_after_the_warm_up(
            total in 1u64..500, warmup in 0u32..50, shape in 0usize..3,
        ) {
            let shape = [ScheduleShape::Constant, ScheduleShape::Linear, ScheduleShape::Cosine][shape].clone();
            let spec = spec(shape, Warmup::Steps(warmup));
            let rates: Vec<f64> = (0..total).map(|step| learning_rate(&spec, 0.3, step, total)).collect();
            prop_assert!(rates.iter().all(|&rate| (0.0..=0.3).contains(&rate)));
            for (step, pair) in rates.windows(2).enumerate() {
                let rising = step < warmup as usize;
                prop_assert!(!rising || pair[0] <= pair[1]);
                prop_assert!(rising || pair[0] >= pair[1]);
            }
        }
    }
}

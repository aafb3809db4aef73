//! The learning rate at a step: a curve over the steps, below a peak.
//!
//! The curve is a pure function of the step's number, and each rank computes it. The peak of an epoch is decided by the coordinator, and comes with
//! the directive to train the epoch.
//!
//! The formulas are those of `transformers.get_constant_schedule_with_warmup`, `get_linear_schedule_with_warmup` and
//! `get_cosine_schedule_with_warmup` (half a cycle), so that a job can be compared with its twin there. With a warm-up the first step
//! has the rate 0, and the last step has not quite reached 0: it is the step after the last that would.

mod plateau;

use crate::spec::{MetricName, ScheduleShape, ScheduleSpec, TrainingSpec, Warmup};

/// The peak of an epoch (from 0). `value` gives a metric of the validation after an earlier epoch; `None` where it is undefined.
pub fn peak(training: &TrainingSpec, epoch: u32, value: impl Fn(MetricName, u32) -> Option<f64>) -> f64 {
    let initial = training.optimizer.learning_rate();
    match &training.schedule.shape {
        ScheduleShape::Constant | ScheduleShape::Linear | ScheduleShape::Cosine => initial,
        ScheduleShape::Plateau(rule) => {
            let values = (0..epoch).map(|epoch| value(rule.metric, epoch));
            plateau::peak(rule, initial, values)
        }
    }
}

/// The learning rate of step `step` (over the whole job, from 0) of `total_steps`.
///
/// With w warm-up steps, T total steps and peak p:
/// * s < w: p · s / w
/// * constant, plateau: p
/// * linear: p · max(0, (T − s) / max(1, T − w))
/// * cosine: p · max(0, ½ (1 + cos(π (s − w) / max(1, T − w))))
pub fn learning_rate(spec: &ScheduleSpec, peak: f64, step: u64, total_steps: u64) -> f64 {
    let warmup = warmup_steps(spec.warmup, total_steps);
    if step < warmup {
        return peak * (step as f64 / warmup as f64);
    }
    let falling_steps = total_steps.saturating_sub(warmup).max(1) as f64;
    let factor = match spec.shape {
        ScheduleShape::Constant | ScheduleShape::Plateau(_) => 1.0,
        ScheduleShape::Linear => total_steps.saturating_sub(step) as f64 / falling_steps,
        ScheduleShape::Cosine => {
            let progress = (step - warmup) as f64 / falling_steps;
            (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0)
        }
    };
    peak * factor
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
            let shape = [ScheduleShape::Constant, ScheduleShape::Linear, ScheduleShape::Cosine][shape];
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

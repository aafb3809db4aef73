//! Reduce on plateau: the peak falls when a metric of the validation no longer improves.
//!
//! `torch.optim.lr_scheduler.ReduceLROnPlateau` (PyTorch 2.11), stepped once after each epoch's validation. The peak of an epoch is a pure
//! function of the evaluations before it, so whoever knows these knows the peak: a coordinator that has just started, a job that went back to
//! a checkpoint, the audit. A metric that is undefined is no improvement, as NaN is none there.

use crate::spec::{PlateauSpec, ThresholdMode};

/// A smaller reduction is none, as PyTorch's `eps`.
const SMALLEST_REDUCTION: f64 = 1e-8;

/// The peak after the evaluations with these values of the metric, oldest first; `initial`: before the first.
pub(super) fn peak(rule: &PlateauSpec, initial: f64, values: impl Iterator<Item = Option<f64>>) -> f64 {
    let (mut peak, mut best) = (initial, None);
    let (mut stalled, mut cooling) = (0, 0);
    for value in values {
        match value.filter(|value| best.is_none_or(|best| improves(rule, *value, best))) {
            Some(value) => (best, stalled) = (Some(value), 0),
            None => stalled += 1,
        }
        if cooling > 0 {
            cooling -= 1;
            stalled = 0;
        }
        if stalled > rule.patience {
            let reduced = (peak * rule.factor).max(rule.min_learning_rate);
            if peak - reduced > SMALLEST_REDUCTION {
                peak = reduced;
            }
            cooling = rule.cooldown;
            stalled = 0;
        }
    }
    peak
}

fn improves(rule: &PlateauSpec, value: f64, best: f64) -> bool {
    match (rule.metric.higher_is_better(), rule.threshold_mode) {
        (false, ThresholdMode::Relative) => value < best * (1.0 - rule.threshold),
        (false, ThresholdMode::Absolute) => value < best - rule.threshold,
        (true, ThresholdMode::Relative) => value > best * (rule.threshold + 1.0),
        (true, ThresholdMode::Absolute) => value > best + rule.threshold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::MetricName;

    fn rule() -> PlateauSpec {
        PlateauSpec {
            metric: MetricName::LOSS,
            class: None,
            factor: 0.5,
            patience: 1,
            threshold: 0.0,
            threshold_mode: ThresholdMode::Absolute,
            cooldown: 0,
            min_learning_rate: 0.0,
        }
    }

    fn peaks(rule: &PlateauSpec, values: &[f64]) -> Vec<f64> {
        let values: Vec<Option<f64>> = values.iter().map(|value| Some(*value)).collect();
        (0..=values.len())
            .map(|epoch| peak(rule, 8.0, values[..epoch].iter().copied()))
            .collect()
    }

    #[test]
    fn more_evaluations_than_the_patience_without_improvement_reduce() {
        assert_eq!(
            peaks(&rule(), &[3.0, 3.0, 3.0, 2.0, 2.0, 2.0]),
            [8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 2.0]
        );
    }

    #[test]
    fn while_it_cools_down_nothing_counts_and_below_the_least_rate_nothing_falls() {
        let rule = PlateauSpec {
            patience: 0,
            cooldown: 2,
            min_learning_rate: 3.0,
            ..rule()
        };
        assert_eq!(peaks(&rule, &[1.0; 6]), [8.0, 8.0, 4.0, 4.0, 4.0, 3.0, 3.0]);
    }

    #[test]
    fn a_metric_that_is_undefined_is_no_improvement() {
        let undefined = [None, None, Some(1.0), None, None];
        assert_eq!(peak(&rule(), 8.0, undefined.into_iter().take(2)), 4.0);
        assert_eq!(peak(&rule(), 8.0, undefined.into_iter()), 2.0);
    }
}

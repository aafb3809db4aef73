//! What has to fit in a schedule beyond the ranges of its fields.

use super::violations::Violations;
use crate::schedule;
use crate::spec::{ScheduleShape, TrainingSpec, Warmup};

pub(super) fn check(training: &TrainingSpec, violations: &mut Violations) {
    let schedule = &training.schedule;
    match &schedule.shape {
        ScheduleShape::CosineRestarts { min_learning_rate, .. }
        | ScheduleShape::Polynomial { min_learning_rate, .. } => {
            let peak = training.optimizer.learning_rate();
            violations.require(
                *min_learning_rate <= peak,
                "spec.training.schedule.minLearningRate",
                || format!("must not be above the learning rate ({peak}), found {min_learning_rate}"),
            );
        }
        ScheduleShape::MultiStep { milestones, gamma } => {
            rising_epochs(milestones, training.epochs, violations);
            stays_finite(training, *gamma, violations);
        }
        ScheduleShape::Step { gamma, .. } | ScheduleShape::Exponential { gamma } => {
            stays_finite(training, *gamma, violations);
        }
        ScheduleShape::RangeTest {
            start_learning_rate, ..
        } => {
            let peak = training.optimizer.learning_rate();
            violations.require(
                *start_learning_rate < peak,
                "spec.training.schedule.startLearningRate",
                || format!("must be below the learning rate ({peak}), to which it rises, found {start_learning_rate}"),
            );
            rises_by_itself(
                "`range_test` rises by itself, from startLearningRate",
                training,
                violations,
            );
        }
        ScheduleShape::OneCycle(_) => rises_by_itself(
            "`one_cycle` rises by itself, for the part of the steps that pctStart says",
            training,
            violations,
        ),
        _ => {}
    }
}

/// A warm-up would be a second rise.
fn rises_by_itself(why: &str, training: &TrainingSpec, violations: &mut Violations) {
    let (field, has_none) = match training.schedule.warmup {
        Warmup::Ratio(ratio) => ("spec.training.schedule.warmupRatio", ratio == 0.0),
        Warmup::Steps(steps) => ("spec.training.schedule.warmupSteps", steps == 0),
    };
    violations.require(has_none, field, || format!("must be left out: {why}"));
}

/// A rate that is multiplied with more than 1 may grow.
fn stays_finite(training: &TrainingSpec, gamma: f64, violations: &mut Violations) {
    let last = schedule::peak(training, training.epochs.saturating_sub(1), |_, _| None);
    violations.require(last.is_finite(), "spec.training.schedule.gamma", || {
        format!(
            "must leave a learning rate that is a number after {} epochs, found {gamma}",
            training.epochs
        )
    });
}

fn rising_epochs(milestones: &[u32], epochs: u32, violations: &mut Violations) {
    const FIELD: &str = "spec.training.schedule.milestones";
    violations.require(!milestones.is_empty(), FIELD, || {
        "must name at least one epoch, found none".to_owned()
    });
    for (place, milestone) in milestones.iter().enumerate() {
        let field = format!("{FIELD}[{place}]");
        let before = place.checked_sub(1).map_or(0, |before| milestones[before]);
        violations.require(*milestone > before, &field, || {
            format!("must be above {before}, found {milestone}")
        });
        violations.require(*milestone < epochs, &field, || {
            format!(
                "must be an epoch of the job, which has 0 to {}, found {milestone}",
                epochs.saturating_sub(1)
            )
        });
    }
}

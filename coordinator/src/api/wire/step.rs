//! Committed steps: wire <-> core.

use firn_core::state::{Step, StepTiming};
use firn_proto::v1alpha1 as proto;
use tonic::Status;

use crate::api::refusal::invalid;

/// # Errors
/// A number that is not finite: it would not survive the journal, and a step with such a loss must be reported as a failure instead.
pub(crate) fn step_from_wire(index: usize, step: &proto::Step) -> Result<Step, Status> {
    let timing = step.timing.unwrap_or_default();
    let numbers = [
        ("loss", step.loss),
        ("learning_rate", step.learning_rate),
        ("gradient_norm", step.gradient_norm),
        ("timing.data_seconds", timing.data_seconds),
        ("timing.compute_seconds", timing.compute_seconds),
        ("timing.reduce_seconds", timing.reduce_seconds),
        ("timing.other_seconds", timing.other_seconds),
    ];
    if let Some((name, value)) = numbers.into_iter().find(|(_, value)| !value.is_finite()) {
        return Err(invalid(
            format!("steps[{index}].{name}"),
            format!("expected a finite number, found {value}"),
        ));
    }
    Ok(Step {
        step: step.step,
        epoch: step.epoch,
        loss: step.loss,
        learning_rate: step.learning_rate,
        samples: step.samples,
        gradient_norm: step.gradient_norm,
        skipped: step.skipped,
        first_position: step.first_position,
        end_position: step.end_position,
        timing: StepTiming {
            data_seconds: timing.data_seconds,
            compute_seconds: timing.compute_seconds,
            reduce_seconds: timing.reduce_seconds,
            other_seconds: timing.other_seconds,
        },
    })
}

pub(crate) fn step_to_wire(step: &Step) -> proto::Step {
    proto::Step {
        step: step.step,
        epoch: step.epoch,
        loss: step.loss,
        learning_rate: step.learning_rate,
        samples: step.samples,
        gradient_norm: step.gradient_norm,
        skipped: step.skipped,
        first_position: step.first_position,
        end_position: step.end_position,
        timing: Some(proto::StepTiming {
            data_seconds: step.timing.data_seconds,
            compute_seconds: step.timing.compute_seconds,
            reduce_seconds: step.timing.reduce_seconds,
            other_seconds: step.timing.other_seconds,
        }),
    }
}

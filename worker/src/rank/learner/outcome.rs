//! What a step is given, and what it gave.

use std::time::Duration;

use firn_proto::v1alpha1::{Step, StepTiming};

/// Where in the job a step stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    /// From 0.
    pub(crate) epoch: u32,
    /// Over the whole job, from 0.
    pub(crate) step: u64,
    /// Of this update.
    pub(crate) learning_rate: f64,
}

/// What a step gave; the same on every rank but for the timing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Σwℓ / Σw over the global batch; 0 if all of its samples are set aside.
    pub(crate) loss: f64,
    /// L2 norm of the mean gradient, before it was limited.
    pub(crate) gradient_norm: f64,
    /// Samples that took part.
    pub(crate) samples: u32,
    /// Loss or gradient was not finite, so nothing was updated.
    pub(crate) skipped: bool,
    /// Where this rank's time went.
    pub(crate) spent: Spent,
}

/// Where a rank's time went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Waiting for batches.
    pub(crate) data: Duration,
    /// Forward, backward, and gathering the gradients.
    pub(crate) compute: Duration,
    /// Summing over the ranks.
    pub(crate) reduce: Duration,
}

impl Outcome {
    /// The ledger's record of a step that took `total`.
    pub(crate) fn into_record(self, position: Position, total: Duration) -> Step {
        let Spent { data, compute, reduce } = self.spent;
        let other = total.saturating_sub(data + compute + reduce);
        // What is not finite has no place in the ledger; `skipped` says that there was something.
        let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
        Step {
            step: position.step,
            epoch: position.epoch,
            loss: finite(self.loss),
            learning_rate: position.learning_rate,
            samples: self.samples,
            gradient_norm: finite(self.gradient_norm),
            skipped: self.skipped,
            timing: Some(StepTiming {
                data_seconds: data.as_secs_f64(),
                compute_seconds: compute.as_secs_f64(),
                reduce_seconds: reduce.as_secs_f64(),
                other_seconds: other.as_secs_f64(),
            }),
            ..Step::default()
        }
    }

    /// What was not finite, with its value; for a step that was skipped.
    pub(crate) fn offender(&self) -> (&'static str, f64) {
        match self.loss.is_finite() {
            true => ("gradient norm", self.gradient_norm),
            false => ("loss", self.loss),
        }
    }
}

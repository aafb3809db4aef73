//! One optimizer update from one global batch.
//!
//! Each rank computes Σ wᵢ∇ℓᵢ and Σ wᵢ over its part; both are summed over the ranks, and divided once. So the update is that of the
//! whole global batch, whatever its size, the weights of its classes and the number of ranks. How the ranks' sums come together is
//! decided by the job: in one all-reduce, or, in strict mode, in the one order of [`strict`].
//!
//! A loss or gradient that is not finite would destroy what has been learned. The decision to leave such a step out is made from the
//! sums over all ranks alone. All ranks hold the same sums, so they decide alike, and no further message is needed.

mod norm;
mod strict;
mod unit;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use firn_core::spec::{Determinism, TrainingSpec};
use firn_data::Batch;
use firn_models::{Model, Objective, Optimizer};
use firn_proto::v1alpha1::{Step, StepTiming};
use tch::{Device, Tensor};

use super::{failure::RankFailure, gang::Gang, halt::Halt};

/// Where in the job a step stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// From 0.
    pub(super) epoch: u32,
    /// Over the whole job, from 0.
    pub(super) step: u64,
    /// Of this update.
    pub(super) learning_rate: f64,
}

/// What a step needs, and what it changes: the model's trainable tensors and the optimizer.
pub(super) struct Learner<'a> {
    pub(super) model: &'a Model,
    pub(super) loss: &'a Objective,
    pub(super) optimizer: &'a mut Optimizer,
    pub(super) training: &'a TrainingSpec,
    pub(super) gang: &'a mut Gang,
}

/// What a step gave; the same on every rank but for the timing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// Σwℓ / Σw over the global batch; 0 if all of its samples are set aside.
    pub(super) loss: f64,
    /// L2 norm of the mean gradient, before it was limited.
    pub(super) gradient_norm: f64,
    /// Samples that took part.
    pub(super) samples: u32,
    /// Loss or gradient was not finite, so nothing was updated.
    pub(super) skipped: bool,
    spent: Spent,
}

/// Where a rank's time went.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    data: Duration,
    compute: Duration,
    reduce: Duration,
}

/// Numbers that travel at the end of the flat gradient: Σwℓ, Σw and the number of samples.
const SUMS: i64 = 3;

/// Computes this rank's part from `batches`, sums over the gang, and updates the model.
///
/// `units` has the number of micro-batches of each unit that is this rank's, in order: its whole part of the global batch, or, in strict
/// mode, each of its slices. `batches` gives them one after the other.
///
/// # Errors
/// Those of `batches` and of the gang; the model is then as it was before the step.
pub(super) fn run(
    learner: &mut Learner<'_>,
    position: Position,
    units: &[usize],
    batches: impl Iterator<Item = Result<Batch, Halt>>,
) -> Result<Outcome, Halt> {
    let statistics = statistics_of(learner)?;
    let attempt = attempt(learner, position, units, batches);
    match &attempt {
        Ok(outcome) if outcome.skipped => restore(&statistics)?,
        Ok(_) => {}
        Err(_) => {
            // The same process takes the step again, in another gang.
            restore(&statistics)?;
            for (_, parameter) in learner.model.trainable() {
                parameter.shallow_clone().zero_grad();
            }
        }
    }
    attempt
}

fn attempt(
    learner: &mut Learner<'_>,
    position: Position,
    units: &[usize],
    mut batches: impl Iterator<Item = Result<Batch, Halt>>,
) -> Result<Outcome, Halt> {
    let mut spent = Spent::default();
    let mut next = |count: usize, spent: &mut Spent, learner: &Learner<'_>| {
        unit::sums(learner, position, batches.by_ref().take(count), spent)
    };
    let summed = match learner.training.determinism {
        Determinism::Default => {
            let mut summed = next(units.iter().sum(), &mut spent, learner)?;
            let began = Instant::now();
            learner.gang.all_reduce_sum(&mut summed)?;
            spent.reduce += began.elapsed();
            summed
        }
        Determinism::Strict => {
            let mut mine = strict::Slices::of(learner);
            for count in units {
                let summed = next(*count, &mut spent, learner)?;
                mine.add(summed)?;
            }
            let began = Instant::now();
            let summed = mine.exchange(learner.gang)?;
            spent.reduce += began.elapsed();
            summed
        }
    };
    Ok(learn(learner, position, &summed, spent)?)
}

/// Decides from the sums over the gang, the same on all ranks, and updates the model if they are finite.
fn learn(learner: &mut Learner<'_>, position: Position, summed: &Tensor, spent: Spent) -> Result<Outcome, RankFailure> {
    let _no_grad = tch::no_grad_guard();
    let parameters = summed.numel() as i64 - SUMS;
    let sums = summed.f_narrow(0, parameters, SUMS)?.f_to_device(Device::Cpu)?;
    let sums = Vec::<f32>::try_from(sums)?;
    let (loss_sum, weight, samples) = (f64::from(sums[0]), f64::from(sums[1]), f64::from(sums[2]));
    let mut outcome = Outcome {
        loss: 0.0,
        gradient_norm: 0.0,
        samples: samples as u32,
        skipped: false,
        spent,
    };
    // Every sample of the batch is set aside: nothing can be learned from it.
    if weight == 0.0 {
        return Ok(outcome);
    }
    let mean = summed.f_narrow(0, 0, parameters)?.f_div_scalar(weight)?;
    outcome.loss = loss_sum / weight;
    outcome.gradient_norm = norm::l2(&mean)?;
    // Optimizers square the gradient in single precision.
    let squared = (outcome.gradient_norm * outcome.gradient_norm) as f32;
    outcome.skipped = !outcome.loss.is_finite() || !squared.is_finite();
    if !outcome.skipped {
        update(learner, position, mean, outcome.gradient_norm)?;
    }
    Ok(outcome)
}

/// Limits the norm and updates.
fn update(learner: &mut Learner<'_>, position: Position, mean: Tensor, norm: f64) -> Result<(), RankFailure> {
    let limited = match learner.training.max_gradient_norm {
        // `torch.nn.utils.clip_grad_norm_`: the 1e-6 keeps the quotient finite.
        Some(limit) if norm > limit => mean.f_mul_scalar(limit / (norm + 1e-6))?,
        _ => mean,
    };
    let mut gradients = Vec::with_capacity(learner.model.trainable().len());
    let mut offset = 0;
    for (_, parameter) in learner.model.trainable() {
        let elements = parameter.numel() as i64;
        let gradient = limited.f_narrow(0, offset, elements)?;
        gradients.push(gradient.f_view(parameter.size().as_slice())?);
        offset += elements;
    }
    learner.optimizer.step(position.learning_rate, &gradients)?;
    Ok(())
}

/// The running statistics that the forward passes of a step change, where BatchNorm trains: each with its values now.
fn statistics_of(learner: &Learner<'_>) -> Result<Vec<(Tensor, Tensor)>, RankFailure> {
    let parameters = learner.model.trainable().len();
    let state = learner.model.trainable_state().into_iter().skip(parameters);
    state
        .map(|(_, tensor)| {
            let now = tensor.f_detach_copy()?;
            Ok((tensor, now))
        })
        .collect()
}

fn restore(statistics: &[(Tensor, Tensor)]) -> Result<(), RankFailure> {
    let _no_grad = tch::no_grad_guard();
    for (tensor, before) in statistics {
        tensor.shallow_clone().f_copy_(before)?;
    }
    Ok(())
}

impl Outcome {
    /// The ledger's record of a step that took `total`.
    pub(super) fn into_record(self, position: Position, total: Duration) -> Step {
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
    pub(super) fn offender(&self) -> (&'static str, f64) {
        match self.loss.is_finite() {
            true => ("gradient norm", self.gradient_norm),
            false => ("loss", self.loss),
        }
    }
}

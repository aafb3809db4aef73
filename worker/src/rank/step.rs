//! One optimizer update from one global batch.
//!
//! Each rank computes Σ wᵢ∇ℓᵢ and Σ wᵢ over its part; both are summed over the ranks in one all-reduce, and divided once. So the
//! update is that of the whole global batch, whatever its size, the weights of its classes and the number of ranks.

use std::time::{Duration, Instant};

use firn_data::Batch;
use firn_models::{Dropout, LossSums};
use firn_proto::v1alpha1::{QuarantinedSample, Step, StepTiming};
use tch::{Device, Kind, Tensor};
use tracing::warn;

use super::{failure::RankFailure, inputs, session::Session};

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

/// What a step gave; the same on every rank but for the timing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    loss: f64,
    samples: u32,
    gradient_norm: f64,
    data: Duration,
    compute: Duration,
    reduce: Duration,
}

/// What one rank has summed up over its part of the global batch.
struct Part {
    loss: f64,
    weight: f64,
    samples: u64,
    data: Duration,
    compute: Duration,
}

/// Numbers that travel at the end of the flat gradient: Σwℓ, Σw and the number of samples.
const SUMS: i64 = 3;

/// Computes this rank's part from `batches`, sums over the gang, and updates the model.
pub(super) fn run(
    session: &mut Session,
    position: Position,
    batches: impl Iterator<Item = Batch>,
) -> Result<Outcome, RankFailure> {
    let part = compute_part(session, position, batches)?;

    let began = Instant::now();
    let mut flat = flatten(session, &part)?;
    let flattened = began.elapsed();
    let began = Instant::now();
    session.gang.all_reduce_sum(&mut flat)?;
    let reduce = began.elapsed();

    let parameters = flat.numel() as i64 - SUMS;
    let sums = Vec::<f32>::try_from(flat.f_narrow(0, parameters, SUMS)?.f_to_device(Device::Cpu)?)?;
    let (loss_sum, weight, samples) = (f64::from(sums[0]), f64::from(sums[1]), f64::from(sums[2]));
    let mut outcome = Outcome {
        loss: 0.0,
        samples: samples as u32,
        gradient_norm: 0.0,
        data: part.data,
        compute: part.compute + flattened,
        reduce,
    };
    // Every sample of the batch is quarantined: nothing can be learned from it.
    if weight > 0.0 {
        outcome.loss = loss_sum / weight;
        outcome.gradient_norm = update(session, position, &flat.f_narrow(0, 0, parameters)?, weight)?;
        check_finite(position, "loss", outcome.loss)?;
        check_finite(position, "gradient norm", outcome.gradient_norm)?;
    }
    Ok(outcome)
}

fn compute_part(
    session: &mut Session,
    position: Position,
    batches: impl Iterator<Item = Batch>,
) -> Result<Part, RankFailure> {
    let mut part = Part {
        loss: 0.0,
        weight: 0.0,
        samples: 0,
        data: Duration::ZERO,
        compute: Duration::ZERO,
    };
    let mut batches = batches;
    loop {
        let began = Instant::now();
        let Some(batch) = batches.next() else { return Ok(part) };
        set_aside(session, "train", &batch)?;
        part.data += began.elapsed();
        if batch.indices.is_empty() {
            continue;
        }
        let began = Instant::now();
        let sums = backward(session, position, &batch)?;
        part.loss += f64::try_from(&sums.loss)?;
        part.weight += sums.weight;
        part.samples += batch.indices.len() as u64;
        part.compute += began.elapsed();
    }
}

fn backward(session: &Session, position: Position, batch: &Batch) -> Result<LossSums, RankFailure> {
    let device = session.gang.device;
    let features = session.model.features(&inputs::input(batch, device)?)?;
    let dropout = Dropout {
        seed: session.spec.training.seed,
        epoch: position.epoch,
        samples: &batch.indices,
    };
    let logits = session.model.logits(&features, Some(&dropout))?;
    let sums = session.loss.sums(&logits, &batch.labels)?;
    sums.loss.f_backward()?;
    Ok(sums)
}

/// Reports the corrupt samples of a batch, and never touches them again.
pub(super) fn set_aside(session: &mut Session, split: &str, batch: &Batch) -> Result<(), RankFailure> {
    for corrupt in &batch.corrupt {
        if !session.quarantined.insert((split.to_owned(), corrupt.index)) {
            continue;
        }
        warn!(
            split,
            sample = corrupt.id,
            reason = corrupt.reason,
            "a corrupt sample is set aside"
        );
        session.coordinator.quarantine(QuarantinedSample {
            split: split.to_owned(),
            index: corrupt.index,
            sample: corrupt.id.clone(),
            reason: corrupt.reason.clone(),
        })?;
    }
    Ok(())
}

/// All gradients one after the other, and then the sums; the gradients in the model are cleared for the next step.
fn flatten(session: &Session, part: &Part) -> Result<Tensor, RankFailure> {
    let _no_grad = tch::no_grad_guard();
    let parameters = session.model.trainable();
    let mut pieces = Vec::with_capacity(parameters.len() + 1);
    for (_, parameter) in parameters {
        let gradient = parameter.grad();
        pieces.push(match gradient.defined() {
            true => gradient.f_flatten(0, -1)?,
            false => Tensor::f_zeros([parameter.numel() as i64], (Kind::Float, session.gang.device))?,
        });
    }
    let sums = [part.loss as f32, part.weight as f32, part.samples as f32];
    pieces.push(Tensor::f_from_slice(&sums)?.f_to_device(session.gang.device)?);
    let flat = Tensor::f_cat(&pieces, 0)?;
    for (_, parameter) in parameters {
        parameter.shallow_clone().zero_grad();
    }
    Ok(flat)
}

/// Divides once, limits the norm, updates. Returns the norm before the limit.
fn update(session: &mut Session, position: Position, summed: &Tensor, weight: f64) -> Result<f64, RankFailure> {
    let _no_grad = tch::no_grad_guard();
    let mut mean = summed.f_div_scalar(weight)?;
    let norm = f64::try_from(mean.f_norm()?)?;
    if let Some(limit) = session.spec.training.max_gradient_norm
        && norm > limit
    {
        // `torch.nn.utils.clip_grad_norm_`: the 1e-6 keeps the quotient finite.
        mean = mean.f_mul_scalar(limit / (norm + 1e-6))?;
    }
    let mut gradients = Vec::with_capacity(session.model.trainable().len());
    let mut offset = 0;
    for (_, parameter) in session.model.trainable() {
        let elements = parameter.numel() as i64;
        gradients.push(
            mean.f_narrow(0, offset, elements)?
                .f_view(parameter.size().as_slice())?,
        );
        offset += elements;
    }
    session.optimizer.step(position.learning_rate, &gradients)?;
    Ok(norm)
}

fn check_finite(position: Position, quantity: &'static str, value: f64) -> Result<(), RankFailure> {
    if value.is_finite() {
        return Ok(());
    }
    Err(RankFailure::NotFinite {
        step: position.step,
        quantity,
        value,
    })
}

impl Outcome {
    /// The ledger's record of a step that took `total`.
    pub(super) fn into_record(self, position: Position, total: Duration) -> Step {
        let other = total.saturating_sub(self.data + self.compute + self.reduce);
        Step {
            step: position.step,
            epoch: position.epoch,
            loss: self.loss,
            learning_rate: position.learning_rate,
            samples: self.samples,
            gradient_norm: self.gradient_norm,
            skipped: false,
            timing: Some(StepTiming {
                data_seconds: self.data.as_secs_f64(),
                compute_seconds: self.compute.as_secs_f64(),
                reduce_seconds: self.reduce.as_secs_f64(),
                other_seconds: other.as_secs_f64(),
            }),
        }
    }
}

//! The sums over some samples of a step, micro-batch by micro-batch: the gradient, and what it is divided by.

use std::time::Instant;

use firn_data::Batch;
use firn_models::{Dropout, LossSums};
use tch::{Kind, Tensor};

use super::{Learner, Position, Spent};
use crate::rank::{failure::RankFailure, halt::Halt, inputs, memory};

/// Forward and backward over all `batches`. Gives all gradients one after the other, and then Σwℓ, Σw and the number of samples, in one
/// flat tensor; the gradients in the model are clear again.
pub(super) fn sums(
    learner: &Learner<'_>,
    position: Position,
    mut batches: impl Iterator<Item = Result<Batch, Halt>>,
    spent: &mut Spent,
) -> Result<Tensor, Halt> {
    let (mut loss, mut weight, mut samples) = (0.0, 0.0, 0);
    loop {
        let began = Instant::now();
        let Some(batch) = batches.next().transpose()? else {
            break;
        };
        spent.data += began.elapsed();
        if batch.indices.is_empty() {
            continue;
        }
        let began = Instant::now();
        let sums = backward(learner, position, &batch)
            .map_err(|failure| memory::explain(learner, &batch, failure, |part| backward(learner, position, part)))?;
        loss += f64::try_from(&sums.loss)?;
        weight += sums.weight;
        samples += batch.indices.len();
        spent.compute += began.elapsed();
    }
    let began = Instant::now();
    let flat = flatten(learner, [loss as f32, weight as f32, samples as f32])?;
    spent.compute += began.elapsed();
    Ok(flat)
}

fn backward(learner: &Learner<'_>, position: Position, batch: &Batch) -> Result<LossSums, RankFailure> {
    let features = learner.model.features(&inputs::input(batch, learner.gang.device)?)?;
    let dropout = Dropout {
        seed: learner.training.seed,
        epoch: position.epoch,
        samples: &batch.indices,
    };
    let logits = learner.model.logits(&features, Some(&dropout))?;
    let sums = learner.loss.sums(&logits, inputs::expected(&batch.targets))?;
    sums.loss.f_backward()?;
    Ok(sums)
}

fn flatten(learner: &Learner<'_>, sums: [f32; super::SUMS as usize]) -> Result<Tensor, RankFailure> {
    let _no_grad = tch::no_grad_guard();
    let (parameters, device) = (learner.model.trainable(), learner.gang.device);
    let mut pieces = Vec::with_capacity(parameters.len() + 1);
    for (_, parameter) in parameters {
        let gradient = parameter.grad();
        pieces.push(match gradient.defined() {
            true => gradient.f_flatten(0, -1)?,
            false => Tensor::f_zeros([parameter.numel() as i64], (Kind::Float, device))?,
        });
    }
    pieces.push(Tensor::f_from_slice(&sums)?.f_to_device(device)?);
    let flat = Tensor::f_cat(&pieces, 0)?;
    for (_, parameter) in parameters {
        parameter.shallow_clone().zero_grad();
    }
    Ok(flat)
}

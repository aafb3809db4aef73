//! What is trained, and how: the model, its objective, the optimizer, the schedule, and what becomes of steps that are not finite.
//!
//! A learner knows no coordinator, no other rank and no file. It takes batches and gives sums, takes the sums over the whole global batch
//! and applies them, and gives and takes its state as bytes. Who computed which samples, and how the sums came together, is decided around it.
//!
//! Each rank computes Σ wᵢ∇ℓᵢ and Σ wᵢ over its part; both are summed over the ranks, and divided once. So the update is that of the
//! whole global batch, whatever its size, the weights of its classes and the number of ranks.
//!
//! A loss or gradient that is not finite would destroy what has been learned. The decision to leave such a step out is made from the
//! sums over all ranks alone. All ranks hold the same sums, so they decide alike, and no further message is needed.

mod average;
pub(crate) mod computation;
pub(crate) mod inputs;
mod memory;
pub(crate) mod micro_batch_plan;
pub(crate) mod mixing;
pub(crate) mod non_finite;
pub(crate) mod outcome;
mod shared_batch;
mod state;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use std::ops::Range;

use firn_core::{order, schedule, spec::Determinism};
use firn_models::{Model, Optimizer, l2_norm};
use tch::{Device, Tensor};

use self::{
    average::Average,
    computation::{Computation, SUMS},
    micro_batch_plan::Summand,
    mixing::Places,
    non_finite::NonFinitePolicy,
    outcome::{Outcome, Position, Spent},
};
use super::{failure::RankFailure, scoring::Scorer};

/// What learns.
pub(crate) struct Learner {
    computation: Computation,
    optimizer: Optimizer,
    /// Of what trains, where the job wants it.
    average: Option<Average>,
    /// The model's trainable state before the first step.
    initial: Vec<(String, Tensor)>,
    /// Names the job's settings in the states that it gives.
    spec_digest: String,
    /// Training samples of the job.
    samples: u64,
    /// Steps applied to the model, over the whole job.
    steps_done: u64,
    /// SHA-256 of the checkpoint that the model holds, until it is trained further.
    loaded: Option<String>,
    /// What becomes of steps that are not finite.
    non_finite: NonFinitePolicy,
    /// Samples that the memory held, where the usual micro-batch was too large.
    fitting: Option<usize>,
}

impl Learner {
    /// Before the first step of a job with that many training samples.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn new(computation: Computation, spec_digest: String, samples: u64) -> Result<Self, RankFailure> {
        let optimizer = computation.optimizer()?;
        let initial = average::copied(&computation.model)?;
        let rule = computation.training.ema;
        let average = rule.map(|rule| Average::new(rule, &computation.model)).transpose()?;
        Ok(Self {
            computation,
            optimizer,
            average,
            initial,
            spec_digest,
            samples,
            steps_done: 0,
            loaded: None,
            non_finite: NonFinitePolicy::default(),
            fitting: None,
        })
    }

    /// The network.
    pub(crate) fn model(&self) -> &Model {
        &self.computation.model
    }

    /// What scores samples with its network, as it is.
    pub(crate) fn scorer(&self) -> Scorer<'_> {
        Scorer {
            model: &self.computation.model,
            objective: &self.computation.objective,
            inputs: &self.computation.inputs,
        }
    }

    /// Steps applied to the model, over the whole job.
    pub(crate) fn steps_done(&self) -> u64 {
        self.steps_done
    }

    /// Steps of one epoch.
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        order::steps_per_epoch(self.samples, self.computation.training.batch_size)
    }

    /// Epochs that the state has seen completely.
    pub(crate) fn epochs_done(&self) -> u32 {
        (self.steps_done / self.steps_per_epoch().max(1)) as u32
    }

    /// Freezes what is frozen in this epoch (from 0), and nothing else.
    ///
    /// # Errors
    /// When that is no longer what was loaded; those of libtorch.
    pub(crate) fn enter_epoch(&mut self, epoch: u32) -> Result<(), RankFailure> {
        Ok(self.computation.model.enter_epoch(epoch)?)
    }

    /// The next step, which is one of `epoch`. `peak`: of the schedule, where it is not that of the spec.
    pub(crate) fn position(&self, epoch: u32, peak: Option<f64>) -> Position {
        let training = &self.computation.training;
        Position {
            epoch,
            step: self.steps_done,
            learning_rate: schedule::learning_rate(
                &training.schedule,
                peak.unwrap_or(training.optimizer.learning_rate()),
                self.steps_done,
                u64::from(training.epochs) * self.steps_per_epoch(),
            ),
        }
    }

    /// The samples of a step over all ranks, as places in the epoch's order.
    pub(crate) fn global_batch(&self, step_in_epoch: u64) -> Range<u64> {
        order::global_batch(step_in_epoch, self.computation.training.batch_size, self.samples)
    }

    /// What the rank at `place` (rank, world size) computes in a step of an epoch.
    pub(crate) fn micro_batch_plan(&self, place: (u32, u32), step_in_epoch: u64) -> Vec<Summand> {
        let global = self.global_batch(step_in_epoch);
        micro_batch_plan::of_rank(&self.computation.training, self.micro_batch(), place, global)
    }

    /// What is loaded for a micro-batch of that step.
    pub(crate) fn places(&self, step_in_epoch: u64, micro_batch: Range<u64>) -> Places {
        let mixes = self.computation.training.mixing.is_some();
        Places::new(micro_batch, &self.global_batch(step_in_epoch), mixes)
    }

    /// Samples of a micro-batch: what the spec says, else what keeps a CPU's caches and a GPU's cores busy, or less where the memory did
    /// not hold that. Where BatchNorm trains, the statistics are those of the whole batch.
    pub(crate) fn micro_batch(&self) -> usize {
        let training = &self.computation.training;
        match training.micro_batch_size {
            _ if training.train_batch_norm => training.batch_size as usize,
            Some(size) => size as usize,
            None => self
                .fitting
                .unwrap_or_else(|| usual_micro_batch(self.computation.inputs.device())),
        }
    }

    /// Whether a step that failed for want of memory is worth another attempt, in the smaller micro-batches that this then has. Not where
    /// their size is the user's, or is part of the result: in strict jobs and where BatchNorm trains.
    pub(crate) fn make_do(&mut self, failure: &RankFailure) -> bool {
        let training = &self.computation.training;
        let RankFailure::OutOfMemory { fits: Some(fits), .. } = *failure else {
            return false;
        };
        let is_ours = training.micro_batch_size.is_none()
            && !training.train_batch_norm
            && training.determinism == Determinism::Default;
        if !is_ours || fits >= self.micro_batch() {
            return false;
        }
        self.fitting = Some(fits);
        true
    }

    /// One update. `gather` computes this rank's part and gives the sums over the whole global batch, in the form of [`Computation::sums`].
    ///
    /// # Errors
    /// Those of `gather` and of libtorch; the model is then as it was before the step.
    pub(crate) fn step<E: From<RankFailure>>(
        &mut self,
        position: Position,
        gather: impl FnOnce(&Computation, &mut Spent) -> Result<Tensor, E>,
    ) -> Result<Outcome, E> {
        let statistics = self.computation.statistics()?;
        let mut spent = Spent::default();
        let attempt = gather(&self.computation, &mut spent)
            .and_then(|summed| self.apply(position, &summed, spent).map_err(E::from));
        match &attempt {
            Ok(outcome) => {
                self.steps_done = position.step + 1;
                self.loaded = None;
                if outcome.skipped {
                    statistics.restore()?;
                }
            }
            Err(_) => {
                // The same process takes the step again, in another gang.
                statistics.restore()?;
                self.computation.clear_gradients();
            }
        }
        attempt
    }

    /// Decides from the sums over the gang, the same on all ranks, and updates the model if they are finite.
    fn apply(&mut self, position: Position, summed: &Tensor, spent: Spent) -> Result<Outcome, RankFailure> {
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
        outcome.gradient_norm = l2_norm(&mean)?;
        // Optimizers square the gradient in single precision.
        let squared = (outcome.gradient_norm * outcome.gradient_norm) as f32;
        outcome.skipped = !outcome.loss.is_finite() || !squared.is_finite();
        if !outcome.skipped {
            self.update(position.learning_rate, mean, outcome.gradient_norm)?;
        }
        Ok(outcome)
    }

    /// Limits the gradient and updates.
    fn update(&mut self, learning_rate: f64, mean: Tensor, norm: f64) -> Result<(), RankFailure> {
        let training = &self.computation.training;
        let limited = match (training.max_gradient_norm, training.max_gradient_value) {
            // `torch.nn.utils.clip_grad_norm_`: the 1e-6 keeps the quotient finite.
            (Some(limit), _) if norm > limit => mean.f_mul_scalar(limit / (norm + 1e-6))?,
            // `torch.nn.utils.clip_grad_value_`.
            (None, Some(limit)) => mean.f_clamp(-limit, limit)?,
            _ => mean,
        };
        let gradients = self.computation.gradients(&limited)?;
        self.optimizer.step(learning_rate, &gradients)?;
        match &mut self.average {
            Some(average) => average.update(&self.computation.model, self.optimizer.steps()),
            None => Ok(()),
        }
    }

    /// Has the model hold what is scored and exported: the average of the trained state, where the job has one. What [`Learner::encode`] and
    /// [`Learner::load`] give and take is the trained state all the same.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn show_average(&mut self) -> Result<(), RankFailure> {
        match &mut self.average {
            Some(average) => average.show(&self.computation.model),
            None => Ok(()),
        }
    }

    /// Has the model hold the trained state again.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn hide_average(&mut self) -> Result<(), RankFailure> {
        match &mut self.average {
            Some(average) => average.hide(&self.computation.model),
            None => Ok(()),
        }
    }

    /// Has the model compute what is scored as the network that the job leaves will: with adapters merged into the weights, where it leaves them so.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn compute_as_exported(&mut self) -> Result<(), RankFailure> {
        Ok(self.computation.model.merge_adapters()?)
    }

    /// Has the model compute as it trains again.
    pub(crate) fn compute_as_trained(&mut self) {
        self.computation.model.part_adapters();
    }

    /// Counts what is not finite, and gives the verdict.
    pub(crate) fn non_finite(&mut self) -> &mut NonFinitePolicy {
        &mut self.non_finite
    }
}

/// What keeps a CPU's caches and a GPU's cores busy.
pub(crate) fn usual_micro_batch(device: Device) -> usize {
    match device {
        Device::Cpu => 16,
        _ => 256,
    }
}

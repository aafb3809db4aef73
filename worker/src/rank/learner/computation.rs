//! What a learner computes: the network, its objective, and their sums over some samples of a step, micro-batch by micro-batch.

use std::time::Instant;

use firn_core::{mixing::Blend, spec::TrainingSpec};
use firn_models::{Dropout, LossSums, Model, Objective, Optimizer, Outputs};
use tch::{Kind, Tensor};

use super::{
    inputs::Inputs,
    memory,
    mixing::Lesson,
    outcome::{Position, Spent},
};
use crate::rank::{failure::RankFailure, task};

/// Numbers that travel at the end of the flat gradient: Σwℓ, Σw and the number of samples.
pub(crate) const SUMS: i64 = 3;

/// The network, its objective, and how both are used in training.
pub(crate) struct Computation {
    pub(crate) model: Model,
    pub(crate) objective: Objective,
    pub(crate) training: TrainingSpec,
    /// How batches become the network's input, and where it computes.
    pub(crate) inputs: Inputs,
}

impl Computation {
    /// Before its first step.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn optimizer(&self) -> Result<Optimizer, RankFailure> {
        let training = &self.training;
        let parameters = self.model.trainable();
        let optimizer = Optimizer::new(&training.optimizer, training.decayed, parameters)?;
        let placements = self.model.placements().iter();
        let rates = placements
            .clone()
            .map(|placement| training.layer_decay.powi(placement.distance as i32));
        let late = placements.map(|placement| self.model.trains_later(placement));
        Ok(optimizer.with_rates(rates).with_late(late))
    }

    /// Numbers in what [`Computation::sums`] gives in this epoch.
    pub(crate) fn length(&self) -> i64 {
        SUMS + self.training_now().map(|tensor| tensor.numel() as i64).sum::<i64>()
    }

    /// What gets gradients in this epoch, in the order of all that trains.
    pub(super) fn training_now(&self) -> impl Iterator<Item = &Tensor> {
        let trainable = self.model.trainable().iter().zip(self.model.placements());
        let now = trainable.filter(|(_, placement)| self.model.trains_now(placement));
        now.map(|((_, tensor), _)| tensor)
    }

    /// The parts of flat gradients, as [`Computation::sums`] gives them; `None` for what gets none in this epoch.
    pub(crate) fn gradients(&self, flat: &Tensor) -> Result<Vec<Option<Tensor>>, RankFailure> {
        let mut begin = 0;
        let trainable = self.model.trainable().iter().zip(self.model.placements());
        let gradients = trainable.map(|((_, parameter), placement)| {
            if !self.model.trains_now(placement) {
                return Ok(None);
            }
            let length = parameter.numel() as i64;
            let gradient = flat.f_narrow(0, begin, length)?;
            begin += length;
            Ok(Some(gradient.f_view(parameter.size().as_slice())?))
        });
        gradients.collect()
    }

    /// Forward and backward over all `batches`. Gives the gradients of what trains in this epoch one after the other, and then Σwℓ, Σw and the number of samples, in
    /// one flat tensor; the gradients in the model are clear again.
    ///
    /// # Errors
    /// Those of `batches`, of libtorch, and a batch that the memory does not hold.
    pub(crate) fn sums<B: Into<Lesson>, E: From<RankFailure>>(
        &self,
        position: Position,
        mut batches: impl Iterator<Item = Result<B, E>>,
        spent: &mut Spent,
    ) -> Result<Tensor, E> {
        let (mut losses, mut weight, mut samples) = (Vec::new(), 0.0, 0);
        loop {
            let began = Instant::now();
            let Some(batch) = batches.next().transpose()? else {
                break;
            };
            spent.data += began.elapsed();
            let lesson: Lesson = batch.into();
            let learned = lesson.turns().len();
            if learned == 0 {
                continue;
            }
            let began = Instant::now();
            let sums = self.backward(position, &lesson).map_err(|failure| {
                let place = (self.inputs.device(), self.training.train_batch_norm);
                let samples = lesson.batch.indices.len();
                memory::explain(place, samples, failure, |samples| {
                    self.backward(position, &lesson.first(samples))
                })
            })?;
            losses.push(sums.loss.detach());
            weight += sums.weight;
            samples += learned;
            spent.compute += began.elapsed();
        }
        let began = Instant::now();
        // Only now: whoever reads a number waits for the device, which then stands still until it is told what comes next.
        let losses = losses.iter().map(f64::try_from).collect::<Result<Vec<_>, _>>();
        let loss = losses
            .map_err(RankFailure::from)?
            .into_iter()
            .fold(0.0, |sum, loss| sum + loss);
        let gradient = |parameter: &Tensor| Some(parameter.grad()).filter(Tensor::defined);
        let flat = self.flatten(gradient, [loss as f32, weight as f32, samples as f32])?;
        self.clear_gradients();
        spent.compute += began.elapsed();
        Ok(flat)
    }

    fn backward(&self, position: Position, lesson: &Lesson) -> Result<LossSums, RankFailure> {
        let blend = self.blend(position);
        let input = lesson.input(self.inputs.of(&lesson.batch)?, blend)?;
        let features = self.model.features(&input)?;
        let dropout = Dropout {
            seed: self.training.seed,
            epoch: position.epoch,
            samples: &lesson.turns(),
        };
        let outputs = self.model.outputs(&features, &dropout)?;
        let outputs = Outputs {
            head: task::compared(outputs.head, &lesson.batch)?,
            ..outputs
        };
        let sums = lesson.expecting(blend, |expected| outputs.sums(&self.objective, expected))?;
        sums.loss.f_backward()?;
        Ok(sums)
    }

    /// How the images of a step are mixed.
    pub(super) fn blend(&self, position: Position) -> Blend {
        let place = (position.epoch, position.step);
        let mixing = self.training.mixing.as_ref();
        mixing.map_or(Blend::None, |mixing| {
            Blend::draw(mixing, self.training.seed, place, self.inputs.side())
        })
    }

    /// The gradients of what trains in this epoch, 0 where there is none, and then Σwℓ, Σw and the number of samples.
    pub(super) fn flatten(
        &self,
        gradient: impl Fn(&Tensor) -> Option<Tensor>,
        sums: [f32; SUMS as usize],
    ) -> Result<Tensor, RankFailure> {
        let _no_grad = tch::no_grad_guard();
        let device = self.inputs.device();
        let mut pieces = Vec::with_capacity(self.model.trainable().len() + 1);
        for parameter in self.training_now() {
            pieces.push(match gradient(parameter) {
                Some(gradient) => gradient.f_flatten(0, -1)?,
                None => Tensor::f_zeros([parameter.numel() as i64], (Kind::Float, device))?,
            });
        }
        pieces.push(Tensor::f_from_slice(&sums)?.f_to_device(device)?);
        Ok(Tensor::f_cat(&pieces, 0)?)
    }

    /// Forgets the gradients that the model has gathered.
    pub(crate) fn clear_gradients(&self) {
        for (_, parameter) in self.model.trainable() {
            parameter.shallow_clone().zero_grad();
        }
    }

    /// The running statistics that the forward passes of a step change, where BatchNorm trains: each with its values now.
    pub(crate) fn statistics(&self) -> Result<Statistics, RankFailure> {
        let parameters = self.model.trainable().len();
        let state = self.model.trainable_state().into_iter().skip(parameters);
        let copied = state.map(|(_, tensor)| {
            let now = tensor.f_detach_copy()?;
            Ok::<_, RankFailure>((tensor, now))
        });
        Ok(Statistics(copied.collect::<Result<_, _>>()?))
    }
}

/// Running statistics as they were before a step.
pub(crate) struct Statistics(Vec<(Tensor, Tensor)>);

impl Statistics {
    /// Gives the model back what it had.
    pub(crate) fn restore(&self) -> Result<(), RankFailure> {
        let _no_grad = tch::no_grad_guard();
        for (tensor, before) in &self.0 {
            tensor.shallow_clone().f_copy_(before)?;
        }
        Ok(())
    }
}

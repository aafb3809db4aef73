//! What a learner computes where BatchNorm normalises by a batch that it has a part of: that part at once, layer by layer beside the other ranks.

use std::time::Instant;

use firn_core::{mixing::Blend, spec::Determinism};
use firn_models::{Dropout, Exchange, Features, LossSums, ModelError, SharedBatch};
use tch::{Kind, Tensor};

use super::{
    computation::Computation,
    memory,
    mixing::Lesson,
    outcome::{Position, Spent},
};
use crate::rank::failure::RankFailure;

/// A rank that no other one hears, for a trial.
struct Alone;

impl Exchange for Alone {
    fn rows(&self, own: &Tensor) -> Result<Tensor, ModelError> {
        Ok(own.shallow_clone())
    }
}

impl Computation {
    /// Forward and backward over this rank's part of a batch that others share; all of them do it together, those without samples, too. `batches` are those of its
    /// summands, as many as `summands` says of each: one, or none of a summand without places. Gives the flat sums of each summand, in the form of [`Computation::sums`].
    ///
    /// # Errors
    /// Those of `batches`, of the exchange and of libtorch, and a part that the memory does not hold.
    pub(crate) fn shared_sums<B: Into<Lesson>, E: From<RankFailure>>(
        &self,
        position: Position,
        (summands, mut batches): (&[usize], impl Iterator<Item = Result<B, E>>),
        exchange: &dyn Exchange,
        spent: &mut Spent,
    ) -> Result<Vec<Tensor>, E> {
        let began = Instant::now();
        let mut lessons = Vec::with_capacity(summands.len());
        for count in summands {
            let loaded = batches.by_ref().take(*count).collect::<Result<Vec<B>, E>>()?;
            lessons.push(only(loaded.into_iter().map(Into::into))?);
        }
        spent.data += began.elapsed();
        let began = Instant::now();
        let sums = self.over_parts(position, &lessons, exchange).map_err(|failure| {
            let samples = lessons.iter().flatten().map(|lesson| lesson.batch.indices.len()).sum();
            memory::explain((self.inputs.device(), true), samples, failure, |samples| {
                self.over_parts(position, &first(&lessons, samples), &Alone)
            })
        })?;
        spent.compute += began.elapsed();
        Ok(sums)
    }

    /// `lessons`: of each summand that has samples.
    fn over_parts(
        &self,
        position: Position,
        lessons: &[Option<Lesson>],
        exchange: &dyn Exchange,
    ) -> Result<Vec<Tensor>, RankFailure> {
        let learned: Vec<&Lesson> = lessons.iter().flatten().collect();
        let samples: Vec<u64> = learned.iter().flat_map(|lesson| lesson.turns()).collect();
        let dropout = Dropout {
            seed: self.training.seed,
            epoch: position.epoch,
            samples: &samples,
        };
        let sizes: Vec<usize> = lessons
            .iter()
            .map(|lesson| lesson.as_ref().map_or(0, |lesson| lesson.turns().len()))
            .collect();
        let parameters: Vec<&Tensor> = self.training_now().collect();
        let mut shared = match self.training.determinism {
            Determinism::Default => SharedBatch::new(exchange),
            Determinism::Strict => SharedBatch::of_slices(exchange, &sizes, &parameters)?,
        };
        let blend = self.blend(position);
        let features = self.features_of(blend, &learned)?;
        let outputs = self.model.shared_outputs(&features, &dropout, &shared)?;
        let sums = learned
            .iter()
            .zip(&outputs)
            .map(|(lesson, outputs)| lesson.expecting(blend, |expected| outputs.sums(&self.objective, expected)));
        let sums: Vec<LossSums> = sums.collect::<Result<_, _>>()?;
        // Nothing to learn: the outputs of no sample lead to the same layers.
        let nothing = outputs.iter().filter(|_| learned.is_empty()).flat_map(|outputs| {
            let auxiliary = outputs.auxiliary.as_ref().map(|(_, outputs)| outputs);
            std::iter::once(&outputs.head).chain(auxiliary)
        });
        let nothing = nothing.map(|outputs| outputs.f_sum(Kind::Float));
        let losses = sums.iter().map(|sums| Ok(sums.loss.shallow_clone()));
        let total = losses.chain(nothing).reduce(|total, loss| total?.f_add(&loss?));
        total.transpose()?.map_or(Ok(()), |total| total.f_backward())?;
        shared.backward()?;
        let sums = sums.into_iter().map(|own| Ok((f64::try_from(own.loss)?, own.weight)));
        let mut sums = sums.collect::<Result<Vec<_>, RankFailure>>()?.into_iter();
        // What was computed holds on to the gradients of its slice.
        drop(outputs);
        let mut flat = Vec::with_capacity(lessons.len());
        for (slice, size) in sizes.into_iter().enumerate() {
            let (loss, weight) = (size > 0).then(|| sums.next()).flatten().unwrap_or_default();
            let gradient = |parameter: &Tensor| shared.gradient(slice, parameter);
            flat.push(self.flatten(gradient, [loss as f32, weight as f32, size as f32])?);
            shared.forget(slice);
        }
        self.clear_gradients();
        Ok(flat)
    }

    /// What these samples are at the cut, one lesson after the other.
    fn features_of(&self, blend: Blend, lessons: &[&Lesson]) -> Result<Features, RankFailure> {
        let features = lessons.iter().map(|lesson| {
            let input = lesson.input(self.inputs.of(&lesson.batch)?, blend)?;
            Ok(self.model.features(&input)?)
        });
        let features: Vec<Features> = features.collect::<Result<_, RankFailure>>()?;
        match features.is_empty() {
            true => Ok(self.model.features(&self.inputs.none()?)?),
            false => Ok(Features::joined(&features)?),
        }
    }
}

/// The lesson of a summand, if it has samples.
fn only(lessons: impl Iterator<Item = Lesson>) -> Result<Option<Lesson>, RankFailure> {
    let mut lessons = lessons.filter(|lesson| !lesson.turns().is_empty());
    match (lessons.next(), lessons.next()) {
        (lesson, None) => Ok(lesson),
        _ => Err(RankFailure::Internal(
            "BatchNorm trains, and a summand has several micro-batches".to_owned(),
        )),
    }
}

/// The first of the samples that were loaded.
fn first(lessons: &[Option<Lesson>], mut samples: usize) -> Vec<Option<Lesson>> {
    let first = lessons.iter().map(|lesson| {
        let lesson = lesson.as_ref()?;
        let taken = lesson.batch.indices.len().min(samples);
        samples -= taken;
        Some(lesson.first(taken)).filter(|lesson| !lesson.turns().is_empty())
    });
    first.collect()
}

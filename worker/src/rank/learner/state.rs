//! The state of a learner as bytes, and how it goes back to another one.

use firn_models::{
    ModelError,
    checkpoint::{self, Checkpoint},
    state_digest,
};
use tch::Tensor;

use super::{Learner, average::Average};
use crate::rank::failure::RankFailure;

/// Above the tensors of a state's file: the header.
const HEADER_ALLOWANCE: u64 = 64 * 1024;
/// The same for each tensor: its name, twice, its shape and its place.
const ENTRY_ALLOWANCE: u64 = 256;

impl Learner {
    /// The state as the file of a checkpoint: the same bytes on every rank that holds the same state.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, RankFailure> {
        let model = &self.computation.model;
        Ok(checkpoint::encode(&Checkpoint {
            step: self.steps_done,
            epochs: self.epochs_done(),
            spec_digest: self.spec_digest.clone(),
            frozen_digest: model.frozen_digest(),
            model: self.trained_state(),
            optimizer: self.optimizer.state(),
            average: self.average.as_ref().map(|average| shared(average.tensors())),
        })?)
    }

    /// The model's, also while it shows the average.
    fn trained_state(&self) -> Vec<(String, Tensor)> {
        let hidden = self.average.as_ref().and_then(Average::trained);
        hidden.map_or_else(|| self.computation.model.trainable_state(), shared)
    }

    /// Bytes that [`Learner::encode`] gives, or a few more.
    pub(crate) fn encoded_size(&self) -> u64 {
        let tensors = self.computation.model.trainable_state();
        let optimizer = self.optimizer.state().tensors;
        let average = self.average.as_ref().map_or(&[][..], Average::tensors);
        let tensors = tensors.iter().chain(&optimizer).chain(average);
        let bytes: u64 = tensors
            .map(|(_, tensor)| ENTRY_ALLOWANCE + (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64)
            .sum();
        bytes + HEADER_ALLOWANCE
    }

    /// Takes the state in a checkpoint's file over; nothing is changed when it does not fit. `stored`: the SHA-256 of a file that was stored,
    /// for [`Learner::holds`].
    pub(crate) fn load(&mut self, bytes: &[u8], stored: Option<&str>) -> Result<(), RankFailure> {
        let checkpoint = checkpoint::decode(bytes)?;
        let model = &self.computation.model;
        checkpoint.belongs_to(&self.spec_digest, &model.frozen_digest())?;
        match (&mut self.average, &checkpoint.average) {
            (Some(own), Some(stored)) => own.load(stored)?,
            (None, None) => {}
            (own, _) => return Err(without_average(own.is_some()).into()),
        }
        model.load_state(&checkpoint.model)?;
        self.optimizer.load_state(&checkpoint.optimizer)?;
        self.steps_done = checkpoint.step;
        self.loaded = stored.map(str::to_owned);
        self.enter_last_epoch()
    }

    /// Freezes what was frozen in the epoch of the last step that was taken: what a state is scored by does not depend on who has trained it.
    fn enter_last_epoch(&mut self) -> Result<(), RankFailure> {
        self.enter_epoch(self.last_epoch())
    }

    /// The epoch (from 0) of the last step that was taken.
    pub(crate) fn last_epoch(&self) -> u32 {
        (self.steps_done.saturating_sub(1) / self.steps_per_epoch().max(1)) as u32
    }

    /// Goes back to the state before the first step.
    pub(crate) fn start_over(&mut self) -> Result<(), RankFailure> {
        let model = &self.computation.model;
        if let Some(average) = &mut self.average {
            average.load(&self.initial)?;
        }
        model.load_state(&self.initial)?;
        self.optimizer = self.computation.optimizer()?;
        self.non_finite.begin_anew();
        self.loaded = None;
        self.steps_done = 0;
        self.enter_last_epoch()
    }

    /// Whether this is the state before the first step, and was nothing else.
    pub(crate) fn is_at_the_beginning(&self) -> bool {
        self.steps_done == 0 && self.loaded.is_none()
    }

    /// Whether the model holds the stored checkpoint of that SHA-256.
    pub(crate) fn holds(&self, stored: &str) -> bool {
        self.loaded.as_deref() == Some(stored)
    }

    /// What the trained state, the optimizer and the average hash to.
    pub(crate) fn hash(&self) -> Result<String, RankFailure> {
        let average = self.average.as_ref().map_or(&[][..], Average::tensors);
        Ok(state_digest(self.trained_state(), &self.optimizer, average)?)
    }
}

fn shared(tensors: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let tensors = tensors.iter();
    tensors
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect()
}

fn without_average(is_expected: bool) -> ModelError {
    let (with, without) = ("one".to_owned(), "none".to_owned());
    let (expected, found) = if is_expected { (with, without) } else { (without, with) };
    ModelError::Checkpoint {
        what: "average of the trained state".to_owned(),
        expected,
        found,
    }
}

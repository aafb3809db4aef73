//! What trains in which epoch.
//!
//! The state that training changes is the same in all phases, so a checkpoint of one is read in another: whatever trains in some epoch is part of it
//! from the beginning. A phase decides which of it gets gradients, and which stages compute in their folded form. What a phase freezes is held to
//! what was loaded, also where a job has gone back to it from a later one.

use tch::Tensor;

use super::Model;
use crate::{
    auxiliary::AuxiliaryHead,
    cut::{Phase, Phases, mark_trained, split},
    error::ModelError,
    frozen::{compare, digest},
    head::Head,
    parameter_builder::{NamedTensor, ParameterBuilder, Source},
};

/// How one of [`Model::trainable`] trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Stages with weights from its own up to the head; 0 for the head itself.
    pub distance: u32,
    /// Index of its stage; the head's is the number of all stages.
    stage: usize,
}

/// All tensors that train in some epoch, and how; the heads last.
pub(super) fn trainable(
    entries: &[NamedTensor],
    (lowest_cut, distances): (usize, &[u32]),
    (auxiliary, head): (Option<&AuxiliaryHead>, &Head),
) -> (Vec<(String, Tensor)>, Vec<Placement>) {
    let stages = distances.len();
    let above = entries.iter().filter(|entry| entry.trains_above(lowest_cut));
    let above = above.map(|entry| {
        let (name, stage) = (entry.name.clone(), entry.stage);
        let distance = distances[stage];
        ((name, entry.tensor.shallow_clone()), Placement { distance, stage })
    });
    let auxiliary = auxiliary.filter(|auxiliary| auxiliary.trains);
    let heads = auxiliary.map(|auxiliary| (auxiliary.stage, &auxiliary.head));
    let heads = heads.into_iter().chain([(stages, head)]).flat_map(|(stage, head)| {
        let placed = move |tensor| (tensor, Placement { distance: 0, stage });
        head.tensors().into_iter().map(placed)
    });
    above.chain(heads).unzip()
}

impl Model {
    /// How each of [`Model::trainable`] trains.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// Whether a tensor of this place gets gradients now.
    pub fn trains_now(&self, placement: &Placement) -> bool {
        placement.stage >= self.phase.cut
    }

    /// Whether it gets none in the first epoch.
    pub fn trains_later(&self, placement: &Placement) -> bool {
        placement.stage < self.phases.first().cut
    }

    /// Freezes what is frozen in this epoch (from 0), and nothing else. Values do not change.
    ///
    /// # Errors
    /// [`ModelError::FrozenChanged`] when what is frozen from now on is not what was loaded; the model is then of no use.
    pub fn enter_epoch(&mut self, epoch: u32) -> Result<(), ModelError> {
        let phase = self.phases.at(epoch);
        if phase == self.phase {
            return Ok(());
        }
        for (_, tensor) in &self.trainable {
            tensor.shallow_clone().zero_grad();
        }
        mark_trained(&self.entries, phase.cut)?;
        let mut builder = self.rebuilder();
        let (frozen, trained) = split(self.family.build(&mut builder)?, phase.cut)?;
        (self.frozen, self.trained, self.phase) = (frozen, trained, phase);
        let proof = self.prove()?;
        compare("the loaded tensors", self.loaded_digest(phase), &proof.original)?;
        self.proof = proof;
        Ok(())
    }

    /// Asks for the tensors that the model has.
    pub(super) fn rebuilder(&self) -> ParameterBuilder<'_> {
        let source = Source::Tensors(&self.entries);
        let builder = ParameterBuilder::new(source, &self.naming, self.head.device());
        builder.with_adapters(self.adapters.clone())
    }

    /// What is frozen in a phase, as it was loaded.
    pub(super) fn loaded_digest(&self, phase: Phase) -> &str {
        let found = self.loaded.iter().find(|(known, _)| *known == phase);
        &found.expect("the digest of every phase is taken at load").1
    }
}

/// The digest of what is frozen in each phase after the first, by the tensors as they are now.
pub(super) fn digests_of_later(entries: &[NamedTensor], phases: &Phases) -> Result<Vec<(Phase, String)>, ModelError> {
    let frozen = |phase: &Phase| {
        let entries = entries.iter().filter(|entry| entry.is_frozen_below(phase.cut));
        entries
            .map(|entry| (entry.name.clone(), entry.tensor.shallow_clone()))
            .collect()
    };
    let later = phases.iter().skip(1);
    later.map(|phase| Ok((*phase, digest(frozen(phase))?))).collect()
}

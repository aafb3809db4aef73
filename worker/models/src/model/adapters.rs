//! Low-rank adapters of a model: which layers have them, and the weights that they give once they are merged.

use std::collections::BTreeSet;

use firn_core::spec::ModelSpec;
use tch::Tensor;

use super::Model;
use crate::{
    cut::split,
    error::ModelError,
    frozen,
    layers::adapter::{self, Adapted, AdapterPlan, is_named},
    parameter_builder::{Made, NamedTensor},
};

/// What the spec asks for.
pub(super) fn plan(spec: &ModelSpec, seed: u64, lowest_cut: usize) -> Option<AdapterPlan> {
    let plan = |spec| AdapterPlan { spec, seed, lowest_cut };
    spec.lora.clone().map(plan)
}

/// Refuses adapters that have no layer, and targets that are none.
pub(super) fn check(spec: &ModelSpec, made: &Made) -> Result<(), ModelError> {
    let Some(lora) = &spec.lora else { return Ok(()) };
    if made.adaptable.is_empty() {
        return Err(ModelError::Mismatch {
            what: "spec.model.lora".to_owned(),
            expected: "a linear layer above the cut".to_owned(),
            found: "none".to_owned(),
        });
    }
    for (place, target) in lora.targets.iter().enumerate() {
        if !made.adaptable.iter().any(|layer| is_named(layer, target)) {
            return Err(ModelError::Mismatch {
                what: format!("spec.model.lora.targets[{place}]"),
                expected: format!("a linear layer above the cut: {}", ends(&made.adaptable)),
                found: format!("`{target}`"),
            });
        }
    }
    Ok(())
}

/// The names of layers without what stands before them, and each once.
fn ends(layers: &[String]) -> String {
    let mut seen = BTreeSet::new();
    let ends = layers.iter().filter_map(|layer| layer.rsplit('.').next());
    let ends: Vec<String> = ends
        .filter(|end| seen.insert(*end))
        .map(|end| format!("`{end}`"))
        .collect();
    ends.join(", ")
}

/// Where there are adapters, nothing else of the backbone trains.
pub(super) fn hold_all_but(adapted: &[Adapted], entries: &mut [NamedTensor]) {
    if adapted.is_empty() {
        return;
    }
    let factors: BTreeSet<&String> = adapted.iter().flat_map(|layer| &layer.factors).collect();
    for entry in entries {
        entry.is_held |= !factors.contains(&entry.name);
    }
}

impl Model {
    /// Whether the backbone has a tensor of this name only because of an adapter.
    pub(crate) fn is_factor(&self, name: &str) -> bool {
        self.adapted
            .iter()
            .any(|layer| layer.factors.iter().any(|factor| factor == name))
    }

    /// The weights of layers with adapters, by Firn's names, as they are once these are merged.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn merged_weights(&self) -> Result<Vec<(String, Tensor)>, ModelError> {
        let _no_grad = tch::no_grad_guard();
        let scale = self.adapters.as_ref().map_or(0.0, |plan| plan.spec.scale());
        let merged = |layer: &Adapted| {
            let [a, b] = [0, 1].map(|factor| self.entry(&layer.factors[factor]));
            let weight = &self.entry(&layer.weight).tensor;
            let merged = adapter::merged(weight, [&a.tensor, &b.tensor], scale, layer.is_transposed)?;
            Ok((layer.weight.clone(), merged))
        };
        self.adapted.iter().map(merged).collect()
    }

    /// From now on computes what is scored as the network does that is exported whole and loaded again: with adapters merged into the weights, and all
    /// stages below the cut. The bits are those of that network, where adapters beside the weights round otherwise. Nothing changes without adapters.
    ///
    /// Weights are merged layer by layer while they are used, so it takes the memory of one layer.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn merge_adapters(&mut self) -> Result<(), ModelError> {
        if self.adapters.is_some() && self.merged.is_none() {
            let stages = self.family.build(&mut self.rebuilder())?;
            let all = stages.len();
            let (frozen, _) = split(stages, all)?;
            self.merged = Some(frozen);
        }
        Ok(())
    }

    /// Computes with adapters beside the weights again, as they train.
    pub fn part_adapters(&mut self) {
        self.merged = None;
    }

    /// What [`Self::frozen_digest`] is of the network that is exported whole, and frozen when it is loaded again; `None` without adapters.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn merged_digest(&self) -> Result<Option<String>, ModelError> {
        if self.adapters.is_none() {
            return Ok(None);
        }
        let mut tensors = self.merged_weights()?;
        let merged: BTreeSet<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
        let others = self.entries.iter();
        let others = others.filter(|entry| !merged.contains(&entry.name) && !self.is_factor(&entry.name));
        tensors.extend(others.map(|entry| (entry.name.clone(), entry.tensor.shallow_clone())));
        frozen::digest(tensors).map(Some)
    }

    fn entry(&self, name: &str) -> &NamedTensor {
        let found = self.entries.iter().find(|entry| entry.name == name);
        found.expect("an adapted layer has its tensors")
    }
}

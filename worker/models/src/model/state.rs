//! What training changes: read, compared and put back.

use tch::Tensor;

use super::Model;
use crate::{
    digest::digest_of,
    error::ModelError,
    optimizer::Optimizer,
    parameter_builder::{NamedTensor, Role},
};

impl Model {
    /// All that training changes in some epoch: [`Model::trainable`], then the running statistics of BatchNorm above the lowest cut where they train.
    pub fn trainable_state(&self) -> Vec<(String, Tensor)> {
        let mut state: Vec<_> = self
            .trainable
            .iter()
            .map(|(name, t)| (name.clone(), t.shallow_clone()))
            .collect();
        let statistics = self.trained_statistics();
        state.extend(statistics.map(|entry| (entry.name.clone(), entry.tensor.shallow_clone())));
        state
    }

    /// Whether each tensor of [`Model::trainable_state`] may change in this epoch.
    pub fn changes_now(&self) -> Vec<bool> {
        let mut changes: Vec<_> = self
            .placements
            .iter()
            .map(|placement| self.trains_now(placement))
            .collect();
        changes.extend(self.trained_statistics().map(|entry| entry.stage >= self.phase.cut));
        changes
    }

    /// The running statistics of BatchNorm that training changes in some epoch.
    fn trained_statistics(&self) -> impl Iterator<Item = &NamedTensor> {
        let lowest_cut = self.phases.lowest_cut();
        let statistics = self.entries.iter().filter(|_| self.train_batch_norm);
        statistics.filter(move |entry| entry.role == Role::Statistic && entry.stage >= lowest_cut)
    }

    /// A trained tensor that holds a number that is not finite, and that number.
    pub fn not_finite(&self) -> Result<Option<(String, f64)>, ModelError> {
        for (name, tensor) in self.trainable_state() {
            let tensor = tensor.f_detach()?;
            let is_broken = tensor.f_isfinite()?.f_logical_not()?;
            let broken = tensor.f_masked_select(&is_broken)?;
            if broken.numel() > 0 {
                return Ok(Some((name, f64::try_from(broken.f_get(0)?)?)));
            }
        }
        Ok(None)
    }

    /// Copies values into [`Model::trainable_state`], in place.
    ///
    /// # Errors
    /// Unless names and shapes are exactly those of the state; then nothing is changed.
    pub fn load_state(&self, values: &[(String, Tensor)]) -> Result<(), ModelError> {
        let state = self.trainable_state();
        let shapes = |tensors: &[(String, Tensor)]| -> Vec<(String, Vec<i64>)> {
            let mut shapes: Vec<_> = tensors
                .iter()
                .map(|(name, tensor)| (name.clone(), tensor.size()))
                .collect();
            shapes.sort();
            shapes
        };
        let (expected, found) = (shapes(&state), shapes(values));
        if let Some(position) = (0..expected.len().max(found.len())).find(|&i| expected.get(i) != found.get(i)) {
            let describe = |entry: Option<&(String, Vec<i64>)>| match entry {
                Some((name, shape)) => format!("`{name}` of shape {shape:?}"),
                None => "nothing more".to_owned(),
            };
            return Err(ModelError::Mismatch {
                what: "trainable state".to_owned(),
                expected: describe(expected.get(position)),
                found: describe(found.get(position)),
            });
        }
        let (mut targets, mut sources) = (state, values.iter().collect::<Vec<_>>());
        targets.sort_by(|a, b| a.0.cmp(&b.0));
        sources.sort_by(|a, b| a.0.cmp(&b.0));
        tch::no_grad(|| {
            targets
                .iter_mut()
                .zip(sources)
                .try_for_each(|((_, target), (_, source))| Ok(target.f_copy_(source)?))
        })
    }
}

/// BLAKE3 (hex) of everything that the next step depends on: the [`Model::trainable_state`] that is given, the optimizer's tensors and its step, and the average of
/// the state where there is one (`average`, else empty). Ranks that have applied the same steps have the same digest; one that differs has
/// computed or stored something wrongly.
///
/// Takes about as long as reading the state twice: once to copy it in order, once to hash.
pub fn state_digest(
    mut tensors: Vec<(String, Tensor)>,
    optimizer: &Optimizer,
    average: &[(String, Tensor)],
) -> Result<String, ModelError> {
    let state = optimizer.state();
    // Names of parameters never begin with a digit.
    tensors.push(("0 step".to_owned(), Tensor::f_from_slice(&[state.step as i64])?));
    let slots = state.tensors.into_iter();
    tensors.extend(slots.map(|(name, tensor)| (format!("0 optimizer {name}"), tensor)));
    let average = average.iter();
    tensors.extend(average.map(|(name, tensor)| (format!("0 average {name}"), tensor.shallow_clone())));
    digest_of("firn 2026 trainable state v1", tensors)
}

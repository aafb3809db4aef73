//! The exponential moving average of all that training changes, and how a model shows it.
//!
//! Adapters are averaged as they are, matrix by matrix, and so are the running statistics of BatchNorm that trains (as in timm's `ModelEmaV3` and in
//! torchvision's references). What does not train yet stays as it was loaded, to the last bit, since it counts as frozen: an average of equal
//! numbers would be the same number, but for the sign of a zero.

use firn_core::spec::EmaSpec;
use firn_models::{Model, ModelError};
use tch::Tensor;

use crate::rank::failure::RankFailure;

/// The average, beside the model.
pub(crate) struct Average {
    rule: EmaSpec,
    /// By the names of [`Model::trainable_state`], in its order.
    tensors: Vec<(String, Tensor)>,
    /// The trained state, while the model shows the average.
    trained: Option<Vec<(String, Tensor)>>,
}

impl Average {
    /// Before the first step: what the model holds.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn new(rule: EmaSpec, model: &Model) -> Result<Self, RankFailure> {
        Ok(Self {
            rule,
            tensors: copied(model)?,
            trained: None,
        })
    }

    /// By the names of [`Model::trainable_state`].
    pub(crate) fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// The trained state, while the model shows the average.
    pub(crate) fn trained(&self) -> Option<&[(String, Tensor)]> {
        self.trained.as_deref()
    }

    /// After an update of the model, which counts from 1.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn update(&mut self, model: &Model, number: u64) -> Result<(), RankFailure> {
        let _no_grad = tch::no_grad_guard();
        let taken = 1.0 - self.rule.decay_at(number);
        let state = model.trainable_state().into_iter().zip(model.changes_now());
        for ((_, average), ((_, now), changes)) in self.tensors.iter_mut().zip(state) {
            match changes {
                false => {}
                true if taken == 1.0 => average.f_copy_(&now)?,
                true => _ = average.f_lerp_(&now, taken)?,
            }
        }
        Ok(())
    }

    /// Has the model hold the average, until [`Average::hide`].
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn show(&mut self, model: &Model) -> Result<(), RankFailure> {
        if self.trained.is_none() {
            self.trained = Some(copied(model)?);
            model.load_state(&self.tensors)?;
        }
        Ok(())
    }

    /// Takes over another average, of a state that the model has taken over.
    ///
    /// # Errors
    /// Unless its names and shapes are those of this one; then nothing is changed.
    pub(crate) fn load(&mut self, values: &[(String, Tensor)]) -> Result<(), ModelError> {
        let described = |tensors: &[(String, Tensor)]| -> Vec<_> {
            let described = tensors.iter();
            described.map(|(name, tensor)| (name.clone(), tensor.size())).collect()
        };
        let (expected, found) = (described(&self.tensors), described(values));
        if expected != found {
            return Err(ModelError::Mismatch {
                what: "average of the trained state".to_owned(),
                expected: format!("{expected:?}"),
                found: format!("{found:?}"),
            });
        }
        let _no_grad = tch::no_grad_guard();
        for ((_, own), (_, value)) in self.tensors.iter_mut().zip(values) {
            own.f_copy_(value)?;
        }
        self.trained = None;
        Ok(())
    }

    /// Gives the model the trained state back.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn hide(&mut self, model: &Model) -> Result<(), RankFailure> {
        match self.trained.take() {
            Some(trained) => Ok(model.load_state(&trained)?),
            None => Ok(()),
        }
    }
}

/// The state that training changes, in tensors of its own.
///
/// # Errors
/// Those of libtorch.
pub(super) fn copied(model: &Model) -> Result<Vec<(String, Tensor)>, RankFailure> {
    let state = model.trainable_state().into_iter();
    state
        .map(|(name, tensor)| Ok((name, tensor.f_detach()?.copy())))
        .collect()
}

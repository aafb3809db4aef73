//! Optimizers, step for step as PyTorch's, with state that can be saved. What one does to a tensor is in [`rules`].

mod rules;

use firn_core::spec::{Decayed, OptimizerSpec};
use tch::Tensor;

use self::rules::{Update, slot_names};

use crate::error::ModelError;

/// Updates the trainable tensors in place.
pub struct Optimizer {
    rule: OptimizerSpec,
    parameters: Vec<(String, Tensor)>,
    /// How strongly each of them decays, parallel to the parameters.
    decays: Vec<f64>,
    /// One list a slot of the rule, each parallel to the parameters.
    slots: Vec<Vec<Tensor>>,
    step: u64,
}

/// Everything that the next step depends on besides the parameters.
#[derive(Debug)]
pub struct OptimizerState {
    /// Steps taken.
    pub step: u64,
    /// `exp_avg.NAME`, `exp_avg_sq.NAME` or `momentum_buffer.NAME`, torch's names of the slots, in a fixed order.
    pub tensors: Vec<(String, Tensor)>,
}

impl Optimizer {
    /// For these parameters, which are shared, not copied; which of them decay is a second choice.
    pub fn new(spec: &OptimizerSpec, decayed: Decayed, parameters: &[(String, Tensor)]) -> Result<Self, ModelError> {
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, t)| (name.clone(), t.shallow_clone()))
            .collect();
        let zeros = || {
            parameters
                .iter()
                .map(|(_, tensor)| tensor.f_detach()?.f_zeros_like())
                .collect()
        };
        let slots = slot_names(spec)
            .iter()
            .map(|_| zeros())
            .collect::<Result<_, tch::TchError>>()?;
        let decays = parameters.iter().map(|(_, tensor)| match decayed {
            Decayed::Weights if tensor.dim() < 2 => 0.0,
            Decayed::Weights | Decayed::All => spec.weight_decay(),
        });
        Ok(Self {
            rule: *spec,
            decays: decays.collect(),
            parameters,
            slots,
            step: 0,
        })
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// One update with these gradients, parallel to the parameters.
    pub fn step(&mut self, learning_rate: f64, gradients: &[Tensor]) -> Result<(), ModelError> {
        if gradients.len() != self.parameters.len() {
            let (expected, found) = (self.parameters.len().to_string(), gradients.len().to_string());
            return Err(ModelError::Mismatch {
                what: "gradients of a step".to_owned(),
                expected,
                found,
            });
        }
        for ((name, parameter), gradient) in self.parameters.iter().zip(gradients) {
            if parameter.size() != gradient.size() {
                let (expected, found) = (format!("{:?}", parameter.size()), format!("{:?}", gradient.size()));
                return Err(ModelError::Mismatch {
                    what: format!("shape of the gradient of `{name}`"),
                    expected,
                    found,
                });
            }
        }
        self.step += 1;
        tch::no_grad(|| {
            (0..gradients.len()).try_for_each(|index| {
                let update = Update {
                    learning_rate,
                    weight_decay: self.decays[index],
                    step: self.step,
                    parameter: self.parameters[index].1.shallow_clone(),
                    slots: self.slots.iter().map(|slot| slot[index].shallow_clone()).collect(),
                };
                update.by(&self.rule, &gradients[index])
            })
        })
    }

    /// The state, sharing the optimizer's tensors.
    pub fn state(&self) -> OptimizerState {
        let names = slot_names(&self.rule);
        let tensors = names.iter().zip(&self.slots).flat_map(|(slot, tensors)| {
            let named = self.parameters.iter().zip(tensors);
            named.map(move |((name, _), tensor)| (format!("{slot}.{name}"), tensor.shallow_clone()))
        });
        OptimizerState {
            step: self.step,
            tensors: tensors.collect(),
        }
    }

    /// Copies a state in, in place.
    ///
    /// # Errors
    /// Unless its names and shapes are those of [`Optimizer::state`]; then nothing is changed.
    pub fn load_state(&mut self, state: &OptimizerState) -> Result<(), ModelError> {
        let own = self.state();
        for (position, (name, tensor)) in own.tensors.iter().enumerate() {
            let given = state
                .tensors
                .get(position)
                .map(|(name, tensor)| (name.as_str(), tensor.size()));
            if given.as_ref() != Some(&(name.as_str(), tensor.size())) {
                return Err(ModelError::Mismatch {
                    what: "optimizer state".to_owned(),
                    expected: format!("`{name}` of shape {:?}", tensor.size()),
                    found: given.map_or("nothing".to_owned(), |(name, shape)| {
                        format!("`{name}` of shape {shape:?}")
                    }),
                });
            }
        }
        if state.tensors.len() != own.tensors.len() {
            let (expected, found) = (own.tensors.len().to_string(), state.tensors.len().to_string());
            return Err(ModelError::Mismatch {
                what: "tensors of the optimizer state".to_owned(),
                expected,
                found,
            });
        }
        tch::no_grad(|| {
            let pairs = own.tensors.into_iter().zip(&state.tensors);
            pairs
                .into_iter()
                .try_for_each(|((_, mut target), (_, source))| target.f_copy_(source))
        })?;
        self.step = state.step;
        Ok(())
    }
}

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
    /// What the learning rate of each is multiplied with, parallel to the parameters.
    rates: Vec<f64>,
    /// Steps that those have taken which began later than the others, parallel to the parameters; `None`: as many as the optimizer.
    late: Vec<Option<u64>>,
    /// One list a slot of the rule, each parallel to the parameters.
    slots: Vec<Vec<Tensor>>,
    step: u64,
}

/// Everything that the next step depends on besides the parameters.
#[derive(Debug)]
pub struct OptimizerState {
    /// Steps taken.
    pub step: u64,
    /// `exp_avg.NAME`, `exp_avg_sq.NAME` or `momentum_buffer.NAME`, torch's names of the slots, in a fixed order; then `step.NAME`, int64, of
    /// those that may begin later.
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
            rates: vec![1.0; parameters.len()],
            late: vec![None; parameters.len()],
            parameters,
            slots,
            step: 0,
        })
    }

    /// The same, with the learning rate of each parameter multiplied with a number of its own.
    #[must_use]
    pub fn with_rates(mut self, rates: impl Iterator<Item = f64>) -> Self {
        self.rates.iter_mut().zip(rates).for_each(|(own, rate)| *own = rate);
        self
    }

    /// The same, where each parameter of which `is_late` holds counts its own steps, from the first that gives it a gradient: as in PyTorch, where
    /// what it remembers begins then.
    #[must_use]
    pub fn with_late(mut self, is_late: impl Iterator<Item = bool>) -> Self {
        let late = self.late.iter_mut().zip(is_late);
        late.for_each(|(own, is_late)| *own = is_late.then_some(0));
        self
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// One update with these gradients, parallel to the parameters. What has none stays as it is, and so does what is remembered of it.
    pub fn step(&mut self, learning_rate: f64, gradients: &[Option<Tensor>]) -> Result<(), ModelError> {
        self.check(gradients)?;
        self.step += 1;
        tch::no_grad(|| {
            for (index, gradient) in gradients.iter().enumerate() {
                let Some(gradient) = gradient else { continue };
                if let Some(steps) = &mut self.late[index] {
                    *steps += 1;
                }
                let update = Update {
                    learning_rate: learning_rate * self.rates[index],
                    weight_decay: self.decays[index],
                    step: self.late[index].unwrap_or(self.step),
                    parameter: self.parameters[index].1.shallow_clone(),
                    slots: self.slots.iter().map(|slot| slot[index].shallow_clone()).collect(),
                };
                update.by(&self.rule, gradient)?;
            }
            Ok(())
        })
    }

    fn check(&self, gradients: &[Option<Tensor>]) -> Result<(), ModelError> {
        if gradients.len() != self.parameters.len() {
            let (expected, found) = (self.parameters.len().to_string(), gradients.len().to_string());
            return Err(ModelError::Mismatch {
                what: "gradients of a step".to_owned(),
                expected,
                found,
            });
        }
        for ((name, parameter), gradient) in self.parameters.iter().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            if parameter.size() != gradient.size() {
                let (expected, found) = (format!("{:?}", parameter.size()), format!("{:?}", gradient.size()));
                return Err(ModelError::Mismatch {
                    what: format!("shape of the gradient of `{name}`"),
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// The state, sharing the optimizer's tensors.
    pub fn state(&self) -> OptimizerState {
        let names = slot_names(&self.rule);
        let tensors = names.iter().zip(&self.slots).flat_map(|(slot, tensors)| {
            let named = self.parameters.iter().zip(tensors);
            named.map(move |((name, _), tensor)| (format!("{slot}.{name}"), tensor.shallow_clone()))
        });
        let late = self.parameters.iter().zip(&self.late);
        let steps =
            late.filter_map(|((name, _), steps)| Some((format!("step.{name}"), Tensor::from((*steps)? as i64))));
        OptimizerState {
            step: self.step,
            tensors: tensors.chain(steps).collect(),
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
        let slots: usize = self.slots.iter().map(Vec::len).sum();
        let steps = state.tensors[slots..].iter();
        let steps = steps
            .map(|(_, steps)| Ok(u64::try_from(i64::try_from(steps)?).unwrap_or_default()))
            .collect::<Result<Vec<_>, tch::TchError>>()?;
        tch::no_grad(|| {
            let mut pairs = own.tensors.into_iter().zip(&state.tensors).take(slots);
            pairs.try_for_each(|((_, mut target), (_, source))| target.f_copy_(source))
        })?;
        let late = self.late.iter_mut().flatten();
        late.zip(steps).for_each(|(own, steps)| *own = steps);
        self.step = state.step;
        Ok(())
    }
}

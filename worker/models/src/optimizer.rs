//! AdamW and SGD, step for step as `torch.optim`'s, with state that can be saved.

use firn_core::spec::OptimizerSpec;
use tch::Tensor;

use crate::error::ModelError;

/// Updates the trainable tensors in place.
pub struct Optimizer {
    rule: OptimizerSpec,
    parameters: Vec<(String, Tensor)>,
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
    /// For these parameters, which are shared, not copied.
    pub fn new(spec: &OptimizerSpec, parameters: &[(String, Tensor)]) -> Result<Self, ModelError> {
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
        Ok(Self {
            rule: *spec,
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
        let rule = self.rule;
        tch::no_grad(|| {
            (0..gradients.len()).try_for_each(|index| match rule {
                OptimizerSpec::AdamW {
                    weight_decay,
                    beta1,
                    beta2,
                    epsilon,
                    ..
                } => {
                    let adam = Adam {
                        learning_rate,
                        weight_decay,
                        beta1,
                        beta2,
                        epsilon,
                    };
                    self.adam(index, &gradients[index], adam)
                }
                OptimizerSpec::Sgd {
                    weight_decay,
                    momentum,
                    nesterov,
                    ..
                } => {
                    let descent = Descent {
                        learning_rate,
                        weight_decay,
                        momentum,
                        nesterov,
                    };
                    self.descend(index, &gradients[index], descent)
                }
            })
        })
    }

    /// `torch.optim.adamw._single_tensor_adamw`.
    fn adam(&mut self, index: usize, gradient: &Tensor, rule: Adam) -> Result<(), ModelError> {
        let parameter = &mut self.parameters[index].1;
        let _ = parameter.f_mul_scalar_(1.0 - rule.learning_rate * rule.weight_decay)?;
        let _ = self.slots[0][index].f_lerp_(gradient, 1.0 - rule.beta1)?;
        let squared = gradient.f_mul(gradient)?.f_mul_scalar_(1.0 - rule.beta2)?;
        let _ = self.slots[1][index].f_mul_scalar_(rule.beta2)?.f_add_(&squared)?;
        let steps = self.step as f64;
        let (first, second) = (1.0 - rule.beta1.powf(steps), 1.0 - rule.beta2.powf(steps));
        let mut denominator = self.slots[1][index].f_sqrt()?.f_div_scalar_(second.sqrt())?;
        let denominator = denominator.f_add_scalar_(rule.epsilon)?;
        let mut update = self.slots[0][index].f_div(&denominator)?;
        let _ = parameter.f_add_(&update.f_mul_scalar_(-rule.learning_rate / first)?)?;
        Ok(())
    }

    /// `torch.optim.sgd._single_tensor_sgd` without dampening: the first step's buffer is the gradient itself, which is what a buffer
    /// of zeros gives.
    fn descend(&mut self, index: usize, gradient: &Tensor, rule: Descent) -> Result<(), ModelError> {
        let parameter = &mut self.parameters[index].1;
        let mut direction = match rule.weight_decay == 0.0 {
            true => gradient.shallow_clone(),
            false => gradient.f_add(&parameter.f_mul_scalar(rule.weight_decay)?)?,
        };
        if rule.momentum != 0.0 {
            let buffer = &mut self.slots[0][index];
            let _ = buffer.f_mul_scalar_(rule.momentum)?.f_add_(&direction)?;
            direction = match rule.nesterov {
                true => direction.f_add(&buffer.f_mul_scalar(rule.momentum)?)?,
                false => buffer.shallow_clone(),
            };
        }
        let _ = parameter.f_sub_(&direction.f_mul_scalar(rule.learning_rate)?)?;
        Ok(())
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

/// The parts of AdamW's rule.
#[derive(Clone, Copy)]
struct Adam {
    learning_rate: f64,
    weight_decay: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

/// The parts of SGD's rule.
#[derive(Clone, Copy)]
struct Descent {
    learning_rate: f64,
    weight_decay: f64,
    momentum: f64,
    nesterov: bool,
}

fn slot_names(rule: &OptimizerSpec) -> &'static [&'static str] {
    match rule {
        OptimizerSpec::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
        OptimizerSpec::Sgd { momentum, .. } if *momentum != 0.0 => &["momentum_buffer"],
        OptimizerSpec::Sgd { .. } => &[],
    }
}

//! What each optimizer does to one tensor.

use firn_core::spec::OptimizerSpec;
use tch::Tensor;

use crate::{error::ModelError, l2_norm::l2_norm};

/// What a rule remembers of each parameter, by torch's names.
pub(super) fn slot_names(rule: &OptimizerSpec) -> &'static [&'static str] {
    match rule {
        OptimizerSpec::AdamW { .. } | OptimizerSpec::Adam { .. } | OptimizerSpec::Lamb { .. } => {
            &["exp_avg", "exp_avg_sq"]
        }
        OptimizerSpec::Sgd { momentum: 0.0, .. } => &[],
        OptimizerSpec::Sgd { .. } => &["momentum_buffer"],
        OptimizerSpec::RmsProp { momentum, centered, .. } => match (*momentum > 0.0, centered) {
            (false, false) => &["square_avg"],
            (true, false) => &["square_avg", "momentum_buffer"],
            (false, true) => &["square_avg", "grad_avg"],
            (true, true) => &["square_avg", "momentum_buffer", "grad_avg"],
        },
    }
}

/// One step of one tensor, which is changed in place like what is remembered of it.
pub(super) struct Update {
    pub(super) learning_rate: f64,
    /// 0 for a tensor that does not decay.
    pub(super) weight_decay: f64,
    /// From 1.
    pub(super) step: u64,
    pub(super) parameter: Tensor,
    /// In the order of their names.
    pub(super) slots: Vec<Tensor>,
}

/// Decays of Adam's two means, and what is added to the denominator.
#[derive(Clone, Copy)]
struct Moments {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

impl Update {
    pub(super) fn by(mut self, rule: &OptimizerSpec, gradient: &Tensor) -> Result<(), ModelError> {
        match *rule {
            OptimizerSpec::Sgd { momentum, nesterov, .. } => self.descend(gradient, momentum, nesterov),
            OptimizerSpec::AdamW {
                beta1, beta2, epsilon, ..
            } => {
                let shrunk = 1.0 - self.learning_rate * self.weight_decay;
                let _ = self.parameter.f_mul_scalar_(shrunk)?;
                self.adam(gradient, Moments { beta1, beta2, epsilon })
            }
            OptimizerSpec::Adam {
                beta1, beta2, epsilon, ..
            } => {
                let gradient = self.with_decay(gradient)?;
                self.adam(&gradient, Moments { beta1, beta2, epsilon })
            }
            OptimizerSpec::Lamb {
                beta1, beta2, epsilon, ..
            } => self.lamb(gradient, Moments { beta1, beta2, epsilon }),
            OptimizerSpec::RmsProp {
                alpha,
                momentum,
                centered,
                epsilon,
                ..
            } => self.rms_prop(gradient, alpha, (momentum, centered), epsilon),
        }
    }

    /// The gradient of the loss and of the L2 penalty.
    fn with_decay(&self, gradient: &Tensor) -> Result<Tensor, ModelError> {
        Ok(match self.weight_decay == 0.0 {
            true => gradient.shallow_clone(),
            false => gradient.f_add(&self.parameter.f_mul_scalar(self.weight_decay)?)?,
        })
    }

    /// `torch.optim.sgd._single_tensor_sgd` without dampening: the first step's buffer is the gradient itself, which is what a buffer
    /// of zeros gives.
    fn descend(&mut self, gradient: &Tensor, momentum: f64, nesterov: bool) -> Result<(), ModelError> {
        let mut direction = self.with_decay(gradient)?;
        if momentum != 0.0 {
            let buffer = &mut self.slots[0];
            let _ = buffer.f_mul_scalar_(momentum)?.f_add_(&direction)?;
            direction = match nesterov {
                true => direction.f_add(&buffer.f_mul_scalar(momentum)?)?,
                false => buffer.shallow_clone(),
            };
        }
        let _ = self.parameter.f_sub_(&direction.f_mul_scalar(self.learning_rate)?)?;
        Ok(())
    }

    /// The two means, taken on by a step, and the denominator that the second one gives.
    fn moments(&mut self, gradient: &Tensor, moments: Moments) -> Result<Tensor, ModelError> {
        let _ = self.slots[0].f_lerp_(gradient, 1.0 - moments.beta1)?;
        let squared = gradient.f_mul(gradient)?.f_mul_scalar_(1.0 - moments.beta2)?;
        let _ = self.slots[1].f_mul_scalar_(moments.beta2)?.f_add_(&squared)?;
        let correction = 1.0 - moments.beta2.powf(self.step as f64);
        let mut denominator = self.slots[1].f_sqrt()?.f_div_scalar_(correction.sqrt())?;
        Ok(denominator.f_add_scalar_(moments.epsilon)?)
    }

    /// `torch.optim.adam._single_tensor_adam`, after the decay.
    fn adam(&mut self, gradient: &Tensor, moments: Moments) -> Result<(), ModelError> {
        let denominator = self.moments(gradient, moments)?;
        let correction = 1.0 - moments.beta1.powf(self.step as f64);
        let mut update = self.slots[0].f_div(&denominator)?;
        let _ = self
            .parameter
            .f_add_(&update.f_mul_scalar_(-self.learning_rate / correction)?)?;
        Ok(())
    }

    /// Algorithm 2 of You et al. 2020 (arXiv 1904.00962) with the corrections of Adam's means. As in timm, a tensor that does not decay moves as by
    /// Adam.
    fn lamb(&mut self, gradient: &Tensor, moments: Moments) -> Result<(), ModelError> {
        let denominator = self.moments(gradient, moments)?;
        let correction = 1.0 - moments.beta1.powf(self.step as f64);
        let mut update = self.slots[0].f_div_scalar(correction)?.f_div_(&denominator)?;
        let mut ratio = 1.0;
        if self.weight_decay != 0.0 {
            update = update.f_add_(&self.parameter.f_mul_scalar(self.weight_decay)?)?;
            let (weights, direction) = (l2_norm(&self.parameter)?, l2_norm(&update)?);
            if weights > 0.0 && direction > 0.0 {
                ratio = weights / direction;
            }
        }
        let _ = self
            .parameter
            .f_sub_(&update.f_mul_scalar_(self.learning_rate * ratio)?)?;
        Ok(())
    }

    /// `torch.optim.rmsprop._single_tensor_rmsprop`.
    fn rms_prop(
        &mut self,
        gradient: &Tensor,
        alpha: f64,
        (momentum, centered): (f64, bool),
        epsilon: f64,
    ) -> Result<(), ModelError> {
        let gradient = self.with_decay(gradient)?;
        let squared = gradient.f_mul(&gradient)?.f_mul_scalar_(1.0 - alpha)?;
        let _ = self.slots[0].f_mul_scalar_(alpha)?.f_add_(&squared)?;
        let mut spread = self.slots[0].shallow_clone();
        if centered {
            let mean = self
                .slots
                .last_mut()
                .expect("a centered rule remembers the mean gradient");
            let _ = mean.f_lerp_(&gradient, 1.0 - alpha)?;
            spread = spread.f_sub(&mean.f_mul(mean)?)?;
        }
        let mut spread = spread.f_sqrt()?;
        let mut direction = gradient.f_div(&spread.f_add_scalar_(epsilon)?)?;
        if momentum > 0.0 {
            let buffer = &mut self.slots[1];
            let _ = buffer.f_mul_scalar_(momentum)?.f_add_(&direction)?;
            direction = buffer.shallow_clone();
        }
        let _ = self.parameter.f_sub_(&direction.f_mul_scalar(self.learning_rate)?)?;
        Ok(())
    }
}

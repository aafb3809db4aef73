//! The functions that follow a layer, value by value.

use tch::Tensor;

use crate::error::ModelError;

/// What follows the normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    None,
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x / (1 + exp(-x)).
    Silu,
    /// x · min(max(x + 3, 0), 6) / 6.
    Hardswish,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// min(max(x + 3, 0), 6) / 6.
    Hardsigmoid,
}

impl Activation {
    pub(crate) fn apply(self, tensor: Tensor) -> Result<Tensor, ModelError> {
        Ok(match self {
            Self::None => tensor,
            Self::Relu => tensor.f_relu()?,
            Self::Relu6 => tensor.f_clamp(0.0, 6.0)?,
            Self::Silu => tensor.f_silu()?,
            Self::Hardswish => tensor.f_hardswish()?,
            Self::Sigmoid => tensor.f_sigmoid()?,
            Self::Hardsigmoid => tensor.f_hardsigmoid()?,
        })
    }

    /// Overwrites the tensor: for values that nobody else holds and no gradient needs.
    pub(crate) fn apply_in_place(self, mut tensor: Tensor) -> Result<Tensor, ModelError> {
        Ok(match self {
            Self::None => tensor,
            Self::Relu => tensor.f_relu_()?,
            Self::Relu6 => tensor.f_clamp_(0.0, 6.0)?,
            Self::Silu => tensor.f_silu_()?,
            Self::Hardswish => tensor.f_hardswish_()?,
            Self::Sigmoid => tensor.f_sigmoid_()?,
            Self::Hardsigmoid => tensor.f_hardsigmoid_()?,
        })
    }
}

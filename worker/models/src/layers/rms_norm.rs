//! RMSNorm (Zhang & Sennrich 2019, <https://arxiv.org/abs/1910.07467>): a layer norm that takes no mean away and adds nothing.

use tch::{Kind, Tensor};

use crate::{
    error::ModelError,
    parameter_builder::{Initial, ParameterBuilder, Role},
    stage::{Features, Pass, Stage},
};

pub(crate) struct RmsNorm {
    weight: Tensor,
    epsilon: f64,
}

impl RmsNorm {
    /// Over the last dimension, of length `width`; `epsilon` is added to the mean of the squares.
    pub(crate) fn new(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        width: i64,
        epsilon: f64,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            weight: builder.tensor(&format!("{name}.weight"), &[width], Role::Parameter, Initial::Ones)?,
            epsilon,
        })
    }

    /// x / √(mean(x²) + ε) · weight.
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, ModelError> {
        let squares = input.f_square()?.f_mean_dim([-1_i64].as_slice(), true, Kind::Float)?;
        let scale = squares.f_add_scalar(self.epsilon)?.f_rsqrt()?;
        Ok(input.f_mul(&scale)?.f_mul(&self.weight)?)
    }
}

/// As a stage of its own: the norm after the last layer.
impl Stage for RmsNorm {
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|states| self.forward(&states))
    }
}

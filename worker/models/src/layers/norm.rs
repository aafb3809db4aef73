//! LayerNorm.

use tch::Tensor;

use crate::{
    error::ModelError,
    parameter_builder::{Initial, ParameterBuilder, Role},
    stage::{Features, Pass, Stage},
};

pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Option<Tensor>,
    epsilon: f64,
}

impl LayerNorm {
    /// Over the last dimension, of length `width`; `epsilon` is added to the variance.
    pub(crate) fn new(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        width: i64,
        epsilon: f64,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            weight: builder.tensor(&format!("{name}.weight"), &[width], Role::Parameter, Initial::Ones)?,
            bias: Some(builder.tensor(&format!("{name}.bias"), &[width], Role::Parameter, Initial::Zeros)?),
            epsilon,
        })
    }

    /// A norm that adds nothing to what it scales.
    pub(crate) fn without_bias(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        width: i64,
        epsilon: f64,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            weight: builder.tensor(&format!("{name}.weight"), &[width], Role::Parameter, Initial::Ones)?,
            bias: None,
            epsilon,
        })
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, ModelError> {
        let shape = self.weight.size();
        Ok(input.f_layer_norm(&shape, Some(&self.weight), self.bias.as_ref(), self.epsilon, true)?)
    }
}

/// As a stage of its own: the norm after the last layer, or of what was pooled.
impl Stage for LayerNorm {
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|states| self.forward(&states))
    }
}

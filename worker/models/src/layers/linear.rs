//! A linear layer.

use tch::Tensor;

use crate::{
    error::ModelError,
    parameter_builder::{Initial, ParameterBuilder, Role},
};

pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// `shape`: outputs, inputs. The weight starts normal with this standard deviation, the bias at 0.
    pub(crate) fn new(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        shape: [i64; 2],
        deviation: f64,
    ) -> Result<Self, ModelError> {
        let names = [format!("{name}.weight"), format!("{name}.bias")];
        Self::named(builder, &names, shape, deviation)
    }

    /// The same with weight and bias of any names.
    pub(crate) fn named(
        builder: &mut ParameterBuilder<'_>,
        [weight, bias]: &[String; 2],
        shape: [i64; 2],
        deviation: f64,
    ) -> Result<Self, ModelError> {
        let initial = Initial::Normal(deviation);
        Ok(Self {
            weight: builder.tensor(weight, &shape, Role::Parameter, initial)?,
            bias: Some(builder.tensor(bias, &shape[..1], Role::Parameter, Initial::Zeros)?),
        })
    }

    /// A layer that adds nothing to what it multiplies.
    pub(crate) fn without_bias(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        shape: [i64; 2],
        deviation: f64,
    ) -> Result<Self, ModelError> {
        let initial = Initial::Normal(deviation);
        Ok(Self {
            weight: builder.tensor(&format!("{name}.weight"), &shape, Role::Parameter, initial)?,
            bias: None,
        })
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, ModelError> {
        Ok(input.f_linear(&self.weight, self.bias.as_ref())?)
    }
}

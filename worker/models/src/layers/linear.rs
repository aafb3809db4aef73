//! A linear layer, and the low-rank adapter that may stand beside it.

use tch::Tensor;

use super::{adapter::Adapter, precision};
use crate::{
    error::ModelError,
    parameter_builder::{Initial, ParameterBuilder, Role},
    stage::Pass,
};

/// With or without bias.
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    /// Whether the weight is stored as inputs, outputs.
    is_transposed: bool,
    adapter: Option<Adapter>,
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
        Self::of(builder, (weight, Some(bias)), (shape, false), deviation)
    }

    /// A layer that adds nothing to what it multiplies.
    pub(crate) fn without_bias(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        shape: [i64; 2],
        deviation: f64,
    ) -> Result<Self, ModelError> {
        Self::of(builder, (&format!("{name}.weight"), None), (shape, false), deviation)
    }

    /// Hugging Face's `Conv1D`: the same layer, whose weight is stored as inputs, outputs. `shape`: outputs, inputs.
    pub(crate) fn transposed(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        shape: [i64; 2],
        deviation: f64,
    ) -> Result<Self, ModelError> {
        let [weight, bias] = [format!("{name}.weight"), format!("{name}.bias")];
        Self::of(builder, (&weight, Some(&bias)), (shape, true), deviation)
    }

    fn of(
        builder: &mut ParameterBuilder<'_>,
        (weight, bias): (&str, Option<&String>),
        ([outputs, inputs], is_transposed): ([i64; 2], bool),
        deviation: f64,
    ) -> Result<Self, ModelError> {
        let initial = Initial::Normal(deviation);
        let stored = match is_transposed {
            true => [inputs, outputs],
            false => [outputs, inputs],
        };
        Ok(Self {
            weight: builder.tensor(weight, &stored, Role::Parameter, initial)?,
            bias: bias
                .map(|bias| builder.tensor(bias, &[outputs], Role::Parameter, Initial::Zeros))
                .transpose()?,
            is_transposed,
            adapter: builder.adapter(weight, [outputs, inputs], is_transposed)?,
        })
    }

    /// Inputs `(…, inputs)` to outputs `(…, outputs)`.
    pub(crate) fn forward(&self, input: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        match &self.adapter {
            Some(adapter) if pass.merges => {
                self.multiplied(input, &adapter.merged(&self.weight, self.is_transposed)?, pass)
            }
            Some(adapter) => Ok(self
                .multiplied(input, &self.weight, pass)?
                .f_add(&adapter.forward(input, pass)?)?),
            None => self.multiplied(input, &self.weight, pass),
        }
    }

    fn multiplied(&self, input: &Tensor, weight: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        pass.statistics.by_slice(input, |input, leaves| {
            let (weight, bias) = (leaves.of(weight), leaves.of_option(self.bias.as_ref()));
            precision::product(input, &weight, bias.as_ref(), |input, weight, bias| {
                Ok(match (self.is_transposed, bias) {
                    (false, bias) => input.f_linear(weight, bias)?,
                    (true, Some(bias)) => input.f_matmul(weight)?.f_add(bias)?,
                    (true, None) => input.f_matmul(weight)?,
                })
            })
        })
    }
}

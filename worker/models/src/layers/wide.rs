//! A wide layer between the pool and the head, as the classifiers of some networks have: linear, activation, dropout.

use tch::Tensor;

use super::{
    activation::Activation,
    convolution::{Geometry, Unit},
    dropout::drop_units,
    linear::Linear,
};
use crate::{
    error::ModelError,
    parameter_builder::ParameterBuilder,
    shared_batch::Leaves,
    stage::{Features, Pass, Stage},
};

/// One of them, which is a stage.
pub(crate) struct Wide {
    pub(crate) name: &'static str,
    pub(crate) layer: Layer,
    pub(crate) activation: Activation,
    /// Probability that a unit is dropped in training.
    pub(crate) dropout: f64,
}

/// What multiplies.
pub(crate) enum Layer {
    Linear(Linear),
    /// Of one pixel, as some libraries keep it.
    Convolution(Unit),
}

impl Layer {
    fn forward(&self, features: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        match self {
            Self::Linear(linear) => linear.forward(features, pass),
            Self::Convolution(unit) => {
                let pixels = features.f_unsqueeze(-1)?.f_unsqueeze(-1)?;
                Ok(unit.forward(&pixels, pass.statistics)?.f_flatten(1, -1)?)
            }
        }
    }
}

/// torchvision's standard deviation of a wide layer without weights.
const DEVIATION: f64 = 0.01;

impl Wide {
    /// `shape`: outputs, inputs.
    pub(crate) fn new(
        builder: &mut ParameterBuilder<'_>,
        name: &'static str,
        shape: [i64; 2],
        (activation, dropout): (Activation, f64),
    ) -> Result<Self, ModelError> {
        Ok(Self {
            name,
            layer: Layer::Linear(Linear::new(builder, name, shape, DEVIATION)?),
            activation,
            dropout,
        })
    }

    /// The same kept as a convolution.
    pub(crate) fn convolved(
        builder: &mut ParameterBuilder<'_>,
        name: &'static str,
        [outputs, inputs]: [i64; 2],
        (activation, dropout): (Activation, f64),
    ) -> Result<Self, ModelError> {
        let geometry = Geometry::square(inputs, outputs, 1, 1).with_bias();
        Ok(Self {
            name,
            layer: Layer::Convolution(Unit::plain(builder, name, geometry, Activation::None)?),
            activation,
            dropout,
        })
    }
}

impl Stage for Wide {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            let output = self.layer.forward(&tensor, pass)?;
            let activated = |output: &Tensor, _: Leaves<'_>| self.activation.apply(output.shallow_clone());
            let output = pass.statistics.by_slice(&output, activated)?;
            match pass.dropout {
                Some(dropout) => drop_units(&output, self.dropout, self.name, dropout),
                None => Ok(output),
            }
        })
    }
}

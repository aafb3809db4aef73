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
    stage::{Features, Pass, Stage, Statistics},
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
    /// A convolution over the whole of a map of so many rows and columns, as some libraries keep it.
    Convolution(Unit, i64),
}

impl Layer {
    fn forward(&self, features: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        match self {
            Self::Linear(linear) => linear.forward(features, pass),
            Self::Convolution(unit, side) => {
                let map = features.f_reshape([features.size()[0], -1, *side, *side])?;
                Ok(unit.forward(&map, Statistics::Running)?.f_flatten(1, -1)?)
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

    /// The same kept as a convolution: outputs, channels of the map, its rows and columns.
    pub(crate) fn convolved(
        builder: &mut ParameterBuilder<'_>,
        name: &'static str,
        [outputs, channels, side]: [i64; 3],
        (activation, dropout): (Activation, f64),
    ) -> Result<Self, ModelError> {
        let geometry = Geometry::square(channels, outputs, side, 1)
            .without_padding()
            .with_bias();
        Ok(Self {
            name,
            layer: Layer::Convolution(Unit::plain(builder, name, geometry, Activation::None)?, side),
            activation,
            dropout,
        })
    }
}

impl Stage for Wide {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            let output = self.activation.apply(self.layer.forward(&tensor, pass)?)?;
            match pass.dropout {
                Some(dropout) => drop_units(&output, self.dropout, self.name, dropout),
                None => Ok(output),
            }
        })
    }
}

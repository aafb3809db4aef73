//! A wide layer between the pool and the head, as the classifiers of some networks have: linear, activation, dropout. Some libraries keep it as a
//! convolution, which is the same where its map is as large as its kernel.

use tch::Tensor;

use super::{
    activation::Activation,
    convolution::{Geometry, Unit},
    dropout::drop_units,
    linear::Linear,
    pooling::pixel_mean,
};
use crate::{
    error::ModelError,
    parameter_builder::ParameterBuilder,
    stage::{Features, Pass, Stage},
};

/// One of them, which is a stage.
pub(crate) struct Wide {
    pub(crate) name: &'static str,
    pub(crate) layer: Layer,
    pub(crate) activation: Activation,
    /// Probability that a unit is dropped in training.
    pub(crate) dropout: f64,
    /// Whether the mean over the pixels of what a convolution gives follows the activation.
    is_averaged: bool,
}

/// What multiplies.
pub(crate) enum Layer {
    Linear(Linear),
    /// A convolution over a map `(n, channels, rows, columns)`, or over single pixels `(n, channels)`.
    Convolution(Unit),
}

impl Layer {
    fn forward(&self, features: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        match self {
            Self::Linear(linear) => linear.forward(features, pass),
            Self::Convolution(unit) => match features.dim() {
                2 => unit.forward(&features.f_unsqueeze(-1)?.f_unsqueeze(-1)?, pass.statistics),
                _ => unit.forward(features, pass.statistics),
            },
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
            is_averaged: false,
        })
    }

    /// The same kept as a convolution without padding. `shape`: outputs, channels of the map, rows and columns of the kernel. It gives a map.
    pub(crate) fn convolved(
        builder: &mut ParameterBuilder<'_>,
        name: &'static str,
        [outputs, channels, kernel]: [i64; 3],
        (activation, dropout): (Activation, f64),
    ) -> Result<Self, ModelError> {
        let geometry = Geometry::square(channels, outputs, kernel, 1)
            .without_padding()
            .with_bias();
        Ok(Self {
            name,
            layer: Layer::Convolution(Unit::plain(builder, name, geometry, Activation::None)?),
            activation,
            dropout,
            is_averaged: false,
        })
    }

    /// With the mean over the pixels, the last of those that are kept as convolutions.
    pub(crate) fn averaged(self) -> Self {
        Self {
            is_averaged: true,
            ..self
        }
    }
}

impl Stage for Wide {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            let output = self.layer.forward(&tensor, pass)?;
            let output = pass.statistics.by_slice(&output, |output, _| {
                let output = self.activation.apply(output.shallow_clone())?;
                match self.is_averaged {
                    true => pixel_mean(&output),
                    false => Ok(output),
                }
            })?;
            match pass.dropout {
                Some(dropout) => {
                    let units = drop_units(&output.f_flatten(1, -1)?, self.dropout, self.name, dropout)?;
                    Ok(units.f_reshape(output.size())?)
                }
                None => Ok(output),
            }
        })
    }
}

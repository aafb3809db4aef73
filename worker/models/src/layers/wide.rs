//! A wide layer between the pool and the head, as the classifiers of some networks have: linear, activation, dropout.

use super::{activation::Activation, dropout::drop_units, linear::Linear};
use crate::{
    error::ModelError,
    parameter_builder::ParameterBuilder,
    stage::{Features, Pass, Stage},
};

/// One of them, which is a stage.
pub(crate) struct Wide {
    pub(crate) name: &'static str,
    pub(crate) linear: Linear,
    pub(crate) activation: Activation,
    /// Probability that a unit is dropped in training.
    pub(crate) dropout: f64,
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
            linear: Linear::new(builder, name, shape, DEVIATION)?,
            activation,
            dropout,
        })
    }
}

impl Stage for Wide {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            let output = self.activation.apply(self.linear.forward(&tensor)?)?;
            match pass.dropout {
                Some(dropout) => drop_units(&output, self.dropout, self.name, dropout),
                None => Ok(output),
            }
        })
    }
}

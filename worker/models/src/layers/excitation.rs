//! Squeeze and excitation (Hu et al. 2017, <https://arxiv.org/abs/1709.01507>): each channel is multiplied by a number between 0 and 1 that
//! follows from the means of all channels.

use tch::{Kind, Tensor};

use super::{
    activation::Activation,
    convolution::{Geometry, Unit},
};
use crate::{error::ModelError, parameter_builder::ParameterBuilder, stage::Statistics};

/// Two convolutions of the means, the second ended by the gate.
pub(crate) struct Excitation {
    narrow: Unit,
    widen: Unit,
}

/// Its shape, as a family has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Squeeze {
    /// Channels between the two convolutions.
    pub(crate) channels: i64,
    /// After the first.
    pub(crate) activation: Activation,
    /// After the second.
    pub(crate) gate: Activation,
}

impl Excitation {
    /// torchvision's `SqueezeExcitation` of that many channels.
    pub(crate) fn new(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        channels: i64,
        squeeze: Squeeze,
    ) -> Result<Self, ModelError> {
        let narrow = Geometry::square(channels, squeeze.channels, 1, 1).with_bias();
        let widen = Geometry::square(squeeze.channels, channels, 1, 1).with_bias();
        Ok(Self {
            narrow: Unit::plain(builder, &format!("{name}.fc1"), narrow, squeeze.activation)?,
            widen: Unit::plain(builder, &format!("{name}.fc2"), widen, squeeze.gate)?,
        })
    }

    pub(crate) fn forward(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, ModelError> {
        statistics.by_slice(input, |input, leaves| {
            let means = input.f_mean_dim([2_i64, 3].as_slice(), true, Kind::Float)?;
            let narrow = self.narrow.by_running_statistics(&means, leaves)?;
            Ok(input.f_mul(&self.widen.by_running_statistics(&narrow, leaves)?)?)
        })
    }

    pub(crate) fn folded(&self) -> Result<Self, ModelError> {
        Ok(Self {
            narrow: self.narrow.folded()?,
            widen: self.widen.folded()?,
        })
    }

    pub(crate) fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        self.narrow.derived(into);
        self.widen.derived(into);
    }
}

//! The block of MobileNetV3 and EfficientNet, as torchvision names its layers: widen, convolve each channel by itself, weigh the channels,
//! narrow; beside a shortcut where input and output have the same form.

use super::{
    activation::Activation,
    block::{Block, Part, Shortcut},
    convolution::{BatchNorm, Geometry, Names, Unit},
    excitation::{Excitation, Squeeze},
};
use crate::{error::ModelError, parameter_builder::ParameterBuilder};

/// Size and kind of one block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InvertedResidual {
    pub(crate) inputs: i64,
    /// Channels between the first and the last convolution; as many as inputs: the first is left out.
    pub(crate) expanded: i64,
    pub(crate) outputs: i64,
    /// Of the convolution of each channel by itself.
    pub(crate) kernel: i64,
    pub(crate) stride: i64,
    pub(crate) squeeze: Option<Squeeze>,
    pub(crate) activation: Activation,
    pub(crate) batch_norm: BatchNorm,
}

impl InvertedResidual {
    /// With the tensors `PREFIX.block.…` of `builder`.
    pub(crate) fn build(self, builder: &mut ParameterBuilder<'_>, prefix: &str) -> Result<Block, ModelError> {
        let mut parts: Vec<Part> = Vec::with_capacity(4);
        let name = |parts: &[Part]| format!("{prefix}.block.{}", parts.len());
        if self.expanded != self.inputs {
            let widen = Geometry::square(self.inputs, self.expanded, 1, 1);
            let style = (self.activation, self.batch_norm);
            parts.push(unit(builder, &name(&parts), widen, style)?.into());
        }
        let depthwise = Geometry::depthwise(self.expanded, self.kernel, self.stride);
        let style = (self.activation, self.batch_norm);
        parts.push(unit(builder, &name(&parts), depthwise, style)?.into());
        if let Some(squeeze) = self.squeeze {
            let excitation = Excitation::new(builder, &name(&parts), self.expanded, squeeze)?;
            parts.push(Part::Excitation(excitation));
        }
        let narrow = Geometry::square(self.expanded, self.outputs, 1, 1);
        let style = (Activation::None, self.batch_norm);
        parts.push(unit(builder, &name(&parts), narrow, style)?.into());
        let shortcut = match self.stride == 1 && self.inputs == self.outputs {
            true => Shortcut::Identity,
            false => Shortcut::None,
        };
        Ok(Block {
            parts,
            shortcut,
            relu: false,
        })
    }
}

/// torchvision's `Conv2dNormActivation`: `.0` convolves, `.1` normalises.
pub(crate) fn unit(
    builder: &mut ParameterBuilder<'_>,
    prefix: &str,
    geometry: Geometry,
    (activation, batch_norm): (Activation, BatchNorm),
) -> Result<Unit, ModelError> {
    let (convolution, norm) = (format!("{prefix}.0"), format!("{prefix}.1"));
    let names = Names {
        convolution: &convolution,
        norm: &norm,
    };
    Unit::normalised(builder, &names, geometry, activation, batch_norm)
}

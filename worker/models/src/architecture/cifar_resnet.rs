//! The residual networks for CIFAR-10 (He et al. 2015, section 4.2, <https://arxiv.org/abs/1512.03385>) as in pytorch_resnet_cifar10, whose weights
//! people use: a first convolution, and three layers of basic blocks of 16, 32 and 64 channels.
//!
//! A shortcut has no parameters (the paper's option A): where a block halves the image, it passes on every second row and column, with channels of
//! zeros around its own.

use firn_core::spec::CifarResnet;

use super::{
    Family,
    resnet::{parts, unit},
};
use crate::{
    error::ModelError,
    layers::{
        activation::Activation,
        block::{Block, Blocks, Shortcut},
        convolution::Geometry,
        pooling::PixelMean,
    },
    parameter_builder::ParameterBuilder,
    stage::Stages,
    weights::naming::{Dialect, Library},
};

const DIALECTS: &[Dialect] = &[Dialect::renamed(
    Library::PytorchResnetCifar10,
    "conv1.weight",
    "",
    |name| vec![name.to_owned()],
    "linear",
)];

/// Channels of the first layer; each layer has twice those of the one before.
const WIDTH: i64 = 16;

impl Family for CifarResnet {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        builder.enter(0);
        let stem = Geometry::square(3, WIDTH, 3, 1);
        let stem = Block::of(unit(builder, ["conv1", "bn1"], stem, Activation::Relu)?);
        let mut stages: Stages = vec![Box::new(Blocks(vec![stem]))];
        for layer in 0..3 {
            builder.enter(layer + 1);
            let width = WIDTH << layer;
            let block = |index| {
                let is_halving = layer > 0 && index == 0;
                let inputs = if is_halving { width / 2 } else { width };
                let name = format!("layer{}.{index}", layer + 1);
                let geometries = vec![
                    Geometry::square(inputs, width, 3, if is_halving { 2 } else { 1 }),
                    Geometry::square(width, width, 3, 1),
                ];
                Ok(Block {
                    parts: parts(builder, &name, geometries)?,
                    shortcut: match is_halving {
                        true => Shortcut::Subsampled((width - inputs) / 2),
                        false => Shortcut::Identity,
                    },
                    relu: true,
                })
            };
            let blocks = (0..self.blocks).map(block).collect::<Result<_, ModelError>>()?;
            stages.push(Box::new(Blocks(blocks)));
        }
        stages.push(Box::new(PixelMean));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(4 * WIDTH)
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }
}

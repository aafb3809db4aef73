//! MobileNetV3 (Howard et al. 2019, <https://arxiv.org/abs/1905.02244>) of width 1.0, as in torchvision.
//!
//! The wide layer of the classifier is a stage above the pool, with its dropout where it trains, as in VGG.

use firn_core::spec::{MobileBlock, MobilenetV3};

use super::Family;
use crate::{
    error::ModelError,
    layers::{
        activation::Activation,
        block::{Block, Blocks},
        convolution::{BatchNorm, Geometry},
        excitation::Squeeze,
        inverted_residual::{InvertedResidual, unit},
        pooling::PixelMean,
        wide::Wide,
    },
    parameter_builder::ParameterBuilder,
    stage::{Stage, Stages},
    weights::naming::{Dialect, Library},
};

/// Channels after the first convolution.
const FIRST: i64 = 16;
/// torchvision's probability that a unit of the wide layer is dropped in training.
const DROPOUT: f64 = 0.2;

const DIALECTS: &[Dialect] = &[Dialect::torchvision("features.0.0.weight", "classifier.3")];

/// Of the first and the last convolution.
const STYLE: (Activation, BatchNorm) = (Activation::Hardswish, BatchNorm::TENSORFLOW);

fn block(block: MobileBlock, inputs: i64) -> InvertedResidual {
    let squeeze = Squeeze {
        channels: MobilenetV3::squeezed(block.expanded),
        activation: Activation::Relu,
        gate: Activation::Hardsigmoid,
    };
    InvertedResidual {
        inputs,
        expanded: block.expanded,
        outputs: block.outputs,
        kernel: block.kernel,
        stride: block.stride,
        squeeze: block.has_excitation.then_some(squeeze),
        activation: match block.is_hard {
            true => Activation::Hardswish,
            false => Activation::Relu,
        },
        batch_norm: BatchNorm::TENSORFLOW,
    }
}

impl Family for MobilenetV3 {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        builder.enter(0);
        let first = unit(builder, "features.0", Geometry::square(3, FIRST, 3, 2), STYLE)?;
        let mut stages: Stages = vec![single(Block::of(first))];
        let mut channels = FIRST;
        for next in self.blocks {
            let stage = stages.len();
            builder.enter(stage);
            stages.push(single(
                block(*next, channels).build(builder, &format!("features.{stage}"))?,
            ));
            channels = next.outputs;
        }
        let stage = stages.len();
        builder.enter(stage);
        let last = Geometry::square(channels, 6 * channels, 1, 1);
        stages.push(single(Block::of(unit(
            builder,
            &format!("features.{stage}"),
            last,
            STYLE,
        )?)));
        stages.push(Box::new(PixelMean));
        builder.enter(stages.len());
        let shape = [self.wide, 6 * channels];
        let wide = Wide::new(builder, "classifier.0", shape, (Activation::Hardswish, DROPOUT))?;
        stages.push(Box::new(wide));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> i64 {
        self.wide
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    fn samples_a_thread(&self) -> Option<i64> {
        Some(4)
    }
}

fn single(block: Block) -> Box<dyn Stage> {
    Box::new(Blocks(vec![block]))
}

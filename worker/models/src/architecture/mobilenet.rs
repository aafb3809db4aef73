//! MobileNetV2 (Sandler et al. 2018, <https://arxiv.org/abs/1801.04381>) of width 1.0, as in torchvision.

use super::Family;
use crate::{
    error::ModelError,
    layers::{
        activation::Activation,
        block::{Block, Blocks, Shortcut},
        convolution::{BatchNorm, Geometry, Names, Unit},
        pooling::PixelMean,
    },
    parameter_builder::ParameterBuilder,
    stage::{Stage, Stages},
    weights::naming::{Dialect, Library, grouped, numbered_feature, translated},
};

/// Channels after the last convolution.
const FEATURE_WIDTH: i64 = 1280;

/// The paper's table 2: expansion, output channels, repetitions, stride of the first.
const BOTTLENECKS: [(i64, i64, usize, i64); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

pub(super) struct MobilenetV2;

const DIALECTS: &[Dialect] = &[
    Dialect::timm_with_stem(|name| vec![timm(name)]),
    Dialect::torchvision("features.0.0.weight", "classifier.1"),
];

/// torchvision's name of a tensor in timm's words, which counts blocks in the groups of the table. The first block does not widen, so its parts are others.
fn timm(name: &str) -> String {
    let Some((number, tail)) = numbered_feature(name) else {
        return name.to_owned();
    };
    let counts = BOTTLENECKS.map(|(_, _, count, _)| count);
    let blocks: usize = counts.iter().sum();
    match number {
        0 => translated(tail, &[("0.", "conv_stem."), ("1.", "bn1.")]),
        number if number > blocks => translated(tail, &[("0.", "conv_head."), ("1.", "bn2.")]),
        number => {
            let (group, index) = grouped(number - 1, counts);
            let parts = match number {
                1 => FIRST_PARTS,
                _ => PARTS,
            };
            format!("blocks.{group}.{index}.{}", translated(tail, parts))
        }
    }
}

/// Parts of the first block in timm's words.
const FIRST_PARTS: &[(&str, &str)] = &[
    ("conv.0.0.", "conv_dw."),
    ("conv.0.1.", "bn1."),
    ("conv.1.", "conv_pw."),
    ("conv.2.", "bn2."),
];

/// Those of the others.
const PARTS: &[(&str, &str)] = &[
    ("conv.0.0.", "conv_pw."),
    ("conv.0.1.", "bn1."),
    ("conv.1.0.", "conv_dw."),
    ("conv.1.1.", "bn2."),
    ("conv.2.", "conv_pwl."),
    ("conv.3.", "bn3."),
];

impl Family for MobilenetV2 {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        builder.enter(0);
        let first = Geometry::square(3, 32, 3, 2);
        let mut stages = vec![single(unit(builder, "features.0", first)?)];
        let mut inputs = 32;
        for (expansion, outputs, count, first_stride) in BOTTLENECKS {
            for index in 0..count {
                let stage = stages.len();
                builder.enter(stage);
                let stride = if index == 0 { first_stride } else { 1 };
                let size = Size {
                    inputs,
                    outputs,
                    stride,
                };
                let block = inverted_residual(builder, stage, expansion, size)?;
                stages.push(Box::new(Blocks(vec![block])));
                inputs = outputs;
            }
        }
        builder.enter(stages.len());
        let last = Geometry::square(inputs, FEATURE_WIDTH, 1, 1);
        stages.push(single(unit(builder, "features.18", last)?));
        stages.push(Box::new(PixelMean));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(FEATURE_WIDTH)
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    fn samples_a_thread(&self) -> Option<i64> {
        Some(4)
    }
}

/// Size of one block.
#[derive(Clone, Copy)]
struct Size {
    inputs: i64,
    outputs: i64,
    stride: i64,
}

/// Widen (1×1), convolve each channel by itself (3×3), narrow (1×1, no activation).
fn inverted_residual(
    builder: &mut ParameterBuilder<'_>,
    stage: usize,
    expansion: i64,
    size: Size,
) -> Result<Block, ModelError> {
    let Size {
        inputs,
        outputs,
        stride,
    } = size;
    let hidden = inputs * expansion;
    let prefix = format!("features.{stage}.conv");
    let mut parts = Vec::with_capacity(3);
    if expansion != 1 {
        let widen = Geometry::square(inputs, hidden, 1, 1);
        parts.push(unit(builder, &format!("{prefix}.0"), widen)?.into());
    }
    let depthwise = Geometry::depthwise(hidden, 3, stride);
    parts.push(unit(builder, &format!("{prefix}.{}", parts.len()), depthwise)?.into());
    let narrow = Geometry::square(hidden, outputs, 1, 1);
    let (convolution, norm) = (
        format!("{prefix}.{}", parts.len()),
        format!("{prefix}.{}", parts.len() + 1),
    );
    let names = Names {
        convolution: &convolution,
        norm: &norm,
    };
    parts.push(Unit::normalised(builder, &names, narrow, Activation::None, BatchNorm::USUAL)?.into());
    let shortcut = if stride == 1 && inputs == outputs {
        Shortcut::Identity
    } else {
        Shortcut::None
    };
    Ok(Block {
        parts,
        shortcut,
        relu: false,
    })
}

/// torchvision's `Conv2dNormActivation`: `.0` convolves, `.1` normalises.
fn unit(builder: &mut ParameterBuilder<'_>, prefix: &str, geometry: Geometry) -> Result<Unit, ModelError> {
    let (convolution, norm) = (format!("{prefix}.0"), format!("{prefix}.1"));
    let names = Names {
        convolution: &convolution,
        norm: &norm,
    };
    Unit::normalised(builder, &names, geometry, Activation::Relu6, BatchNorm::USUAL)
}

fn single(unit: Unit) -> Box<dyn Stage> {
    Box::new(Blocks(vec![Block::of(unit)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_translate_to_timms() {
        for (ours, theirs) in [
            ("features.0.1.bias", "bn1.bias"),
            ("features.1.conv.0.0.weight", "blocks.0.0.conv_dw.weight"),
            ("features.1.conv.1.weight", "blocks.0.0.conv_pw.weight"),
            ("features.1.conv.2.running_var", "blocks.0.0.bn2.running_var"),
            ("features.3.conv.0.0.weight", "blocks.1.1.conv_pw.weight"),
            ("features.7.conv.1.1.bias", "blocks.3.0.bn2.bias"),
            ("features.17.conv.2.weight", "blocks.6.0.conv_pwl.weight"),
            ("features.17.conv.3.running_mean", "blocks.6.0.bn3.running_mean"),
            ("features.18.0.weight", "conv_head.weight"),
            ("features.18.1.running_mean", "bn2.running_mean"),
        ] {
            assert_eq!(timm(ours), theirs);
        }
    }
}

//! EfficientNet (Tan & Le 2019, <https://arxiv.org/abs/1905.11946>) as in torchvision: one network in eight widths and depths.
//!
//! The stages are torchvision's: the first convolution, seven groups of blocks, the last convolution. No block is left out in training
//! (stochastic depth), above the cut as below.

use firn_core::spec::Efficientnet;

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
    },
    parameter_builder::ParameterBuilder,
    stage::Stages,
    weights::naming::{Dialect, Library, translated},
};

/// The paper's table 1: expansion, kernel, stride of the first block, channels, blocks.
const GROUPS: [(i64, i64, i64, i64, usize); 7] = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
];
/// Channels after the first convolution.
const FIRST: i64 = 32;

const DIALECTS: &[Dialect] = &[
    Dialect::timm_with_stem(|name| vec![timm(name)]),
    Dialect::torchvision("features.0.0.weight", "classifier.1"),
];

/// torchvision's name of a tensor in timm's words. The first group does not widen, so the parts of its block are others.
fn timm(name: &str) -> String {
    const OUTSIDE: &[(&str, &str)] = &[
        ("features.0.0.", "conv_stem."),
        ("features.0.1.", "bn1."),
        ("features.8.0.", "conv_head."),
        ("features.8.1.", "bn2."),
    ];
    let words: &[(&str, &str)] = match name.starts_with("features.1.") {
        true => &[
            ("block.0.0.", "conv_dw."),
            ("block.0.1.", "bn1."),
            ("block.1.fc1.", "se.conv_reduce."),
            ("block.1.fc2.", "se.conv_expand."),
            ("block.2.0.", "conv_pw."),
            ("block.2.1.", "bn2."),
        ],
        false => &[
            ("block.0.0.", "conv_pw."),
            ("block.0.1.", "bn1."),
            ("block.1.0.", "conv_dw."),
            ("block.1.1.", "bn2."),
            ("block.2.fc1.", "se.conv_reduce."),
            ("block.2.fc2.", "se.conv_expand."),
            ("block.3.0.", "conv_pwl."),
            ("block.3.1.", "bn3."),
        ],
    };
    let name = match name.contains("block.") {
        true => translated(name, words),
        false => translated(name, OUTSIDE),
    };
    let group = name.strip_prefix("features.").and_then(|tail| tail.split_once('.'));
    match group.and_then(|(group, tail)| Some((group.parse::<usize>().ok()?.checked_sub(1)?, tail))) {
        Some((group, tail)) => format!("blocks.{group}.{tail}"),
        None => name,
    }
}

/// That of the published weights; timm has trained its own with the usual one.
fn batch_norm(sizes: &Efficientnet, library: Library) -> BatchNorm {
    match sizes.is_ported && library == Library::Torchvision {
        true => BatchNorm::TENSORFLOW,
        false => BatchNorm::USUAL,
    }
}

fn block(
    batch_norm: BatchNorm,
    [inputs, outputs]: [i64; 2],
    (expansion, kernel, stride): (i64, i64, i64),
) -> InvertedResidual {
    InvertedResidual {
        inputs,
        expanded: inputs * expansion,
        outputs,
        kernel,
        stride,
        squeeze: Some(Squeeze {
            channels: (inputs / 4).max(1),
            activation: Activation::Silu,
            gate: Activation::Sigmoid,
        }),
        activation: Activation::Silu,
        batch_norm,
    }
}

impl Family for Efficientnet {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        let style = (Activation::Silu, batch_norm(self, builder.library()));
        let mut channels = self.channels(FIRST);
        builder.enter(0);
        let first = unit(builder, "features.0", Geometry::square(3, channels, 3, 2), style)?;
        let mut stages: Stages = vec![Box::new(Blocks(vec![Block::of(first)]))];
        for (expansion, kernel, first_stride, outputs, count) in GROUPS {
            let stage = stages.len();
            builder.enter(stage);
            let outputs = self.channels(outputs);
            let mut blocks = Vec::new();
            for index in 0..self.blocks(count) {
                let stride = if index == 0 { first_stride } else { 1 };
                let block = block(style.1, [channels, outputs], (expansion, kernel, stride));
                blocks.push(block.build(builder, &format!("features.{stage}.{index}"))?);
                channels = outputs;
            }
            stages.push(Box::new(Blocks(blocks)));
        }
        let stage = stages.len();
        builder.enter(stage);
        let last = Geometry::square(channels, 4 * channels, 1, 1);
        let last = unit(builder, &format!("features.{stage}"), last, style)?;
        stages.push(Box::new(Blocks(vec![Block::of(last)])));
        stages.push(Box::new(PixelMean));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(4 * self.channels(GROUPS[GROUPS.len() - 1].3))
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    fn samples_a_thread(&self) -> Option<i64> {
        Some(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_translate_to_timms() {
        for (ours, theirs) in [
            ("features.0.0.weight", "conv_stem.weight"),
            ("features.0.1.running_var", "bn1.running_var"),
            ("features.1.0.block.0.0.weight", "blocks.0.0.conv_dw.weight"),
            ("features.1.0.block.1.fc2.bias", "blocks.0.0.se.conv_expand.bias"),
            ("features.1.0.block.2.1.bias", "blocks.0.0.bn2.bias"),
            ("features.4.2.block.0.0.weight", "blocks.3.2.conv_pw.weight"),
            ("features.7.0.block.1.1.weight", "blocks.6.0.bn2.weight"),
            ("features.7.0.block.3.0.weight", "blocks.6.0.conv_pwl.weight"),
            ("features.8.1.bias", "bn2.bias"),
        ] {
            assert_eq!(timm(ours), theirs);
        }
    }
}

//! MobileNetV3 (Howard et al. 2019, <https://arxiv.org/abs/1905.02244>) of width 1.0, as in torchvision.
//!
//! The wide layer of the classifier is a stage above the pool, with its dropout where it trains, as in VGG. timm keeps it as a convolution of
//! one pixel, and has trained its own with the usual BatchNorm.

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
    weights::naming::{Dialect, Library, grouped, numbered_feature, translated},
};

/// Channels after the first convolution.
const FIRST: i64 = 16;
/// torchvision's probability that a unit of the wide layer is dropped in training.
const DROPOUT: f64 = 0.2;

const LARGE: &[Dialect] = &[
    Dialect::timm_with_stem(|name| vec![timm(name, &[1, 2, 3, 4, 2, 3])]),
    TORCHVISION,
];
const SMALL: &[Dialect] = &[
    Dialect::timm_with_stem(|name| vec![timm(name, &[1, 2, 3, 2, 3])]),
    TORCHVISION,
];

const TORCHVISION: Dialect = Dialect::torchvision("features.0.0.weight", "classifier.3");

/// torchvision's name of a tensor in timm's words, which counts blocks in groups of so many. The first block does not widen, so its parts are
/// others; the last convolution is the only block of a group of its own.
fn timm(name: &str, groups: &[usize]) -> String {
    let Some((number, tail)) = numbered_feature(name) else {
        return name.replace("classifier.0.", "conv_head.");
    };
    let blocks: usize = groups.iter().sum();
    match number {
        0 => translated(tail, &[("0.", "conv_stem."), ("1.", "bn1.")]),
        number if number > blocks => {
            let tail = translated(tail, &[("0.", "conv."), ("1.", "bn1.")]);
            format!("blocks.{}.0.{tail}", groups.len())
        }
        number => {
            let (group, index) = grouped(number - 1, groups.iter().copied());
            format!("blocks.{group}.{index}.{}", part(tail, number == 1))
        }
    }
}

/// A part of a block, `block.N.…`, in timm's words.
fn part(tail: &str, is_first: bool) -> String {
    let place = |tail: &str| -> Option<(usize, String)> {
        let (place, tail) = tail.strip_prefix("block.")?.split_once('.')?;
        Some((place.parse().ok()?, tail.to_owned()))
    };
    let Some((place, tail)) = place(tail) else {
        return tail.to_owned();
    };
    if tail.starts_with("fc") {
        return translated(&tail, &[("fc1.", "se.conv_reduce."), ("fc2.", "se.conv_expand.")]);
    }
    let [convolution, norm] = match (is_first, place) {
        (true, 0) => ["conv_dw.", "bn1."],
        (true, _) => ["conv_pw.", "bn2."],
        (false, 0) => ["conv_pw.", "bn1."],
        (false, 1) => ["conv_dw.", "bn2."],
        (false, _) => ["conv_pwl.", "bn3."],
    };
    match tail.split_once('.') {
        Some(("0", tail)) => format!("{convolution}{tail}"),
        Some((_, tail)) => format!("{norm}{tail}"),
        None => tail,
    }
}

/// As the library has trained its weights.
fn batch_norm(library: Library) -> BatchNorm {
    match library {
        Library::Timm => BatchNorm::USUAL,
        _ => BatchNorm::TENSORFLOW,
    }
}

fn block(block: MobileBlock, inputs: i64, batch_norm: BatchNorm) -> InvertedResidual {
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
        batch_norm,
    }
}

impl Family for MobilenetV3 {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        let batch_norm = batch_norm(builder.library());
        // Of the first and the last convolution.
        let style = (Activation::Hardswish, batch_norm);
        builder.enter(0);
        let first = unit(builder, "features.0", Geometry::square(3, FIRST, 3, 2), style)?;
        let mut stages: Stages = vec![single(Block::of(first))];
        let mut channels = FIRST;
        for next in self.blocks {
            let stage = stages.len();
            builder.enter(stage);
            stages.push(single(
                block(*next, channels, batch_norm).build(builder, &format!("features.{stage}"))?,
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
            style,
        )?)));
        stages.push(Box::new(PixelMean));
        builder.enter(stages.len());
        let (width, inputs) = (self.wide, 6 * channels);
        let end = (Activation::Hardswish, DROPOUT);
        let wide = match builder.library() {
            Library::Timm => Wide::convolved(builder, "classifier.0", [width, inputs, 1], end)?.averaged(),
            _ => Wide::new(builder, "classifier.0", [width, inputs], end)?,
        };
        stages.push(Box::new(wide));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(self.wide)
    }

    fn dialects(&self) -> &'static [Dialect] {
        match self.blocks.len() {
            11 => SMALL,
            _ => LARGE,
        }
    }

    fn samples_a_thread(&self) -> Option<i64> {
        Some(4)
    }
}

fn single(block: Block) -> Box<dyn Stage> {
    Box::new(Blocks(vec![block]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_translate_to_timms() {
        let large = |name| timm(name, &[1, 2, 3, 4, 2, 3]);
        for (ours, theirs) in [
            ("features.0.1.bias", "bn1.bias"),
            ("features.1.block.0.0.weight", "blocks.0.0.conv_dw.weight"),
            ("features.1.block.1.1.running_var", "blocks.0.0.bn2.running_var"),
            ("features.3.block.0.0.weight", "blocks.1.1.conv_pw.weight"),
            ("features.4.block.2.fc1.bias", "blocks.2.0.se.conv_reduce.bias"),
            ("features.4.block.3.1.weight", "blocks.2.0.bn3.weight"),
            ("features.7.block.2.0.weight", "blocks.3.0.conv_pwl.weight"),
            ("features.15.block.1.1.weight", "blocks.5.2.bn2.weight"),
            ("features.16.0.weight", "blocks.6.0.conv.weight"),
            ("features.16.1.running_mean", "blocks.6.0.bn1.running_mean"),
            ("classifier.0.weight", "conv_head.weight"),
        ] {
            assert_eq!(large(ours), theirs);
        }
        assert_eq!(
            timm("features.1.block.1.fc2.bias", &[1, 2, 3, 2, 3]),
            "blocks.0.0.se.conv_expand.bias"
        );
    }
}

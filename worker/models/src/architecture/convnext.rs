//! ConvNeXt (Liu et al. 2022, <https://arxiv.org/abs/2201.03545>) as in torchvision.
//!
//! The stages are torchvision's: what makes patches of the image, four groups of blocks with what halves their images between them, the pool,
//! and the norm that its classifier begins with. torchvision keeps the scale of a block as `(channels, 1, 1)`, timm and transformers as
//! `(channels)`. No block is left out in training (stochastic depth), above the cut as below.

use firn_core::spec::Convnext;
use serde_json::{Map, Value, json};
use tch::Tensor;

use super::{Family, Opened};
use crate::{
    error::ModelError,
    layers::{
        activation::Activation,
        convolution::{Geometry, Unit},
        linear::Linear,
        norm::LayerNorm,
        pooling::PixelMean,
    },
    parameter_builder::{Initial, NamedTensor, ParameterBuilder, Role},
    stage::{Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library, numbered_feature, translated},
};

/// The usual standard deviation of weights without a file.
const DEVIATION: f64 = 0.02;
/// Added to a variance.
const EPSILON: f64 = 1e-6;
/// Side of a patch of the image, in pixels.
const PATCH: i64 = 4;

const DIALECTS: &[Dialect] = &[
    HUGGING_FACE,
    Dialect {
        anchor: "embeddings.patch_embeddings.weight",
        prefix: "",
        ..HUGGING_FACE
    },
    Dialect::renamed(Library::Timm, "stem.0.weight", "", |name| vec![timm(name)], "head.fc"),
    Dialect::torchvision("features.0.0.weight", "classifier.2"),
];

const HUGGING_FACE: Dialect = Dialect::renamed(
    Library::HuggingFace,
    "convnext.embeddings.patch_embeddings.weight",
    "convnext.",
    |name| vec![hugging_face(name)],
    "classifier",
);

/// torchvision's `features.N`: the patches (0), groups of blocks (odd), what halves the image before a group (even).
fn timm(name: &str) -> String {
    match numbered_feature(name) {
        Some((0, tail)) => format!("stem.{tail}"),
        Some((number, tail)) if number % 2 == 1 => {
            let words = [
                ("block.0.", "conv_dw."),
                ("block.2.", "norm."),
                ("block.3.", "mlp.fc1."),
                ("block.5.", "mlp.fc2."),
                ("layer_scale", "gamma"),
            ];
            format!("stages.{}.blocks.{}", number / 2, translated(tail, &words))
        }
        Some((number, tail)) => format!("stages.{}.downsample.{tail}", number / 2),
        None => translated(name, &[("classifier.0", "head.norm")]),
    }
}

fn hugging_face(name: &str) -> String {
    match numbered_feature(name) {
        Some((0, tail)) => {
            let words = [("0.", "patch_embeddings."), ("1.", "layernorm.")];
            format!("embeddings.{}", translated(tail, &words))
        }
        Some((number, tail)) if number % 2 == 1 => {
            let words = [
                ("block.0.", "dwconv."),
                ("block.2.", "layernorm."),
                ("block.3.", "pwconv1."),
                ("block.5.", "pwconv2."),
                ("layer_scale", "layer_scale_parameter"),
            ];
            format!("encoder.stages.{}.layers.{}", number / 2, translated(tail, &words))
        }
        Some((number, tail)) => format!("encoder.stages.{}.downsampling_layer.{tail}", number / 2),
        None => translated(name, &[("classifier.0", "layernorm")]),
    }
}

/// What the library adds to the variance of the last norm.
fn last_epsilon(library: Library) -> f64 {
    match library {
        Library::HuggingFace => 1e-12,
        _ => EPSILON,
    }
}

impl Family for Convnext {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        let mut stages: Stages = Vec::new();
        let mut channels = 3;
        for (width, count) in self.widths.into_iter().zip(self.blocks) {
            let stage = stages.len();
            builder.enter(stage);
            let name = format!("features.{stage}");
            let between: Box<dyn Stage> = match stage {
                0 => Box::new(Patches::new(builder, &name, width)?),
                _ => Box::new(Halving::new(builder, &name, [channels, width])?),
            };
            stages.push(between);
            channels = width;
            let stage = stages.len();
            builder.enter(stage);
            let block = |index| Block::new(builder, &format!("features.{stage}.{index}"), width);
            stages.push(Box::new(Blocks((0..count).map(block).collect::<Result<_, _>>()?)));
        }
        stages.push(Box::new(PixelMean));
        builder.enter(stages.len());
        let epsilon = last_epsilon(builder.library());
        let norm = LayerNorm::new(builder, "classifier.0", channels, epsilon)?;
        stages.push(Box::new(norm));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(self.widths[3])
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    fn opened(&self, library: Library, _: &[NamedTensor]) -> Option<Opened> {
        (library == Library::HuggingFace).then_some(Opened::ByClass("ConvNextForImageClassification"))
    }

    fn configuration(&self, library: Library) -> Map<String, Value> {
        if library != Library::HuggingFace {
            return Map::new();
        }
        let fields = json!({
            "model_type": "convnext",
            "hidden_sizes": self.widths,
            "depths": self.blocks,
            "patch_size": PATCH,
            "hidden_act": "gelu",
            "layer_norm_eps": last_epsilon(library),
        });
        fields.as_object().cloned().unwrap_or_default()
    }
}

/// `(n, c, h, w)` with the channels last, and back: a layer norm and a linear layer work on the last axis. In memory nothing moves where the
/// channels are innermost already.
fn channels_last(tensor: &Tensor) -> Result<Tensor, ModelError> {
    Ok(tensor.f_permute([0, 2, 3, 1])?)
}

fn channels_first(tensor: &Tensor) -> Result<Tensor, ModelError> {
    Ok(tensor.f_permute([0, 3, 1, 2])?)
}

/// A norm over the channels of each pixel.
fn pixel_norm(norm: &LayerNorm, tensor: &Tensor) -> Result<Tensor, ModelError> {
    channels_first(&norm.forward(&channels_last(tensor)?)?)
}

/// Patches of the image, normalised.
struct Patches {
    convolution: Unit,
    norm: LayerNorm,
}

impl Patches {
    fn new(builder: &mut ParameterBuilder<'_>, name: &str, width: i64) -> Result<Self, ModelError> {
        let geometry = Geometry::square(3, width, PATCH, PATCH).without_padding().with_bias();
        Ok(Self {
            convolution: Unit::plain(builder, &format!("{name}.0"), geometry, Activation::None)?,
            norm: LayerNorm::new(builder, &format!("{name}.1"), width, EPSILON)?,
        })
    }
}

impl Stage for Patches {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| pixel_norm(&self.norm, &self.convolution.forward(&tensor, pass.statistics)?))
    }
}

/// Normalises, and halves rows and columns.
struct Halving {
    norm: LayerNorm,
    convolution: Unit,
}

impl Halving {
    fn new(builder: &mut ParameterBuilder<'_>, name: &str, [inputs, outputs]: [i64; 2]) -> Result<Self, ModelError> {
        let geometry = Geometry::square(inputs, outputs, 2, 2).without_padding().with_bias();
        Ok(Self {
            norm: LayerNorm::new(builder, &format!("{name}.0"), inputs, EPSILON)?,
            convolution: Unit::plain(builder, &format!("{name}.1"), geometry, Activation::None)?,
        })
    }
}

impl Stage for Halving {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            let normalised = pixel_norm(&self.norm, &tensor)?;
            self.convolution.forward(&normalised, pass.statistics)
        })
    }
}

/// Convolve each channel by itself, normalise, widen, narrow, scale, and add.
struct Block {
    depthwise: Unit,
    norm: LayerNorm,
    wide: Linear,
    output: Linear,
    scale: Tensor,
}

impl Block {
    fn new(builder: &mut ParameterBuilder<'_>, name: &str, width: i64) -> Result<Self, ModelError> {
        let geometry = Geometry::depthwise(width, 7, 1).with_bias();
        let shape: &[i64] = match builder.library() {
            Library::Timm | Library::HuggingFace => &[width],
            _ => &[width, 1, 1],
        };
        Ok(Self {
            scale: builder.tensor(
                &format!("{name}.layer_scale"),
                shape,
                Role::Parameter,
                Initial::Value(1e-6),
            )?,
            depthwise: Unit::plain(builder, &format!("{name}.block.0"), geometry, Activation::None)?,
            norm: LayerNorm::new(builder, &format!("{name}.block.2"), width, EPSILON)?,
            wide: Linear::new(builder, &format!("{name}.block.3"), [4 * width, width], DEVIATION)?,
            output: Linear::new(builder, &format!("{name}.block.5"), [width, 4 * width], DEVIATION)?,
        })
    }

    fn forward(&self, input: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let pixels = channels_last(&self.depthwise.forward(input, pass.statistics)?)?;
        let wide = self.wide.forward(&self.norm.forward(&pixels)?, pass)?.f_gelu("none")?;
        let output = self.output.forward(&wide, pass)?.f_mul(&self.scale.f_flatten(0, -1)?)?;
        Ok(channels_first(&output)?.f_add(input)?)
    }
}

/// Blocks in sequence.
struct Blocks(Vec<Block>);

impl Stage for Blocks {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            let mut blocks = self.0.iter();
            blocks.try_fold(tensor, |tensor, block| block.forward(&tensor, pass))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_translate_to_those_of_the_libraries() {
        for (ours, theirs, transformers) in [
            ("features.0.0.bias", "stem.0.bias", "embeddings.patch_embeddings.bias"),
            ("features.0.1.bias", "stem.1.bias", "embeddings.layernorm.bias"),
            (
                "features.1.0.layer_scale",
                "stages.0.blocks.0.gamma",
                "encoder.stages.0.layers.0.layer_scale_parameter",
            ),
            (
                "features.5.12.block.0.weight",
                "stages.2.blocks.12.conv_dw.weight",
                "encoder.stages.2.layers.12.dwconv.weight",
            ),
            (
                "features.7.1.block.5.bias",
                "stages.3.blocks.1.mlp.fc2.bias",
                "encoder.stages.3.layers.1.pwconv2.bias",
            ),
            (
                "features.2.0.weight",
                "stages.1.downsample.0.weight",
                "encoder.stages.1.downsampling_layer.0.weight",
            ),
            ("classifier.0.weight", "head.norm.weight", "layernorm.weight"),
        ] {
            assert_eq!(timm(ours), theirs);
            assert_eq!(hugging_face(ours), transformers);
        }
    }
}

//! ResNet (He et al. 2015, <https://arxiv.org/abs/1512.03385>) as in torchvision: the stride of a bottleneck is on its 3×3
//! convolution ("v1.5"), not on the first 1×1 of the paper. ResNeXt (Xie et al. 2016, <https://arxiv.org/abs/1611.05431>) and Wide ResNet
//! (Zagoruyko & Komodakis 2016, <https://arxiv.org/abs/1605.07146>) are the same network with bottlenecks of other widths and groups.

use firn_core::spec::Resnet;
use serde_json::{Map, Value, json};
use tch::Tensor;

use super::{Family, Opened};
use crate::{
    error::ModelError,
    layers::{
        activation::Activation,
        block::{Block, Blocks, Part, Shortcut},
        convolution::{BatchNorm, Geometry, Names, Unit},
        pooling::PixelMean,
    },
    parameter_builder::{NamedTensor, ParameterBuilder},
    stage::{Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library},
};

/// A bottleneck widens its result four times.
fn expansion(sizes: &Resnet) -> i64 {
    if sizes.bottleneck { 4 } else { 1 }
}

/// Whether it is none of the networks with other widths, which transformers does not have.
fn has_plain_widths(sizes: &Resnet) -> bool {
    (sizes.groups, sizes.group_width) == (1, 64)
}

const TORCHVISION: Dialect = Dialect::torchvision("conv1.weight", "fc");
/// Those of networks with other widths.
const WIDER: &[Dialect] = &[TORCHVISION];
const DIALECTS: &[Dialect] = &[
    Dialect {
        anchor: "resnet.embedder.embedder.convolution.weight",
        prefix: "resnet.",
        ..HUGGING_FACE
    },
    HUGGING_FACE,
    TORCHVISION,
];

/// `encoder.stages.0.layers.0.layer.0.convolution.weight`, the prefix `resnet.` being optional.
const HUGGING_FACE: Dialect = Dialect {
    library: Library::HuggingFace,
    anchor: "embedder.embedder.convolution.weight",
    prefix: "",
    exported_prefix: "resnet.",
    names: |name| vec![hugging_face(name)],
    head: "classifier.1",
    keeps_extras: false,
};

/// torchvision's name of a tensor in Hugging Face's words.
fn hugging_face(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let unit = |part: &str| {
        if part.starts_with("bn") {
            "normalization"
        } else {
            "convolution"
        }
    };
    match parts.as_slice() {
        [stem, tail] => format!("embedder.embedder.{}.{tail}", unit(stem)),
        [layer, block, "downsample", index, tail] => {
            let unit = if *index == "1" { "normalization" } else { "convolution" };
            format!("encoder.stages.{}.layers.{block}.shortcut.{unit}.{tail}", before(layer))
        }
        [layer, block, part, tail] => {
            format!(
                "encoder.stages.{}.layers.{block}.layer.{}.{}.{tail}",
                before(layer),
                before(part),
                unit(part)
            )
        }
        _ => name.to_owned(),
    }
}

/// The digit at the end of a name that counts from 1, counted from 0.
fn before(name: &str) -> u32 {
    name.chars()
        .last()
        .and_then(|digit| digit.to_digit(10))
        .map_or(0, |digit| digit.saturating_sub(1))
}

impl Family for Resnet {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        builder.enter(0);
        let stem = Geometry::square(3, 64, 7, 2);
        let mut stages: Stages = vec![Box::new(Stem(unit(builder, ["conv1", "bn1"], stem, Activation::Relu)?))];
        let mut inputs = 64;
        for (layer, count) in self.blocks.into_iter().enumerate() {
            builder.enter(layer + 1);
            let width = 64 << layer;
            let mut blocks = Vec::with_capacity(count);
            for block in 0..count {
                let stride = if layer > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", layer + 1);
                blocks.push(residual(self, builder, &name, Size { inputs, width, stride })?);
                inputs = width * expansion(self);
            }
            stages.push(Box::new(Blocks(blocks)));
        }
        stages.push(Box::new(PixelMean));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(512 * expansion(self))
    }

    fn dialects(&self) -> &'static [Dialect] {
        match has_plain_widths(self) {
            true => DIALECTS,
            false => WIDER,
        }
    }

    fn opened(&self, library: Library, _: &[NamedTensor]) -> Option<Opened> {
        let is_of_transformers = library == Library::HuggingFace && has_plain_widths(self);
        is_of_transformers.then_some(Opened::ByClass("ResNetForImageClassification"))
    }

    fn configuration(&self, library: Library) -> Map<String, Value> {
        if library != Library::HuggingFace || !has_plain_widths(self) {
            return Map::new();
        }
        let widths = [64, 128, 256, 512].map(|width| width * expansion(self));
        let fields = json!({
            "model_type": "resnet",
            "embedding_size": 64,
            "hidden_sizes": widths,
            "depths": self.blocks,
            "layer_type": if self.bottleneck { "bottleneck" } else { "basic" },
            "hidden_act": "relu",
            "downsample_in_first_stage": false,
            "downsample_in_bottleneck": false,
        });
        fields.as_object().cloned().unwrap_or_default()
    }

    fn samples_a_thread(&self) -> Option<i64> {
        Some(8)
    }
}

/// The first convolution and its 3×3 maximum at stride 2.
struct Stem(Unit);

impl Stage for Stem {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            let output = self.0.forward(&tensor, pass.statistics)?;
            Ok(output.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?)
        })
    }

    fn folded(&self) -> Result<Option<Box<dyn Stage>>, ModelError> {
        Ok(Some(Box::new(Self(self.0.folded()?))))
    }

    fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        self.0.derived(into);
    }
}

/// Size of one block.
#[derive(Clone, Copy)]
struct Size {
    inputs: i64,
    width: i64,
    stride: i64,
}

fn residual(sizes: &Resnet, builder: &mut ParameterBuilder<'_>, block: &str, size: Size) -> Result<Block, ModelError> {
    let Size { inputs, width, stride } = size;
    let outputs = width * expansion(sizes);
    let geometries = if sizes.bottleneck {
        // `width` is that of groups of 64 channels.
        let narrow = width * sizes.group_width / 64 * sizes.groups;
        vec![
            Geometry::square(inputs, narrow, 1, 1),
            Geometry::square(narrow, narrow, 3, stride).grouped(sizes.groups),
            Geometry::square(narrow, outputs, 1, 1),
        ]
    } else {
        vec![
            Geometry::square(inputs, width, 3, stride),
            Geometry::square(width, outputs, 3, 1),
        ]
    };
    let parts = parts(builder, block, geometries)?;
    let shortcut = if stride == 1 && inputs == outputs {
        Shortcut::Identity
    } else {
        let (convolution, norm) = (format!("{block}.downsample.0"), format!("{block}.downsample.1"));
        let geometry = Geometry::square(inputs, outputs, 1, stride);
        Shortcut::Projection(unit(builder, [&convolution, &norm], geometry, Activation::None)?)
    };
    Ok(Block {
        parts,
        shortcut,
        relu: true,
    })
}

/// The convolutions of a block, `conv1` and `bn1` first, with a ReLU behind each but the last.
pub(super) fn parts(
    builder: &mut ParameterBuilder<'_>,
    block: &str,
    geometries: Vec<Geometry>,
) -> Result<Vec<Part>, ModelError> {
    let last = geometries.len() - 1;
    let part = |(index, geometry)| {
        let (convolution, norm) = (format!("{block}.conv{}", index + 1), format!("{block}.bn{}", index + 1));
        let activation = if index == last {
            Activation::None
        } else {
            Activation::Relu
        };
        Ok(unit(builder, [&convolution, &norm], geometry, activation)?.into())
    };
    geometries.into_iter().enumerate().map(part).collect()
}

pub(super) fn unit(
    builder: &mut ParameterBuilder<'_>,
    [convolution, norm]: [&str; 2],
    geometry: Geometry,
    activation: Activation,
) -> Result<Unit, ModelError> {
    Unit::normalised(
        builder,
        &Names { convolution, norm },
        geometry,
        activation,
        BatchNorm::USUAL,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_translate_to_hugging_faces() {
        for (ours, theirs) in [
            ("conv1.weight", "embedder.embedder.convolution.weight"),
            ("bn1.running_var", "embedder.embedder.normalization.running_var"),
            (
                "layer2.1.conv3.weight",
                "encoder.stages.1.layers.1.layer.2.convolution.weight",
            ),
            (
                "layer4.0.bn1.bias",
                "encoder.stages.3.layers.0.layer.0.normalization.bias",
            ),
            (
                "layer3.0.downsample.0.weight",
                "encoder.stages.2.layers.0.shortcut.convolution.weight",
            ),
            (
                "layer3.0.downsample.1.running_mean",
                "encoder.stages.2.layers.0.shortcut.normalization.running_mean",
            ),
        ] {
            assert_eq!(hugging_face(ours), theirs);
        }
    }
}

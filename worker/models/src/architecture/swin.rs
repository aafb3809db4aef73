//! The Swin Transformer (Liu et al. 2021, <https://arxiv.org/abs/2103.14030>) as in torchvision, and its second version (Liu et al. 2022,
//! <https://arxiv.org/abs/2111.09883>), which normalises behind each part of a block and compares patches otherwise.
//!
//! The stages are torchvision's: the patches of the image, four groups of blocks with what halves their images between them, the norm, and the
//! pool. What flows between the stages before the pool has its channels last: `(n, h, w, c)`. No block is left out in training
//! (stochastic depth), above the cut as below.

mod cosine;
mod names;
mod window;

use firn_core::spec::{Swin, SwinVersion};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use self::window::WindowAttention;
use super::{Family, Opened};
use crate::{
    error::ModelError,
    layers::{
        activation::Activation,
        convolution::{Geometry, Unit},
        linear::Linear,
        norm::LayerNorm,
    },
    parameter_builder::{NamedTensor, ParameterBuilder},
    stage::{Features, Pass, Stage, Stages, Statistics},
    weights::naming::{Dialect, Library},
};

/// The usual standard deviation of weights without a file.
const DEVIATION: f64 = 0.02;
/// Added to a variance.
const EPSILON: f64 = 1e-5;
/// Side of a patch of the image, in pixels.
const PATCH: i64 = 4;

impl Family for Swin {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        builder.enter(0);
        let mut stages: Stages = vec![Box::new(Patches::new(builder, self.width)?)];
        let mut width = self.width;
        for (group, (blocks, heads)) in self.blocks.into_iter().zip(self.heads).enumerate() {
            if group > 0 {
                let stage = stages.len();
                builder.enter(stage);
                let name = format!("features.{stage}");
                stages.push(Box::new(Merging::new(builder, &name, width, self.version)?));
                width *= 2;
            }
            let stage = stages.len();
            builder.enter(stage);
            let block = |index| {
                let shape = Shape {
                    width,
                    heads,
                    window: self.window,
                    is_shifted: index % 2 == 1,
                    version: self.version,
                };
                Block::new(builder, &format!("features.{stage}.{index}"), shape)
            };
            stages.push(Box::new(Blocks((0..blocks).map(block).collect::<Result<_, _>>()?)));
        }
        builder.enter(stages.len());
        stages.push(Box::new(LayerNorm::new(builder, "norm", width, EPSILON)?));
        stages.push(Box::new(Pool));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(8 * self.width)
    }

    fn dialects(&self) -> &'static [Dialect] {
        match self.version {
            SwinVersion::First => names::FIRST,
            SwinVersion::Second => names::SECOND,
        }
    }

    /// torchvision keeps with each block which pair of patches has which row of its table, and in the second version what each row is made of.
    fn constants(&self, library: Library) -> Result<Vec<(String, Tensor)>, ModelError> {
        if library != Library::Torchvision {
            return Ok(Vec::new());
        }
        let mut kept = vec![("relative_position_index", window::relative_places(self.window)?)];
        if self.version == SwinVersion::Second {
            let span = 2 * self.window - 1;
            let differences = cosine::differences(self.window)?.f_view([1, span, span, 2])?;
            kept.push(("relative_coords_table", differences));
        }
        let groups = self.blocks.into_iter().enumerate();
        let blocks = groups.flat_map(|(group, blocks)| (0..blocks).map(move |block| (2 * group + 1, block)));
        let of_block = |(stage, block)| {
            kept.iter().map(move |(tail, tensor)| {
                let name = format!("features.{stage}.{block}.attn.{tail}");
                (name, tensor.shallow_clone())
            })
        };
        Ok(blocks.flat_map(of_block).collect())
    }

    fn opened(&self, library: Library, _: &[NamedTensor]) -> Option<Opened> {
        (library == Library::HuggingFace).then_some(Opened::ByClass(match self.version {
            SwinVersion::First => "SwinForImageClassification",
            SwinVersion::Second => "Swinv2ForImageClassification",
        }))
    }

    fn configuration(&self, library: Library) -> Map<String, Value> {
        if library != Library::HuggingFace {
            return Map::new();
        }
        let (model_type, image) = match self.version {
            SwinVersion::First => ("swin", 224),
            SwinVersion::Second => ("swinv2", 256),
        };
        let fields = json!({
            "model_type": model_type,
            "image_size": image,
            "patch_size": PATCH,
            "embed_dim": self.width,
            "depths": self.blocks,
            "num_heads": self.heads,
            "window_size": self.window,
            "mlp_ratio": 4.0,
            "qkv_bias": true,
            "use_absolute_embeddings": false,
            "hidden_act": "gelu",
            "layer_norm_eps": EPSILON,
        });
        fields.as_object().cloned().unwrap_or_default()
    }
}

/// The image cut into patches, each a vector that is normalised.
struct Patches {
    convolution: Unit,
    norm: LayerNorm,
}

impl Patches {
    fn new(builder: &mut ParameterBuilder<'_>, width: i64) -> Result<Self, ModelError> {
        let geometry = Geometry::square(3, width, PATCH, PATCH).without_padding().with_bias();
        Ok(Self {
            convolution: Unit::plain(builder, "features.0.0", geometry, Activation::None)?,
            norm: LayerNorm::new(builder, "features.0.2", width, EPSILON)?,
        })
    }
}

impl Stage for Patches {
    /// Pixels `(n, 3, h, w)` to `(n, h/4, w/4, c)`.
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|pixels| {
            let patches = self.convolution.forward(&pixels, Statistics::Running)?;
            self.norm.forward(&patches.f_permute([0, 2, 3, 1])?)
        })
    }
}

/// Four neighbours become one of twice the width.
struct Merging {
    norm: LayerNorm,
    reduction: Linear,
    version: SwinVersion,
}

impl Merging {
    fn new(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        width: i64,
        version: SwinVersion,
    ) -> Result<Self, ModelError> {
        let shape = [2 * width, 4 * width];
        let normalised = match version {
            SwinVersion::First => 4 * width,
            SwinVersion::Second => 2 * width,
        };
        Ok(Self {
            reduction: Linear::without_bias(builder, &format!("{name}.reduction"), shape, DEVIATION)?,
            norm: LayerNorm::new(builder, &format!("{name}.norm"), normalised, EPSILON)?,
            version,
        })
    }
}

impl Stage for Merging {
    /// `(n, h, w, c)` to `(n, h/2, w/2, 2c)`; an odd row or column gets a neighbour of zeros.
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|image| {
            let (_, rows, columns, _) = image.size4()?;
            let image = image.f_constant_pad_nd([0, 0, 0, columns % 2, 0, rows % 2])?;
            let part = |row, column| -> Result<Tensor, ModelError> {
                Ok(image.f_slice(1, row, None, 2)?.f_slice(2, column, None, 2)?)
            };
            let parts = [part(0, 0)?, part(1, 0)?, part(0, 1)?, part(1, 1)?];
            let neighbours = Tensor::f_cat(&parts, -1)?;
            normalised(&self.norm, self.version, &neighbours, |image| {
                self.reduction.forward(image, pass)
            })
        })
    }
}

/// What a part makes of an image, with the norm before or behind it.
fn normalised(
    norm: &LayerNorm,
    version: SwinVersion,
    image: &Tensor,
    part: impl FnOnce(&Tensor) -> Result<Tensor, ModelError>,
) -> Result<Tensor, ModelError> {
    match version {
        SwinVersion::First => part(&norm.forward(image)?),
        SwinVersion::Second => norm.forward(&part(image)?),
    }
}

/// The numbers of a block.
#[derive(Clone, Copy)]
struct Shape {
    /// Channels.
    width: i64,
    heads: i64,
    /// Patches a side of a window.
    window: i64,
    /// Whether its windows are moved by half a window.
    is_shifted: bool,
    version: SwinVersion,
}

/// Attend and add, feed forward and add; each normalised.
struct Block {
    attention_norm: LayerNorm,
    attention: WindowAttention,
    wide_norm: LayerNorm,
    wide: Linear,
    output: Linear,
    version: SwinVersion,
}

impl Block {
    fn new(builder: &mut ParameterBuilder<'_>, prefix: &str, shape: Shape) -> Result<Self, ModelError> {
        let width = shape.width;
        let name = |tail: &str| format!("{prefix}.{tail}");
        Ok(Self {
            attention_norm: LayerNorm::new(builder, &name("norm1"), width, EPSILON)?,
            attention: WindowAttention::new(builder, &name("attn"), shape)?,
            wide_norm: LayerNorm::new(builder, &name("norm2"), width, EPSILON)?,
            wide: Linear::new(builder, &name("mlp.0"), [4 * width, width], DEVIATION)?,
            output: Linear::new(builder, &name("mlp.3"), [width, 4 * width], DEVIATION)?,
            version: shape.version,
        })
    }

    fn forward(&self, image: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let attended = normalised(&self.attention_norm, self.version, image, |image| {
            self.attention.forward(image, pass)
        })?;
        let image = image.f_add(&attended)?;
        let fed = normalised(&self.wide_norm, self.version, &image, |image| {
            let wide = self.wide.forward(image, pass)?.f_gelu("none")?;
            self.output.forward(&wide, pass)
        })?;
        Ok(image.f_add(&fed)?)
    }
}

/// Blocks one after the other.
struct Blocks(Vec<Block>);

impl Stage for Blocks {
    /// `(n, h, w, c)`.
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        let mut blocks = self.0.iter();
        input.map(|image| blocks.try_fold(image, |image, block| block.forward(&image, pass)))
    }
}

/// Mean over the patches: `(n, h, w, c)` to `(n, c)`.
struct Pool;

impl Stage for Pool {
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|image| Ok(image.f_mean_dim([1_i64, 2].as_slice(), false, Kind::Float)?))
    }
}

//! The Vision Transformer (Dosovitskiy et al. 2020, <https://arxiv.org/abs/2010.11929>) as in torchvision, for images of 224 pixels a side.
//! DeiT (Touvron et al. 2020, <https://arxiv.org/abs/2012.12877>) without a distillation token is the same network.
//!
//! An image becomes a row of patches behind a class token, and the state of that token is what a head reads. torchvision and timm keep query,
//! key and value in one matrix and add 1e-6 to a variance; transformers keeps three matrices and adds 1e-12. A file is computed as the
//! library computes whose names it has. As in the text models, there is no dropout inside, and no stochastic depth.

use firn_core::spec::Vit;
use serde_json::{Map, Value, json};
use tch::Tensor;

use super::Family;
use crate::{
    error::ModelError,
    layers::{
        activation::Activation,
        attention::attention,
        convolution::{Geometry, Unit},
        linear::Linear,
        norm::LayerNorm,
    },
    parameter_builder::{Initial, ParameterBuilder, Role},
    stage::{Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library, translated},
};

/// The usual standard deviation of weights without a file.
const DEVIATION: f64 = 0.02;

const DIALECTS: &[Dialect] = &[
    HUGGING_FACE,
    Dialect {
        anchor: "embeddings.cls_token",
        prefix: "",
        ..HUGGING_FACE
    },
    Dialect::renamed(
        Library::Timm,
        "cls_token",
        "",
        |name| vec![translated(name, TIMM)],
        "head",
    ),
    Dialect {
        // Files of torchvision 0.11 and before.
        names: |name| vec![name.to_owned(), translated(name, OLD_TORCHVISION)],
        ..Dialect::torchvision("class_token", "heads.head")
    },
];

const HUGGING_FACE: Dialect = Dialect::renamed(
    Library::HuggingFace,
    "vit.embeddings.cls_token",
    "vit.",
    |name| {
        let name = translated(name, HUGGING_FACE_OUTSIDE);
        // As transformers 5 names its layers, and as published files do.
        vec![translated(&name, HUGGING_FACE_5), translated(&name, HUGGING_FACE_FILES)]
    },
    "classifier",
);

const TIMM: &[(&str, &str)] = &[
    ("class_token", "cls_token"),
    ("encoder.pos_embedding", "pos_embed"),
    ("conv_proj", "patch_embed.proj"),
    ("encoder.layers.encoder_layer_", "blocks."),
    ("encoder.ln.", "norm."),
    ("ln_1", "norm1"),
    ("ln_2", "norm2"),
    ("self_attention.in_proj_", "attn.qkv."),
    ("self_attention.out_proj", "attn.proj"),
    ("mlp.0", "mlp.fc1"),
    ("mlp.3", "mlp.fc2"),
];

const OLD_TORCHVISION: &[(&str, &str)] = &[("mlp.0", "mlp.linear_1"), ("mlp.3", "mlp.linear_2")];

const HUGGING_FACE_OUTSIDE: &[(&str, &str)] = &[
    ("class_token", "embeddings.cls_token"),
    ("encoder.pos_embedding", "embeddings.position_embeddings"),
    ("conv_proj", "embeddings.patch_embeddings.projection"),
    ("encoder.ln.", "layernorm."),
    ("ln_1", "layernorm_before"),
    ("ln_2", "layernorm_after"),
];

const HUGGING_FACE_5: &[(&str, &str)] = &[
    ("encoder.layers.encoder_layer_", "layers."),
    ("self_attention.query", "attention.q_proj"),
    ("self_attention.key", "attention.k_proj"),
    ("self_attention.value", "attention.v_proj"),
    ("self_attention.out_proj", "attention.o_proj"),
    ("mlp.0", "mlp.fc1"),
    ("mlp.3", "mlp.fc2"),
];

const HUGGING_FACE_FILES: &[(&str, &str)] = &[
    ("encoder.layers.encoder_layer_", "encoder.layer."),
    ("self_attention.out_proj", "attention.output.dense"),
    ("self_attention.", "attention.attention."),
    ("mlp.0", "intermediate.dense"),
    ("mlp.3", "output.dense"),
];

/// What the library adds to a variance.
fn epsilon(library: Library) -> f64 {
    match library {
        Library::Torchvision | Library::Timm => 1e-6,
        Library::HuggingFace => 1e-12,
    }
}

fn norm(sizes: &Vit, name: &str, builder: &mut ParameterBuilder<'_>) -> Result<LayerNorm, ModelError> {
    let epsilon = epsilon(builder.library());
    LayerNorm::new(builder, name, sizes.width, epsilon)
}

impl Family for Vit {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        builder.enter(0);
        let mut stages: Stages = vec![Box::new(Embeddings::new(self, builder)?)];
        for layer in 0..self.layers {
            builder.enter(stages.len());
            let name = format!("encoder.layers.encoder_layer_{layer}");
            stages.push(Box::new(Layer::new(self, &name, builder)?));
        }
        builder.enter(stages.len());
        stages.push(Box::new(norm(self, "encoder.ln", builder)?));
        stages.push(Box::new(ClassToken));
        Ok(stages)
    }

    fn feature_width(&self) -> i64 {
        self.width
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    fn configuration(&self, library: Library) -> Map<String, Value> {
        if library != Library::HuggingFace {
            return Map::new();
        }
        let fields = json!({
            "model_type": "vit",
            "architectures": ["ViTForImageClassification"],
            "image_size": Vit::IMAGE,
            "patch_size": self.patch,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.wide(),
            "hidden_act": "gelu",
            "qkv_bias": true,
            "layer_norm_eps": epsilon(library),
        });
        fields.as_object().cloned().unwrap_or_default()
    }
}

/// Patches and their places behind the class token.
struct Embeddings {
    class_token: Tensor,
    patches: Unit,
    positions: Tensor,
}

impl Embeddings {
    fn new(sizes: &Vit, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let geometry = Geometry::square(3, sizes.width, sizes.patch, sizes.patch);
        let normal = Initial::Normal(DEVIATION);
        let class_token = builder.tensor("class_token", &[1, 1, sizes.width], Role::Parameter, Initial::Zeros)?;
        let places = [1, sizes.patches() + 1, sizes.width];
        Ok(Self {
            class_token,
            patches: Unit::plain(
                builder,
                "conv_proj",
                geometry.without_padding().with_bias(),
                Activation::None,
            )?,
            positions: builder.tensor("encoder.pos_embedding", &places, Role::Parameter, normal)?,
        })
    }
}

impl Stage for Embeddings {
    /// Pixels `(n, 3, h, w)` to states `(n, tokens, width)`.
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|pixels| {
            let patches = self
                .patches
                .forward(&pixels, false)?
                .f_flatten(2, -1)?
                .f_transpose(1, 2)?;
            let class_token = self.class_token.f_expand([patches.size()[0], -1, -1], false)?;
            Ok(Tensor::f_cat(&[class_token, patches], 1)?.f_add(&self.positions)?)
        })
    }
}

/// Query, key and value of a state.
enum Projections {
    Joint(Linear),
    Separate([Linear; 3]),
}

impl Projections {
    /// As the library keeps them.
    fn new(name: &str, width: i64, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        if builder.library() != Library::HuggingFace {
            let names = [format!("{name}.in_proj_weight"), format!("{name}.in_proj_bias")];
            return Ok(Self::Joint(Linear::named(
                builder,
                &names,
                [3 * width, width],
                DEVIATION,
            )?));
        }
        let mut linear = |part| Linear::new(builder, &format!("{name}.{part}"), [width, width], DEVIATION);
        Ok(Self::Separate([linear("query")?, linear("key")?, linear("value")?]))
    }

    fn forward(&self, states: &Tensor) -> Result<[Tensor; 3], ModelError> {
        match self {
            Self::Joint(linear) => {
                let parts = linear.forward(states)?.f_chunk(3, -1)?;
                Ok(parts.try_into().expect("three parts were asked for"))
            }
            Self::Separate([query, key, value]) => {
                Ok([query.forward(states)?, key.forward(states)?, value.forward(states)?])
            }
        }
    }
}

/// Normalise, attend and add; normalise, feed forward and add.
struct Layer {
    attention_norm: LayerNorm,
    projections: Projections,
    attention_output: Linear,
    wide_norm: LayerNorm,
    wide: Linear,
    output: Linear,
    heads: i64,
}

impl Layer {
    fn new(sizes: &Vit, prefix: &str, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let width = sizes.width;
        let name = |tail: &str| format!("{prefix}.{tail}");
        Ok(Self {
            attention_norm: norm(sizes, &name("ln_1"), builder)?,
            projections: Projections::new(&name("self_attention"), width, builder)?,
            attention_output: Linear::new(builder, &name("self_attention.out_proj"), [width, width], DEVIATION)?,
            wide_norm: norm(sizes, &name("ln_2"), builder)?,
            wide: Linear::new(builder, &name("mlp.0"), [sizes.wide(), width], DEVIATION)?,
            output: Linear::new(builder, &name("mlp.3"), [width, sizes.wide()], DEVIATION)?,
            heads: sizes.heads,
        })
    }
}

impl Stage for Layer {
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|states| {
            let [query, key, value] = self.projections.forward(&self.attention_norm.forward(&states)?)?;
            let context = attention([&query, &key, &value], None, self.heads)?;
            let states = states.f_add(&self.attention_output.forward(&context)?)?;
            let wide = self.wide.forward(&self.wide_norm.forward(&states)?)?.f_gelu("none")?;
            Ok(states.f_add(&self.output.forward(&wide)?)?)
        })
    }
}

/// States `(n, tokens, width)` to that of the class token, `(n, width)`.
struct ClassToken;

impl Stage for ClassToken {
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|states| Ok(states.f_select(1, 0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under the names that each library gives the tensors of the first layer.
    #[test]
    fn names_translate_to_those_of_the_libraries() {
        let names = |library, name: &str| {
            let dialect = DIALECTS.iter().find(|dialect| dialect.library == library).unwrap();
            (dialect.names)(name)
        };
        let layer = "encoder.layers.encoder_layer_0";
        for (name, timm) in [
            ("class_token", "cls_token"),
            ("encoder.pos_embedding", "pos_embed"),
            ("conv_proj.bias", "patch_embed.proj.bias"),
            ("encoder.ln.weight", "norm.weight"),
            ("ln_1.weight", "blocks.0.norm1.weight"),
            ("ln_2.bias", "blocks.0.norm2.bias"),
            ("self_attention.in_proj_weight", "blocks.0.attn.qkv.weight"),
            ("self_attention.in_proj_bias", "blocks.0.attn.qkv.bias"),
            ("self_attention.out_proj.bias", "blocks.0.attn.proj.bias"),
            ("mlp.0.weight", "blocks.0.mlp.fc1.weight"),
            ("mlp.3.weight", "blocks.0.mlp.fc2.weight"),
        ] {
            let name = if timm.starts_with("blocks") {
                format!("{layer}.{name}")
            } else {
                name.to_owned()
            };
            assert_eq!(names(Library::Timm, &name), [timm]);
        }
        for (name, files) in [
            ("self_attention.query.weight", "attention.attention.query.weight"),
            ("self_attention.out_proj.bias", "attention.output.dense.bias"),
            ("ln_2.bias", "layernorm_after.bias"),
            ("mlp.0.weight", "intermediate.dense.weight"),
            ("mlp.3.bias", "output.dense.bias"),
        ] {
            let found = names(Library::HuggingFace, &format!("{layer}.{name}"));
            assert_eq!(found[1], format!("encoder.layer.0.{files}"));
        }
    }
}

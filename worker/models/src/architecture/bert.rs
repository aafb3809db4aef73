//! The BERT encoder (Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>) as Hugging Face's `BertModel`, MiniLM included.
//!
//! There is no dropout inside the encoder, not even above the cut: a mask for every attention weight of every sample would have to
//! be independent of the rank, and with a short fine-tuning the head's dropout regularises enough.

use firn_core::spec::{Architecture, ModelSpec, Pooling};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use super::{
    Family,
    configuration::{Configuration, describe},
};
use crate::{
    error::ModelError,
    layers::{attention::attention, linear::Linear, norm::LayerNorm, pooling::TokenPool},
    parameter_builder::{Initial, ParameterBuilder, Role},
    stage::{Features, Pass, Stage, Stages},
    weights::naming::Dialect,
};

/// Sizes of an encoder: the fields of Hugging Face's `config.json` that it is built from; BERT-base's where one is left out, as
/// `transformers.Sizes` does.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Sizes {
    vocab_size: i64,
    hidden_size: i64,
    num_hidden_layers: usize,
    num_attention_heads: i64,
    intermediate_size: i64,
    max_position_embeddings: i64,
    type_vocab_size: i64,
    layer_norm_eps: f64,
    initializer_range: f64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            initializer_range: 0.02,
        }
    }
}

impl Sizes {
    /// Reads and checks a `config.json`; anything that would make another model than ours is an error.
    fn read(configuration: &Configuration) -> Result<Self, ModelError> {
        for (field, accepted) in [
            ("model_type", "bert"),
            ("hidden_act", "gelu"),
            ("position_embedding_type", "absolute"),
        ] {
            configuration.require(field, &accepted.into())?;
        }
        let sizes: Self = configuration.parse("the sizes of a BERT encoder")?;
        configuration.check_sizes(&[
            ("vocab_size", sizes.vocab_size),
            ("hidden_size", sizes.hidden_size),
            ("num_hidden_layers", sizes.num_hidden_layers as i64),
            ("num_attention_heads", sizes.num_attention_heads),
            ("intermediate_size", sizes.intermediate_size),
            ("max_position_embeddings", sizes.max_position_embeddings),
            ("type_vocab_size", sizes.type_vocab_size),
        ])?;
        let heads = ("num_attention_heads", sizes.num_attention_heads);
        configuration.check_heads(("hidden_size", sizes.hidden_size), heads)?;
        Ok(sizes)
    }
}

/// An encoder with its pooling.
struct Bert {
    sizes: Sizes,
    pooling: Pooling,
}

pub(super) fn of(spec: &ModelSpec) -> Result<Option<Box<dyn Family>>, ModelError> {
    if spec.architecture != Architecture::Bert {
        return Ok(None);
    }
    Ok(Some(Box::new(Bert {
        sizes: Configuration::sizes(spec, Sizes::read)?,
        pooling: spec.pooling,
    })))
}

/// The prefix `bert.` is missing in files of sentence encoders; old files say `gamma` and `beta` in `LayerNorm`.
const DIALECTS: &[Dialect] = &[
    Dialect {
        anchor: "bert.embeddings.word_embeddings.weight",
        prefix: "bert.",
        exported_prefix: "bert.",
        ..OWN
    },
    OWN,
];

const OWN: Dialect = Dialect {
    anchor: "embeddings.word_embeddings.weight",
    prefix: "",
    exported_prefix: "",
    names: |name| {
        let old = name
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta");
        if old == name {
            vec![old]
        } else {
            vec![name.to_owned(), old]
        }
    },
    head: "classifier",
    keeps_extras: true,
};

impl Family for Bert {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        let sizes = &self.sizes;
        builder.enter(0);
        let mut stages: Stages = vec![Box::new(Embeddings::new(sizes, builder)?)];
        for layer in 0..sizes.num_hidden_layers {
            builder.enter(layer + 1);
            stages.push(Box::new(EncoderLayer::new(
                sizes,
                &format!("encoder.layer.{layer}"),
                builder,
            )?));
        }
        stages.push(Box::new(TokenPool(self.pooling)));
        Ok(stages)
    }

    fn feature_width(&self) -> i64 {
        self.sizes.hidden_size
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    fn layers(&self) -> usize {
        self.sizes.num_hidden_layers
    }

    fn longest_text(&self) -> Option<u32> {
        u32::try_from(self.sizes.max_position_embeddings).ok()
    }

    fn vocabulary(&self) -> Option<u32> {
        u32::try_from(self.sizes.vocab_size).ok()
    }

    fn configuration(&self) -> Map<String, Value> {
        let fields = json!({
            "model_type": "bert",
            "hidden_act": "gelu",
            "position_embedding_type": "absolute",
            "pooling": self.pooling,
        });
        describe(fields, &self.sizes)
    }
}

/// Word, position and token-type embeddings, summed and normalised. Every token is of type 0: Firn feeds single texts.
struct Embeddings {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: LayerNorm,
}

impl Embeddings {
    fn new(config: &Sizes, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let mut table = |name: &str, rows| {
            let initial = Initial::Normal(config.initializer_range);
            builder.tensor(
                &format!("embeddings.{name}.weight"),
                &[rows, config.hidden_size],
                Role::Parameter,
                initial,
            )
        };
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            types: table("token_type_embeddings", config.type_vocab_size)?,
            norm: layer_norm(config, "embeddings.LayerNorm", builder)?,
        })
    }
}

impl Stage for Embeddings {
    /// Token ids `(n, tokens)` to states `(n, tokens, hidden)`.
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|ids| {
            let (_, tokens) = ids.size2()?;
            let words = Tensor::f_embedding(&self.words, &ids, -1, false, false)?;
            let positions = self.positions.f_narrow(0, 0, tokens)?;
            self.norm
                .forward(&words.f_add(&self.types.f_select(0, 0)?)?.f_add(&positions)?)
        })
    }
}

/// One layer: self-attention and a feed-forward part, each added to its input and normalised.
struct EncoderLayer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    heads: i64,
}

impl EncoderLayer {
    fn new(config: &Sizes, prefix: &str, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let mut linear = |name: &str, inputs, outputs| {
            Linear::new(
                builder,
                &format!("{prefix}.{name}"),
                [outputs, inputs],
                config.initializer_range,
            )
        };
        let query = linear("attention.self.query", hidden, hidden)?;
        let key = linear("attention.self.key", hidden, hidden)?;
        let value = linear("attention.self.value", hidden, hidden)?;
        let attention_output = linear("attention.output.dense", hidden, hidden)?;
        let intermediate = linear("intermediate.dense", hidden, wide)?;
        let output = linear("output.dense", wide, hidden)?;
        let attention_norm = layer_norm(config, &format!("{prefix}.attention.output.LayerNorm"), builder)?;
        let output_norm = layer_norm(config, &format!("{prefix}.output.LayerNorm"), builder)?;
        let heads = config.num_attention_heads;
        Ok(Self {
            query,
            key,
            value,
            attention_output,
            attention_norm,
            intermediate,
            output,
            output_norm,
            heads,
        })
    }
}

impl Stage for EncoderLayer {
    /// States `(n, tokens, hidden)`, mask `(n, tokens)`; padding is attended to by nobody.
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        let states = &input.tensor;
        let (batch, tokens, _) = states.size3()?;
        let query = self.query.forward(states)?;
        let key = self.key.forward(states)?;
        let value = self.value.forward(states)?;
        let mask = input
            .needed_mask()?
            .f_to_kind(Kind::Bool)?
            .f_view([batch, 1, 1, tokens])?;
        let context = attention([&query, &key, &value], &mask, self.heads)?;
        let attended = self
            .attention_norm
            .forward(&self.attention_output.forward(&context)?.f_add(states)?)?;
        let wide = self.intermediate.forward(&attended)?.f_gelu("none")?;
        let output = self.output.forward(&wide)?.f_add(&attended)?;
        let output = self.output_norm.forward(&output)?;
        input.map(|_| Ok(output))
    }
}

fn layer_norm(config: &Sizes, name: &str, builder: &mut ParameterBuilder<'_>) -> Result<LayerNorm, ModelError> {
    LayerNorm::new(builder, name, config.hidden_size, config.layer_norm_eps)
}

//! The BERT encoder (Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>) as Hugging Face's `BertModel`, MiniLM included.
//!
//! There is no dropout inside the encoder, not even above the cut: a mask for every attention weight of every sample would have to
//! be independent of the rank, and with a short fine-tuning the head's dropout regularises enough.

use std::path::Path;

use firn_core::spec::Pooling;
use serde::Deserialize;
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::{
    assembly::{Assembly, Initial, Role},
    error::ModelError,
    stage::Stage,
};

/// Sizes of an encoder: the fields of Hugging Face's `config.json` that it is built from; BERT-base's where one is left out, as
/// `transformers.BertConfig` does.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct BertConfig {
    pub(crate) vocab_size: i64,
    pub(crate) hidden_size: i64,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: i64,
    pub(crate) intermediate_size: i64,
    pub(crate) max_position_embeddings: i64,
    pub(crate) type_vocab_size: i64,
    pub(crate) layer_norm_eps: f64,
    pub(crate) initializer_range: f64,
}

impl Default for BertConfig {
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

impl BertConfig {
    /// Reads and checks a `config.json`; anything that would make another model than ours is an error.
    pub(crate) fn read(path: &Path) -> Result<Self, ModelError> {
        let fail = |field: &str, expected: &str, found: String| ModelError::Config {
            path: path.to_path_buf(),
            field: field.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let text = std::fs::read_to_string(path).map_err(|source| ModelError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let value: Value = serde_json::from_str(&text).map_err(|error| fail("", "a JSON object", error.to_string()))?;
        for (field, accepted) in [
            ("model_type", "bert"),
            ("hidden_act", "gelu"),
            ("position_embedding_type", "absolute"),
        ] {
            if let Some(found) = value.get(field).filter(|found| found.as_str() != Some(accepted)) {
                return Err(fail(field, &format!("`{accepted}`"), found.to_string()));
            }
        }
        let config: Self = serde_json::from_value(value)
            .map_err(|error| fail("", "the sizes of a BERT encoder", error.to_string()))?;
        let sizes = [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers as i64),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
            ("max_position_embeddings", config.max_position_embeddings),
            ("type_vocab_size", config.type_vocab_size),
        ];
        for (field, size) in sizes {
            if !(1..1 << 24).contains(&size) {
                return Err(fail(field, "a whole number from 1 to 16777215", size.to_string()));
            }
        }
        if config.hidden_size % config.num_attention_heads != 0 {
            let found = format!("{} with {} heads", config.hidden_size, config.num_attention_heads);
            return Err(fail("hidden_size", "a multiple of num_attention_heads", found));
        }
        Ok(config)
    }
}

/// `embeddings`, `layer.0` … , `pool`.
pub(crate) fn stage_names(config: &BertConfig) -> Vec<String> {
    let layers = (0..config.num_hidden_layers).map(|layer| format!("layer.{layer}"));
    std::iter::once("embeddings".to_owned())
        .chain(layers)
        .chain(std::iter::once("pool".to_owned()))
        .collect()
}

pub(crate) fn build(
    config: &BertConfig,
    pooling: Pooling,
    assembly: &mut Assembly<'_>,
) -> Result<Vec<Stage>, ModelError> {
    assembly.enter(0);
    let mut stages = vec![Stage::Embeddings(Embeddings::new(config, assembly)?)];
    for layer in 0..config.num_hidden_layers {
        assembly.enter(layer + 1);
        stages.push(Stage::Encoder(EncoderLayer::new(
            config,
            &format!("encoder.layer.{layer}"),
            assembly,
        )?));
    }
    stages.push(Stage::TokenPool(pooling));
    Ok(stages)
}

/// Word, position and token-type embeddings, summed and normalised. Every token is of type 0: Firn feeds single texts.
pub(crate) struct Embeddings {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: LayerNorm,
}

impl Embeddings {
    fn new(config: &BertConfig, assembly: &mut Assembly<'_>) -> Result<Self, ModelError> {
        let mut table = |name: &str, rows| {
            let initial = Initial::Normal(config.initializer_range);
            assembly.tensor(
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
            norm: LayerNorm::new(config, "embeddings.LayerNorm", assembly)?,
        })
    }

    /// Token ids `(n, tokens)` to states `(n, tokens, hidden)`.
    pub(crate) fn forward(&self, ids: &Tensor) -> Result<Tensor, ModelError> {
        let (_, tokens) = ids.size2()?;
        let words = Tensor::f_embedding(&self.words, ids, -1, false, false)?;
        let positions = self.positions.f_narrow(0, 0, tokens)?;
        self.norm
            .forward(&words.f_add(&self.types.f_select(0, 0)?)?.f_add(&positions)?)
    }
}

/// One layer: self-attention and a feed-forward part, each added to its input and normalised.
pub(crate) struct EncoderLayer {
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
    fn new(config: &BertConfig, prefix: &str, assembly: &mut Assembly<'_>) -> Result<Self, ModelError> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let mut linear = |name: &str, inputs, outputs| {
            Linear::new(
                assembly,
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
        let attention_norm = LayerNorm::new(config, &format!("{prefix}.attention.output.LayerNorm"), assembly)?;
        let output_norm = LayerNorm::new(config, &format!("{prefix}.output.LayerNorm"), assembly)?;
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

    /// States `(n, tokens, hidden)`, mask `(n, tokens)`; padding is attended to by nobody.
    pub(crate) fn forward(&self, states: &Tensor, mask: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, tokens, hidden) = states.size3()?;
        let split = |tensor: Tensor| {
            tensor
                .f_view([batch, tokens, self.heads, hidden / self.heads])?
                .f_transpose(1, 2)
        };
        let query = split(self.query.forward(states)?)?;
        let key = split(self.key.forward(states)?)?;
        let value = split(self.value.forward(states)?)?;
        let mask = mask.f_to_kind(Kind::Bool)?.f_view([batch, 1, 1, tokens])?;
        let context =
            Tensor::f_scaled_dot_product_attention(&query, &key, &value, Some(&mask), 0.0, false, None::<f64>, false)?;
        let context = context.f_transpose(1, 2)?.f_reshape([batch, tokens, hidden])?;
        let attention = self
            .attention_norm
            .forward(&self.attention_output.forward(&context)?.f_add(states)?)?;
        let wide = self.intermediate.forward(&attention)?.f_gelu("none")?;
        self.output_norm
            .forward(&self.output.forward(&wide)?.f_add(&attention)?)
    }
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// `shape`: outputs, inputs.
    fn new(assembly: &mut Assembly<'_>, name: &str, shape: [i64; 2], deviation: f64) -> Result<Self, ModelError> {
        let initial = Initial::Normal(deviation);
        Ok(Self {
            weight: assembly.tensor(&format!("{name}.weight"), &shape, Role::Parameter, initial)?,
            bias: assembly.tensor(&format!("{name}.bias"), &shape[..1], Role::Parameter, Initial::Zeros)?,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor, ModelError> {
        Ok(input.f_linear(&self.weight, Some(&self.bias))?)
    }
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    fn new(config: &BertConfig, name: &str, assembly: &mut Assembly<'_>) -> Result<Self, ModelError> {
        let shape = [config.hidden_size];
        Ok(Self {
            weight: assembly.tensor(&format!("{name}.weight"), &shape, Role::Parameter, Initial::Ones)?,
            bias: assembly.tensor(&format!("{name}.bias"), &shape, Role::Parameter, Initial::Zeros)?,
            epsilon: config.layer_norm_eps,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor, ModelError> {
        let shape = self.weight.size();
        Ok(input.f_layer_norm(&shape, Some(&self.weight), Some(&self.bias), self.epsilon, true)?)
    }
}

//! Decoders of the kind of Llama (Touvron et al. 2023, <https://arxiv.org/abs/2302.13971>), under the names of transformers' `LlamaModel`: norms by
//! the mean of squares, rotary positions, fewer heads of keys and values than of queries, and a gated feed-forward part (SwiGLU, Shazeer 2020,
//! <https://arxiv.org/abs/2002.05202>). Qwen2 adds a number to queries, keys and values; Qwen3 normalises each head of queries and keys.
//!
//! As in GPT-2 the last token that is not padding has seen the whole text, so it is what a head reads, and the head has no bias. Only
//! differences of places count, so padding on the left and on the right give the same.

mod sizes;

use firn_core::spec::{DecoderKind, ModelSpec, Pooling};
use serde_json::{Map, Value};
use tch::Tensor;

use self::sizes::Decoder as Sizes;
use super::{Family, Opened, configuration::Configuration, opened::READS_LAST_TOKEN};
use crate::{
    error::ModelError,
    layers::{
        attention::{attend, causal, split_heads},
        linear::Linear,
        pooling::TokenPool,
        rms_norm::RmsNorm,
        rotary::Rotary,
    },
    parameter_builder::{Initial, NamedTensor, ParameterBuilder, Role},
    stage::{Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library},
};

/// A network with its pooling.
pub(super) struct Decoder {
    sizes: Sizes,
    pooling: Pooling,
}

impl Decoder {
    pub(super) fn of(kind: DecoderKind, spec: &ModelSpec) -> Result<Self, ModelError> {
        let configuration = Configuration::of(spec)?;
        let sizes = configuration.map(|configuration| Sizes::read(kind, &configuration));
        Ok(Self {
            sizes: sizes.transpose()?.unwrap_or_else(|| Sizes::smallest(kind)),
            pooling: spec.pooling,
        })
    }
}

/// Files of language models and of classifiers have the prefix, those of the bare model have not.
const DIALECTS: &[Dialect] = &[
    Dialect {
        anchor: "model.embed_tokens.weight",
        prefix: "model.",
        ..OWN
    },
    OWN,
];

const OWN: Dialect = Dialect {
    library: Library::HuggingFace,
    anchor: "embed_tokens.weight",
    prefix: "",
    exported_prefix: "model.",
    names: |name| vec![name.to_owned()],
    head: "score",
    // What else a file holds is the output layer of the language model, and the speeds of rotary positions in old files.
    keeps_extras: false,
};

impl Family for Decoder {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        let Sizes { sizes, .. } = &self.sizes;
        builder.enter(0);
        let mut stages: Stages = vec![Box::new(Embeddings::new(&self.sizes, builder)?)];
        for layer in 0..sizes.num_hidden_layers {
            builder.enter(layer + 1);
            stages.push(Box::new(Layer::new(&self.sizes, &format!("layers.{layer}"), builder)?));
        }
        builder.enter(stages.len());
        let norm = RmsNorm::new(builder, "norm", sizes.hidden_size, sizes.rms_norm_eps)?;
        stages.push(Box::new(norm));
        stages.push(Box::new(TokenPool(self.pooling)));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(self.sizes.sizes.hidden_size)
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    fn layers(&self) -> usize {
        self.sizes.sizes.num_hidden_layers
    }

    fn longest_text(&self) -> Option<u32> {
        self.sizes.longest_text()
    }

    fn vocabulary(&self) -> Option<u32> {
        self.sizes.vocabulary()
    }

    fn head_has_bias(&self) -> bool {
        self.pooling == Pooling::None
    }

    fn opened(&self, _: Library, _: &[NamedTensor]) -> Option<Opened> {
        Some(match self.pooling {
            Pooling::Last => Opened::ByClass(self.sizes.class()),
            Pooling::None => Opened::ByClass(self.sizes.tagging_class()),
            _ => Opened::WithoutHead(READS_LAST_TOKEN.to_owned()),
        })
    }

    fn configuration(&self, _: Library) -> Map<String, Value> {
        let mut fields = self.sizes.described();
        fields.insert("pooling".to_owned(), serde_json::json!(self.pooling));
        fields
    }
}

/// The embeddings of words; positions are not added but turned by, in each layer.
struct Embeddings {
    words: Tensor,
}

impl Embeddings {
    fn new(sizes: &Sizes, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let rows = sizes.vocabulary().map_or(0, i64::from);
        let initial = Initial::Normal(sizes.sizes.initializer_range);
        let shape = [rows, sizes.sizes.hidden_size];
        Ok(Self {
            words: builder.tensor("embed_tokens.weight", &shape, Role::Parameter, initial)?,
        })
    }
}

impl Stage for Embeddings {
    /// Token ids `(n, tokens)` to states `(n, tokens, width)`.
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|ids| Ok(Tensor::f_embedding(&self.words, &ids, -1, false, false)?))
    }
}

/// Normalise, attend and add; normalise, feed forward and add.
struct Layer {
    attention_norm: RmsNorm,
    attention: Attention,
    wide_norm: RmsNorm,
    /// What each number of the wide part is multiplied by, before SiLU.
    gate: Linear,
    wide: Linear,
    output: Linear,
}

/// A linear layer, with a bias or without.
fn linear(
    builder: &mut ParameterBuilder<'_>,
    name: &str,
    shape: [i64; 2],
    (deviation, has_bias): (f64, bool),
) -> Result<Linear, ModelError> {
    match has_bias {
        true => Linear::new(builder, name, shape, deviation),
        false => Linear::without_bias(builder, name, shape, deviation),
    }
}

impl Layer {
    fn new(network: &Sizes, prefix: &str, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let sizes = &network.sizes;
        let (width, wide) = (sizes.hidden_size, sizes.intermediate_size);
        let form = (
            sizes.initializer_range,
            sizes.mlp_bias && network.kind == DecoderKind::Llama,
        );
        let name = |tail: &str| format!("{prefix}.{tail}");
        let norm = |builder: &mut ParameterBuilder<'_>, tail: &str| {
            RmsNorm::new(builder, &name(tail), width, sizes.rms_norm_eps)
        };
        Ok(Self {
            attention_norm: norm(builder, "input_layernorm")?,
            attention: Attention::new(network, &name("self_attn"), builder)?,
            wide_norm: norm(builder, "post_attention_layernorm")?,
            gate: linear(builder, &name("mlp.gate_proj"), [wide, width], form)?,
            wide: linear(builder, &name("mlp.up_proj"), [wide, width], form)?,
            output: linear(builder, &name("mlp.down_proj"), [width, wide], form)?,
        })
    }
}

impl Stage for Layer {
    /// States `(n, tokens, width)`, mask `(n, tokens)`.
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        let visible = causal(input.needed_mask()?)?;
        input.map(|states| {
            let normalised = self.attention_norm.forward(&states)?;
            let attended = self.attention.forward(&normalised, &visible, pass)?;
            let states = states.f_add(&attended)?;
            let normalised = self.wide_norm.forward(&states)?;
            let gate = self.gate.forward(&normalised, pass)?.f_silu()?;
            let wide = gate.f_mul(&self.wide.forward(&normalised, pass)?)?;
            Ok(states.f_add(&self.output.forward(&wide, pass)?)?)
        })
    }
}

/// Queries that look at keys before them; several heads of queries share one of keys and values.
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Of each head of queries and of keys.
    norms: Option<[RmsNorm; 2]>,
    rotary: Rotary,
    heads: i64,
    groups: i64,
}

impl Attention {
    fn new(network: &Sizes, prefix: &str, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let sizes = &network.sizes;
        let (width, head) = (sizes.hidden_size, network.head_width());
        let (heads, groups) = (sizes.num_attention_heads, network.groups());
        let deviation = sizes.initializer_range;
        let [inputs, outputs] = match network.kind {
            DecoderKind::Qwen2 => [true, false],
            DecoderKind::Llama | DecoderKind::Qwen3 => [sizes.attention_bias; 2],
        };
        let name = |tail: &str| format!("{prefix}.{tail}");
        let mut norm = |tail: &str| RmsNorm::new(builder, &name(tail), head, sizes.rms_norm_eps);
        let norms = match network.kind {
            DecoderKind::Qwen3 => Some([norm("q_norm")?, norm("k_norm")?]),
            DecoderKind::Llama | DecoderKind::Qwen2 => None,
        };
        let inner = (deviation, inputs);
        Ok(Self {
            query: linear(builder, &name("q_proj"), [heads * head, width], inner)?,
            key: linear(builder, &name("k_proj"), [groups * head, width], inner)?,
            value: linear(builder, &name("v_proj"), [groups * head, width], inner)?,
            output: linear(builder, &name("o_proj"), [width, heads * head], (deviation, outputs))?,
            norms,
            rotary: network.rotary.clone(),
            heads,
            groups,
        })
    }

    /// States `(n, tokens, width)`; `visible`: which keys a query may look at.
    fn forward(&self, states: &Tensor, visible: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let mut query = split_heads(&self.query.forward(states, pass)?, self.heads)?;
        let mut key = split_heads(&self.key.forward(states, pass)?, self.groups)?;
        let value = split_heads(&self.value.forward(states, pass)?, self.groups)?;
        if let Some([of_queries, of_keys]) = &self.norms {
            (query, key) = (of_queries.forward(&query)?, of_keys.forward(&key)?);
        }
        let (_, _, tokens, width) = query.size4()?;
        let turns = self.rotary.turns(tokens, width, states.device())?;
        let context = attend([&turns.apply(&query)?, &turns.apply(&key)?, &value], Some(visible))?;
        self.output.forward(&context, pass)
    }
}

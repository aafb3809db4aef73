//! GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners") as Hugging Face's `GPT2Model`.
//!
//! A token sees itself and what stands before it, so the last token that is not padding has seen the whole text: it is what a head reads.
//! Positions are counted over the tokens that are not padding, so padding on the left and on the right give the same.
//! `GPT2ForSequenceClassification` has no bias in its head, so neither has ours.
//!
//! Where the spec asks for it, units are dropped in the stages that train as transformers does: of the embeddings, of attention weights, and of what a layer adds.

use firn_core::spec::{ModelSpec, Pooling};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use super::{
    Family, Opened,
    configuration::{Configuration, describe},
    opened::READS_LAST_TOKEN,
};
use crate::{
    error::ModelError,
    layers::{
        attention::{DroppedWeights, attention_with_dropout, causal},
        dropout::{Probabilities, drop_states},
        linear::Linear,
        norm::LayerNorm,
        pooling::TokenPool,
    },
    parameter_builder::{Initial, NamedTensor, ParameterBuilder, Role},
    stage::{Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library},
};

/// The fields of Hugging Face's `config.json` that the network is built from; those of the smallest GPT-2 where one is left out, as
/// `transformers.GPT2Config` does.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Sizes {
    vocab_size: i64,
    n_positions: i64,
    n_embd: i64,
    n_layer: usize,
    n_head: i64,
    /// Width of the feed-forward part; four times `n_embd` where none is given.
    n_inner: Option<i64>,
    layer_norm_epsilon: f64,
    initializer_range: f64,
    embd_pdrop: f64,
    attn_pdrop: f64,
    resid_pdrop: f64,
    /// Ends a text; pads where `pad_token_id` is not given.
    eos_token_id: Option<i64>,
    /// transformers finds the last token by it.
    pad_token_id: Option<i64>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            resid_pdrop: 0.1,
            eos_token_id: Some(50_256),
            pad_token_id: None,
        }
    }
}

impl Sizes {
    /// Reads and checks a `config.json`; anything that would make another model than ours is an error.
    fn read(configuration: &Configuration) -> Result<Self, ModelError> {
        for (field, accepted) in [
            ("model_type", json!("gpt2")),
            ("activation_function", json!("gelu_new")),
            ("scale_attn_weights", json!(true)),
            ("scale_attn_by_inverse_layer_idx", json!(false)),
            ("add_cross_attention", json!(false)),
        ] {
            configuration.require(field, &accepted)?;
        }
        let sizes: Self = configuration.parse("the sizes of a GPT-2")?;
        configuration.check_sizes(&[
            ("vocab_size", sizes.vocab_size),
            ("n_positions", sizes.n_positions),
            ("n_embd", sizes.n_embd),
            ("n_layer", sizes.n_layer as i64),
            ("n_head", sizes.n_head),
            ("n_inner", sizes.inner()),
        ])?;
        configuration.check_heads(("n_embd", sizes.n_embd), ("n_head", sizes.n_head))?;
        configuration.check_probabilities(&[
            ("embd_pdrop", sizes.embd_pdrop),
            ("attn_pdrop", sizes.attn_pdrop),
            ("resid_pdrop", sizes.resid_pdrop),
        ])?;
        Ok(sizes)
    }

    fn inner(&self) -> i64 {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    fn norm(&self, name: &str, builder: &mut ParameterBuilder<'_>) -> Result<LayerNorm, ModelError> {
        LayerNorm::new(builder, name, self.n_embd, self.layer_norm_epsilon)
    }
}

/// A network with its pooling.
pub(super) struct Gpt2 {
    sizes: Sizes,
    pooling: Pooling,
    drops: Drops,
}

/// How often units are dropped in training.
#[derive(Clone, Copy, Default)]
struct Drops {
    embeddings: f64,
    layers: Probabilities,
}

impl Gpt2 {
    pub(super) fn of(spec: &ModelSpec) -> Result<Self, ModelError> {
        let sizes = Configuration::sizes(spec, Sizes::read)?;
        let of = |states, attention| Probabilities::of(spec, Probabilities { states, attention });
        let drops = Drops {
            embeddings: of(sizes.embd_pdrop, 0.0).states,
            layers: of(sizes.resid_pdrop, sizes.attn_pdrop),
        };
        Ok(Self {
            sizes,
            pooling: spec.pooling,
            drops,
        })
    }
}

/// Files of language models have the prefix, the first published ones have not; `GPT2ForSequenceClassification` insists on it.
const DIALECTS: &[Dialect] = &[
    Dialect {
        anchor: "transformer.wte.weight",
        prefix: "transformer.",
        ..OWN
    },
    OWN,
];

const OWN: Dialect = Dialect {
    library: Library::HuggingFace,
    anchor: "wte.weight",
    prefix: "",
    exported_prefix: "transformer.",
    names: |name| vec![name.to_owned()],
    head: "score",
    // What else a file holds are the causal masks and the output layer of the language model, which a classifier has not.
    keeps_extras: false,
};

impl Family for Gpt2 {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        let sizes = &self.sizes;
        builder.enter(0);
        let mut stages: Stages = vec![Box::new(Embeddings::new(self, builder)?)];
        for layer in 0..sizes.n_layer {
            builder.enter(layer + 1);
            stages.push(Box::new(Layer::new(self, format!("h.{layer}"), builder)?));
        }
        builder.enter(stages.len());
        stages.push(Box::new(sizes.norm("ln_f", builder)?));
        stages.push(Box::new(TokenPool(self.pooling)));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(self.sizes.n_embd)
    }

    fn dialects(&self) -> &'static [Dialect] {
        DIALECTS
    }

    fn layers(&self) -> usize {
        self.sizes.n_layer
    }

    fn longest_text(&self) -> Option<u32> {
        u32::try_from(self.sizes.n_positions).ok()
    }

    fn vocabulary(&self) -> Option<u32> {
        u32::try_from(self.sizes.vocab_size).ok()
    }

    fn head_has_bias(&self) -> bool {
        self.pooling == Pooling::None
    }

    fn output_layer(&self) -> Option<&'static str> {
        (self.pooling == Pooling::None).then_some("classifier")
    }

    fn opened(&self, _: Library, _: &[NamedTensor]) -> Option<Opened> {
        Some(match self.pooling {
            Pooling::Last => Opened::ByClass("GPT2ForSequenceClassification"),
            Pooling::None => Opened::ByClass("GPT2ForTokenClassification"),
            _ => Opened::WithoutHead(READS_LAST_TOKEN.to_owned()),
        })
    }

    fn configuration(&self, _: Library) -> Map<String, Value> {
        let fields = json!({
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "pooling": self.pooling,
        });
        let mut fields = describe(fields, &self.sizes);
        fields["pad_token_id"] = self.sizes.pad_token_id.or(self.sizes.eos_token_id).into();
        fields
    }
}

/// Word and position embeddings, summed.
struct Embeddings {
    words: Tensor,
    positions: Tensor,
    dropout: f64,
}

impl Embeddings {
    fn new(network: &Gpt2, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let sizes = &network.sizes;
        let mut table = |name: &str, rows| {
            let initial = Initial::Normal(sizes.initializer_range);
            builder.tensor(name, &[rows, sizes.n_embd], Role::Parameter, initial)
        };
        Ok(Self {
            words: table("wte.weight", sizes.vocab_size)?,
            positions: table("wpe.weight", sizes.n_positions)?,
            dropout: network.drops.embeddings,
        })
    }
}

impl Stage for Embeddings {
    /// Token ids `(n, tokens)` to states `(n, tokens, width)`. A token's position is the number of tokens before it that are not padding.
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        let places = input.needed_mask()?.f_cumsum(1, Kind::Int64)?;
        let places = places.f_sub_scalar(1)?.f_clamp_min(0)?;
        let positions = Tensor::f_embedding(&self.positions, &places, -1, false, false)?;
        input.map(|ids| {
            let words = Tensor::f_embedding(&self.words, &ids, -1, false, false)?;
            drop_states(words.f_add(&positions)?, self.dropout, "embeddings", pass.dropout)
        })
    }
}

/// Normalise, attend and add; normalise, feed forward and add.
struct Layer {
    attention_norm: LayerNorm,
    query_key_value: Linear,
    attention_output: Linear,
    wide_norm: LayerNorm,
    wide: Linear,
    output: Linear,
    heads: i64,
    /// Names of what drops units: attention weights, what attention adds, what the feed-forward part adds.
    drops: [String; 3],
    dropout: Probabilities,
}

impl Layer {
    fn new(network: &Gpt2, prefix: String, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let sizes = &network.sizes;
        let (width, inner) = (sizes.n_embd, sizes.inner());
        let deviation = sizes.initializer_range;
        // transformers makes what is added to the states smaller, the more layers there are.
        let added = deviation / (2.0 * sizes.n_layer as f64).sqrt();
        let name = |tail: &str| format!("{prefix}.{tail}");
        Ok(Self {
            attention_norm: sizes.norm(&name("ln_1"), builder)?,
            query_key_value: Linear::transposed(builder, &name("attn.c_attn"), [3 * width, width], deviation)?,
            attention_output: Linear::transposed(builder, &name("attn.c_proj"), [width, width], added)?,
            wide_norm: sizes.norm(&name("ln_2"), builder)?,
            wide: Linear::transposed(builder, &name("mlp.c_fc"), [inner, width], deviation)?,
            output: Linear::transposed(builder, &name("mlp.c_proj"), [width, inner], added)?,
            heads: sizes.n_head,
            drops: ["attn", "attn.c_proj", "mlp"].map(name),
            dropout: network.drops.layers,
        })
    }
}

impl Stage for Layer {
    /// States `(n, tokens, width)`, mask `(n, tokens)`.
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        let visible = causal(input.needed_mask()?)?;
        input.map(|states| {
            let normalised = self.attention_norm.forward(&states)?;
            let parts = self.query_key_value.forward(&normalised, pass)?.f_chunk(3, -1)?;
            let [weights, added, output_added] = &self.drops;
            let dropped = DroppedWeights {
                probability: self.dropout.attention,
                layer: weights,
                dropout: pass.dropout,
            };
            let parts = [&parts[0], &parts[1], &parts[2]];
            let context = attention_with_dropout(parts, &visible, self.heads, &dropped)?;
            let attended = self.attention_output.forward(&context, pass)?;
            let states = states.f_add(&drop_states(attended, self.dropout.states, added, pass.dropout)?)?;
            let normalised = self.wide_norm.forward(&states)?;
            let wide = self.wide.forward(&normalised, pass)?.f_gelu("tanh")?;
            let output = self.output.forward(&wide, pass)?;
            Ok(states.f_add(&drop_states(output, self.dropout.states, output_added, pass.dropout)?)?)
        })
    }
}

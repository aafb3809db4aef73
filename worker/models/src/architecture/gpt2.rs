//! GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners") as Hugging Face's `GPT2Model`.
//!
//! A token sees itself and what stands before it, so the last token that is not padding has seen the whole text: it is what a head reads.
//! Positions are counted over the tokens that are not padding, so padding on the left and on the right give the same.
//! `GPT2ForSequenceClassification` has no bias in its head, so neither has ours. As in every text model here, there is no dropout inside.

use firn_core::spec::{ModelSpec, Pooling};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use super::{
    Family,
    configuration::{Configuration, describe},
};
use crate::{
    error::ModelError,
    layers::{
        attention::{attention, causal},
        norm::LayerNorm,
        pooling::TokenPool,
    },
    parameter_builder::{Initial, ParameterBuilder, Role},
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
}

impl Gpt2 {
    pub(super) fn of(spec: &ModelSpec) -> Result<Self, ModelError> {
        Ok(Self {
            sizes: Configuration::sizes(spec, Sizes::read)?,
            pooling: spec.pooling,
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
        let mut stages: Stages = vec![Box::new(Embeddings::new(sizes, builder)?)];
        for layer in 0..sizes.n_layer {
            builder.enter(layer + 1);
            stages.push(Box::new(Layer::new(sizes, &format!("h.{layer}"), builder)?));
        }
        builder.enter(stages.len());
        stages.push(Box::new(sizes.norm("ln_f", builder)?));
        stages.push(Box::new(TokenPool(self.pooling)));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> i64 {
        self.sizes.n_embd
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
        false
    }

    fn configuration(&self, _: Library) -> Map<String, Value> {
        let fields = json!({
            "model_type": "gpt2",
            "architectures": ["GPT2ForSequenceClassification"],
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
}

impl Embeddings {
    fn new(sizes: &Sizes, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let mut table = |name: &str, rows| {
            let initial = Initial::Normal(sizes.initializer_range);
            builder.tensor(name, &[rows, sizes.n_embd], Role::Parameter, initial)
        };
        Ok(Self {
            words: table("wte.weight", sizes.vocab_size)?,
            positions: table("wpe.weight", sizes.n_positions)?,
        })
    }
}

impl Stage for Embeddings {
    /// Token ids `(n, tokens)` to states `(n, tokens, width)`. A token's position is the number of tokens before it that are not padding.
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        let places = input.needed_mask()?.f_cumsum(1, Kind::Int64)?;
        let places = places.f_sub_scalar(1)?.f_clamp_min(0)?;
        let positions = Tensor::f_embedding(&self.positions, &places, -1, false, false)?;
        input.map(|ids| {
            let words = Tensor::f_embedding(&self.words, &ids, -1, false, false)?;
            Ok(words.f_add(&positions)?)
        })
    }
}

/// Normalise, attend and add; normalise, feed forward and add.
struct Layer {
    attention_norm: LayerNorm,
    query_key_value: Transposed,
    attention_output: Transposed,
    wide_norm: LayerNorm,
    wide: Transposed,
    output: Transposed,
    heads: i64,
}

impl Layer {
    fn new(sizes: &Sizes, prefix: &str, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let (width, inner) = (sizes.n_embd, sizes.inner());
        let deviation = sizes.initializer_range;
        // transformers makes what is added to the states smaller, the more layers there are.
        let added = deviation / (2.0 * sizes.n_layer as f64).sqrt();
        let name = |tail: &str| format!("{prefix}.{tail}");
        Ok(Self {
            attention_norm: sizes.norm(&name("ln_1"), builder)?,
            query_key_value: Transposed::new(builder, &name("attn.c_attn"), [width, 3 * width], deviation)?,
            attention_output: Transposed::new(builder, &name("attn.c_proj"), [width, width], added)?,
            wide_norm: sizes.norm(&name("ln_2"), builder)?,
            wide: Transposed::new(builder, &name("mlp.c_fc"), [width, inner], deviation)?,
            output: Transposed::new(builder, &name("mlp.c_proj"), [inner, width], added)?,
            heads: sizes.n_head,
        })
    }
}

impl Stage for Layer {
    /// States `(n, tokens, width)`, mask `(n, tokens)`.
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        let visible = causal(input.needed_mask()?)?;
        input.map(|states| {
            let normalised = self.attention_norm.forward(&states)?;
            let parts = self.query_key_value.forward(&normalised)?.f_chunk(3, -1)?;
            let context = attention([&parts[0], &parts[1], &parts[2]], Some(&visible), self.heads)?;
            let states = states.f_add(&self.attention_output.forward(&context)?)?;
            let wide = self.wide.forward(&self.wide_norm.forward(&states)?)?.f_gelu("tanh")?;
            Ok(states.f_add(&self.output.forward(&wide)?)?)
        })
    }
}

/// Hugging Face's `Conv1D`: a linear layer whose weight is stored as inputs, outputs.
struct Transposed {
    weight: Tensor,
    bias: Tensor,
}

impl Transposed {
    fn new(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        shape: [i64; 2],
        deviation: f64,
    ) -> Result<Self, ModelError> {
        let initial = Initial::Normal(deviation);
        Ok(Self {
            weight: builder.tensor(&format!("{name}.weight"), &shape, Role::Parameter, initial)?,
            bias: builder.tensor(&format!("{name}.bias"), &shape[1..], Role::Parameter, Initial::Zeros)?,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor, ModelError> {
        Ok(input.f_matmul(&self.weight)?.f_add(&self.bias)?)
    }
}

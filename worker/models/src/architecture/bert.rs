//! The BERT encoder (Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>) as Hugging Face's `BertModel`, MiniLM included; RoBERTa (Liu et al.
//! 2019, <https://arxiv.org/abs/1907.11692>), which counts positions from another number; and DistilBERT (Sanh et al. 2019,
//! <https://arxiv.org/abs/1910.01108>), which has no types of tokens and other names.
//!
//! Where the spec asks for it, units are dropped in the stages that train as transformers does: of the embeddings, of attention weights, and of what a
//! layer adds to its input; DistilBERT drops nothing of what its attention adds.

mod classifiers;
mod sizes;

use firn_core::spec::{BertKind, ModelSpec, Pooling};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use self::sizes::{Distilled, Roberta, Sizes};
use super::{Family, Opened, configuration::Configuration};
use crate::{
    error::ModelError,
    layers::{
        attention::{DroppedWeights, attention_with_dropout, unpadded},
        dropout::{Probabilities, drop_states},
        linear::Linear,
        norm::LayerNorm,
        pooling::TokenPool,
    },
    parameter_builder::{Initial, NamedTensor, ParameterBuilder, Role},
    stage::{Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library, translated},
};

/// An encoder with its pooling.
pub(super) struct Bert {
    kind: BertKind,
    sizes: Sizes,
    /// Position that stands for padding; -1 where positions begin at 0.
    padding: i64,
    pooling: Pooling,
    dropout: Probabilities,
}

impl Bert {
    pub(super) fn of(kind: BertKind, spec: &ModelSpec) -> Result<Self, ModelError> {
        let (sizes, padding) = match kind {
            BertKind::Original => (Configuration::sizes(spec, Sizes::read)?, -1),
            BertKind::Roberta => {
                let Roberta { sizes, padding } = Configuration::sizes(spec, Roberta::read)?;
                (sizes, padding)
            }
            BertKind::Distilled => (Configuration::sizes(spec, Distilled::read)?.into(), -1),
        };
        let configured = Probabilities {
            states: sizes.hidden_dropout_prob,
            attention: sizes.attention_probs_dropout_prob,
        };
        Ok(Self {
            kind,
            sizes,
            padding,
            pooling: spec.pooling,
            dropout: Probabilities::of(spec, configured),
        })
    }
}

/// The prefix `bert.` is missing in files of sentence encoders; old files say `gamma` and `beta` in `LayerNorm`.
const BERT: &[Dialect] = &[prefixed("bert.embeddings.word_embeddings.weight", "bert."), OWN];
const ROBERTA: &[Dialect] = &[prefixed("roberta.embeddings.word_embeddings.weight", "roberta."), OWN];
const DISTILBERT: &[Dialect] = &[
    Dialect {
        names: distilled,
        // The output layers of a language model are nothing that a classifier has.
        keeps_extras: false,
        ..prefixed("distilbert.embeddings.word_embeddings.weight", "distilbert.")
    },
    Dialect {
        names: distilled,
        keeps_extras: false,
        ..OWN
    },
];

const fn prefixed(anchor: &'static str, prefix: &'static str) -> Dialect {
    Dialect {
        anchor,
        prefix,
        exported_prefix: prefix,
        ..OWN
    }
}

fn distilled(name: &str) -> Vec<String> {
    vec![translated(
        name,
        &[
            ("encoder.layer.", "transformer.layer."),
            ("attention.self.query", "attention.q_lin"),
            ("attention.self.key", "attention.k_lin"),
            ("attention.self.value", "attention.v_lin"),
            ("attention.output.dense", "attention.out_lin"),
            ("attention.output.LayerNorm", "sa_layer_norm"),
            ("intermediate.dense", "ffn.lin1"),
            ("output.dense", "ffn.lin2"),
            ("output.LayerNorm", "output_layer_norm"),
        ],
    )]
}

const OWN: Dialect = Dialect {
    library: Library::HuggingFace,
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
        let mut stages: Stages = vec![Box::new(Embeddings::new(self, builder)?)];
        for layer in 0..sizes.num_hidden_layers {
            builder.enter(layer + 1);
            stages.push(Box::new(EncoderLayer::new(
                self,
                format!("encoder.layer.{layer}"),
                builder,
            )?));
        }
        stages.push(Box::new(TokenPool(self.pooling)));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(self.sizes.hidden_size)
    }

    fn dialects(&self) -> &'static [Dialect] {
        match self.kind {
            BertKind::Original => BERT,
            BertKind::Roberta => ROBERTA,
            BertKind::Distilled => DISTILBERT,
        }
    }

    fn layers(&self) -> usize {
        self.sizes.num_hidden_layers
    }

    fn longest_text(&self) -> Option<u32> {
        u32::try_from(self.sizes.max_position_embeddings - self.padding - 1).ok()
    }

    fn vocabulary(&self) -> Option<u32> {
        u32::try_from(self.sizes.vocab_size).ok()
    }

    fn has_token_types(&self) -> bool {
        self.kind != BertKind::Distilled && self.sizes.type_vocab_size > 1
    }

    fn opened(&self, _: Library, _: &[NamedTensor]) -> Option<Opened> {
        let class = classifiers::of(self.kind);
        Some(match self.pooling {
            Pooling::Cls => Opened::ByDenseClass(class),
            Pooling::None => Opened::ByClass(classifiers::of_tokens(self.kind)),
            _ => class.misses(self.sizes.hidden_size),
        })
    }

    fn configuration(&self, _: Library) -> Map<String, Value> {
        let mut fields = sizes::described(self.kind, &self.sizes, self.padding);
        fields.insert("pooling".to_owned(), json!(self.pooling));
        fields
    }
}

/// Word and position embeddings, and those of types where there are types; summed and normalised. Tokens of single texts are of type 0, and so are all
/// where the table has one row, as in RoBERTa.
struct Embeddings {
    words: Tensor,
    positions: Tensor,
    types: Option<Tensor>,
    norm: LayerNorm,
    padding: i64,
    dropout: f64,
}

impl Embeddings {
    fn new(network: &Bert, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let config = &network.sizes;
        let mut table = |name: &str, rows| {
            let initial = Initial::Normal(config.initializer_range);
            builder.tensor(
                &format!("embeddings.{name}.weight"),
                &[rows, config.hidden_size],
                Role::Parameter,
                initial,
            )
        };
        let has_types = network.kind != BertKind::Distilled;
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            types: has_types
                .then(|| table("token_type_embeddings", config.type_vocab_size))
                .transpose()?,
            norm: layer_norm(config, "embeddings.LayerNorm", builder)?,
            padding: network.padding,
            dropout: network.dropout.states,
        })
    }

    /// Of tokens `(n, tokens)`: by their place, or counted over those that are not padding, from the number after padding's own.
    fn positions(&self, tokens: i64, mask: &Tensor) -> Result<Tensor, ModelError> {
        if self.padding < 0 {
            return Ok(self.positions.f_narrow(0, 0, tokens)?);
        }
        let places = mask.f_cumsum(1, Kind::Int64)?.f_mul(mask)?.f_add_scalar(self.padding)?;
        Ok(Tensor::f_embedding(&self.positions, &places, -1, false, false)?)
    }
}

impl Stage for Embeddings {
    /// Token ids `(n, tokens)` to states `(n, tokens, hidden)`.
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        let (_, tokens) = input.tensor.size2()?;
        let positions = self.positions(tokens, input.needed_mask()?)?;
        let of_tokens = input.types.as_ref().map(Tensor::shallow_clone);
        input.map(|ids| {
            let words = Tensor::f_embedding(&self.words, &ids, -1, false, false)?;
            let words = match (&self.types, of_tokens) {
                (Some(types), Some(of_tokens)) if types.size2()?.0 > 1 => {
                    words.f_add(&Tensor::f_embedding(types, &of_tokens, -1, false, false)?)?
                }
                (Some(types), _) => words.f_add(&types.f_select(0, 0)?)?,
                (None, _) => words,
            };
            let states = self.norm.forward(&words.f_add(&positions)?)?;
            drop_states(states, self.dropout, "embeddings", pass.dropout)
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
    /// Names of what drops units: attention weights, what attention adds, what the feed-forward part adds.
    drops: [String; 3],
    dropout: Probabilities,
    /// Of what attention adds.
    attention_output_dropout: f64,
}

impl EncoderLayer {
    fn new(network: &Bert, prefix: String, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let config = &network.sizes;
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
            drops: ["attention.self", "attention.output", "output"].map(|part| format!("{prefix}.{part}")),
            dropout: network.dropout,
            attention_output_dropout: match network.kind {
                BertKind::Distilled => 0.0,
                BertKind::Original | BertKind::Roberta => network.dropout.states,
            },
        })
    }
}

impl Stage for EncoderLayer {
    /// States `(n, tokens, hidden)`, mask `(n, tokens)`; padding is attended to by nobody.
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        let states = &input.tensor;
        let query = self.query.forward(states, pass)?;
        let key = self.key.forward(states, pass)?;
        let value = self.value.forward(states, pass)?;
        let mask = unpadded(input.needed_mask()?)?;
        let [weights, added, output_added] = &self.drops;
        let dropped = DroppedWeights {
            probability: self.dropout.attention,
            layer: weights,
            dropout: pass.dropout,
        };
        let context = attention_with_dropout([&query, &key, &value], &mask, self.heads, &dropped)?;
        let attended = self.attention_output.forward(&context, pass)?;
        let attended = drop_states(attended, self.attention_output_dropout, added, pass.dropout)?;
        let attended = self.attention_norm.forward(&attended.f_add(states)?)?;
        let wide = self.intermediate.forward(&attended, pass)?.f_gelu("none")?;
        let output = self.output.forward(&wide, pass)?;
        let output = drop_states(output, self.dropout.states, output_added, pass.dropout)?;
        let output = self.output_norm.forward(&output.f_add(&attended)?)?;
        input.map(|_| Ok(output))
    }
}

fn layer_norm(config: &Sizes, name: &str, builder: &mut ParameterBuilder<'_>) -> Result<LayerNorm, ModelError> {
    LayerNorm::new(builder, name, config.hidden_size, config.layer_norm_eps)
}

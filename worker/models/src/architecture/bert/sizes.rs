//! The sizes of BERT, RoBERTa and DistilBERT in the `config.json` of each.

use firn_core::spec::BertKind;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    architecture::configuration::{Configuration, describe},
    error::ModelError,
};

/// Sizes of an encoder: the fields of Hugging Face's `config.json` that it is built from; BERT-base's where one is left out, as
/// `transformers.Sizes` does.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Sizes {
    pub(super) vocab_size: i64,
    pub(super) hidden_size: i64,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: i64,
    pub(super) intermediate_size: i64,
    pub(super) max_position_embeddings: i64,
    pub(super) type_vocab_size: i64,
    pub(super) layer_norm_eps: f64,
    pub(super) initializer_range: f64,
    pub(super) hidden_dropout_prob: f64,
    pub(super) attention_probs_dropout_prob: f64,
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
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
        }
    }
}

impl Sizes {
    /// Reads and checks a `config.json`; anything that would make another model than ours is an error.
    pub(super) fn read(configuration: &Configuration) -> Result<Self, ModelError> {
        Self::of(configuration, "bert")
    }

    fn of(configuration: &Configuration, model_type: &str) -> Result<Self, ModelError> {
        for (field, accepted) in [
            ("model_type", model_type),
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
        configuration.check_probabilities(&[
            ("hidden_dropout_prob", sizes.hidden_dropout_prob),
            ("attention_probs_dropout_prob", sizes.attention_probs_dropout_prob),
        ])?;
        Ok(sizes)
    }
}

/// RoBERTa's: the same fields, and the position that stands for padding, after which positions begin.
pub(super) struct Roberta {
    pub(super) sizes: Sizes,
    pub(super) padding: i64,
}

/// Ids of roberta-base.
const ROBERTA_VOCABULARY: i64 = 50_265;
const ROBERTA_PADDING: i64 = 1;

impl Default for Roberta {
    fn default() -> Self {
        Self {
            sizes: Sizes {
                vocab_size: ROBERTA_VOCABULARY,
                max_position_embeddings: 514,
                type_vocab_size: 1,
                layer_norm_eps: 1e-5,
                ..Sizes::default()
            },
            padding: ROBERTA_PADDING,
        }
    }
}

impl Roberta {
    pub(super) fn read(configuration: &Configuration) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct Padding {
            pad_token_id: i64,
        }
        let configuration = configuration
            .otherwise("vocab_size", ROBERTA_VOCABULARY.into())
            .otherwise("pad_token_id", ROBERTA_PADDING.into());
        let sizes = Sizes::of(&configuration, "roberta")?;
        let Padding { pad_token_id } = configuration.parse("the id of padding")?;
        configuration.check_sizes(&[
            ("pad_token_id", pad_token_id + 1),
            (
                "max_position_embeddings",
                sizes.max_position_embeddings - pad_token_id - 1,
            ),
        ])?;
        Ok(Self {
            sizes,
            padding: pad_token_id,
        })
    }
}

/// DistilBERT's names of the fields.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Distilled {
    vocab_size: i64,
    dim: i64,
    n_layers: usize,
    n_heads: i64,
    hidden_dim: i64,
    max_position_embeddings: i64,
    initializer_range: f64,
    dropout: f64,
    attention_dropout: f64,
}

impl Default for Distilled {
    fn default() -> Self {
        Self::of(&Sizes {
            num_hidden_layers: 6,
            ..Sizes::default()
        })
    }
}

impl Distilled {
    fn of(sizes: &Sizes) -> Self {
        Self {
            vocab_size: sizes.vocab_size,
            dim: sizes.hidden_size,
            n_layers: sizes.num_hidden_layers,
            n_heads: sizes.num_attention_heads,
            hidden_dim: sizes.intermediate_size,
            max_position_embeddings: sizes.max_position_embeddings,
            initializer_range: sizes.initializer_range,
            dropout: sizes.hidden_dropout_prob,
            attention_dropout: sizes.attention_probs_dropout_prob,
        }
    }

    pub(super) fn read(configuration: &Configuration) -> Result<Self, ModelError> {
        for (field, accepted) in [("model_type", "distilbert"), ("activation", "gelu")] {
            configuration.require(field, &accepted.into())?;
        }
        let sizes: Self = configuration.parse("the sizes of a DistilBERT encoder")?;
        configuration.check_sizes(&[
            ("vocab_size", sizes.vocab_size),
            ("dim", sizes.dim),
            ("n_layers", sizes.n_layers as i64),
            ("n_heads", sizes.n_heads),
            ("hidden_dim", sizes.hidden_dim),
            ("max_position_embeddings", sizes.max_position_embeddings),
        ])?;
        configuration.check_heads(("dim", sizes.dim), ("n_heads", sizes.n_heads))?;
        configuration.check_probabilities(&[
            ("dropout", sizes.dropout),
            ("attention_dropout", sizes.attention_dropout),
        ])?;
        Ok(sizes)
    }
}

impl From<Distilled> for Sizes {
    fn from(distilled: Distilled) -> Self {
        Self {
            vocab_size: distilled.vocab_size,
            hidden_size: distilled.dim,
            num_hidden_layers: distilled.n_layers,
            num_attention_heads: distilled.n_heads,
            intermediate_size: distilled.hidden_dim,
            max_position_embeddings: distilled.max_position_embeddings,
            initializer_range: distilled.initializer_range,
            hidden_dropout_prob: distilled.dropout,
            attention_probs_dropout_prob: distilled.attention_dropout,
            ..Self::default()
        }
    }
}

/// What `config.json` says of an encoder of this kind.
pub(super) fn described(kind: BertKind, sizes: &Sizes, padding: i64) -> Map<String, Value> {
    match kind {
        BertKind::Original => describe(
            json!({"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}),
            sizes,
        ),
        BertKind::Roberta => describe(
            json!({"model_type": "roberta", "hidden_act": "gelu", "pad_token_id": padding}),
            sizes,
        ),
        BertKind::Distilled => describe(
            json!({"model_type": "distilbert", "activation": "gelu"}),
            &Distilled::of(sizes),
        ),
    }
}

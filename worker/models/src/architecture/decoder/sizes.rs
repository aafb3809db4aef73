//! The sizes of Llama, Qwen2 and Qwen3 in the `config.json` of each.

use firn_core::spec::DecoderKind;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    architecture::configuration::{Configuration, describe},
    error::ModelError,
    layers::rotary::{Rotary, Scaling},
};

/// Sizes of a decoder: the fields of Hugging Face's `config.json` that it is built from. What tells a network from others of its family must be
/// there; the rest is as transformers takes it where it is left out.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub(super) struct Sizes {
    vocab_size: i64,
    pub(super) hidden_size: i64,
    /// Width of the feed-forward part.
    pub(super) intermediate_size: i64,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: i64,
    /// Of keys and values; as many as queries have where none is given.
    #[serde(default)]
    num_key_value_heads: Option<i64>,
    /// Numbers of a head; an equal part of the hidden width where none is given, and 128 in Qwen3.
    #[serde(default)]
    head_dim: Option<i64>,
    #[serde(default = "usual_positions")]
    max_position_embeddings: i64,
    #[serde(default = "usual_epsilon")]
    pub(super) rms_norm_eps: f64,
    #[serde(default = "usual_deviation")]
    pub(super) initializer_range: f64,
    /// Whether queries, keys, values and the attention's output have a bias. Qwen2 has one in the first three, whatever is said.
    #[serde(default)]
    pub(super) attention_bias: bool,
    /// Whether the feed-forward part has biases; Llama alone asks.
    #[serde(default)]
    pub(super) mlp_bias: bool,
}

fn usual_positions() -> i64 {
    2048
}

fn usual_epsilon() -> f64 {
    1e-6
}

fn usual_deviation() -> f64 {
    0.02
}

impl Sizes {
    /// Without a configuration: SmolLM2-135M, Qwen2-0.5B or Qwen3-0.6B, the smallest published members.
    fn smallest(kind: DecoderKind) -> Self {
        let [vocab_size, hidden_size, intermediate_size, heads, groups, positions] = match kind {
            DecoderKind::Llama => [49_152, 576, 1536, 9, 3, 8192],
            DecoderKind::Qwen2 => [151_936, 896, 4864, 14, 2, 131_072],
            DecoderKind::Qwen3 => [151_936, 1024, 3072, 16, 8, 40_960],
        };
        Self {
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers: match kind {
                DecoderKind::Llama => 30,
                DecoderKind::Qwen2 => 24,
                DecoderKind::Qwen3 => 28,
            },
            num_attention_heads: heads,
            num_key_value_heads: Some(groups),
            head_dim: None,
            max_position_embeddings: positions,
            rms_norm_eps: usual_epsilon(),
            initializer_range: usual_deviation(),
            attention_bias: false,
            mlp_bias: false,
        }
    }
}

/// A decoder's sizes, how it turns queries and keys, and how it finds the last token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoder {
    pub(super) kind: DecoderKind,
    pub(super) sizes: Sizes,
    pub(super) rotary: Rotary,
    /// transformers finds the last token of a text by it.
    padding: Option<i64>,
}

/// Fields that are not copied into what an export says as they are.
#[derive(Deserialize)]
struct Others {
    /// transformers 4, beside `rope_scaling`.
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    /// transformers 5.
    rope_parameters: Option<Value>,
    pad_token_id: Option<i64>,
    eos_token_id: Option<OneOrSeveral>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrSeveral {
    One(i64),
    Several(Vec<i64>),
}

impl OneOrSeveral {
    fn first(&self) -> Option<i64> {
        match self {
            Self::One(id) => Some(*id),
            Self::Several(ids) => ids.first().copied(),
        }
    }
}

/// θ where none is said.
const USUAL_THETA: f64 = 10_000.0;

impl Decoder {
    pub(super) fn smallest(kind: DecoderKind) -> Self {
        Self {
            kind,
            sizes: Sizes::smallest(kind),
            rotary: Rotary {
                theta: match kind {
                    DecoderKind::Llama => 100_000.0,
                    DecoderKind::Qwen2 | DecoderKind::Qwen3 => 1_000_000.0,
                },
                scaling: Scaling::Default,
            },
            padding: None,
        }
    }

    /// Reads and checks a `config.json`; anything that would make another model than ours is an error.
    pub(super) fn read(kind: DecoderKind, configuration: &Configuration) -> Result<Self, ModelError> {
        for (field, accepted) in [
            ("model_type", json!(model_type(kind))),
            ("hidden_act", json!("silu")),
            // Qwen says a window beside it that is not used then.
            ("use_sliding_window", json!(false)),
            ("pretraining_tp", json!(1)),
        ] {
            configuration.require(field, &accepted)?;
        }
        let sizes: Sizes = configuration.parse("the sizes of a decoder")?;
        let others: Others = configuration.parse("the positions and special tokens of a decoder")?;
        let read = Self {
            kind,
            rotary: rotary(&others, configuration)?,
            padding: others.pad_token_id.or(others.eos_token_id.and_then(|ids| ids.first())),
            sizes,
        };
        read.check(configuration)?;
        Ok(read)
    }

    fn check(&self, configuration: &Configuration) -> Result<(), ModelError> {
        let sizes = &self.sizes;
        let (heads, groups) = (sizes.num_attention_heads, self.groups());
        configuration.check_sizes(&[
            ("vocab_size", sizes.vocab_size),
            ("hidden_size", sizes.hidden_size),
            ("intermediate_size", sizes.intermediate_size),
            ("num_hidden_layers", sizes.num_hidden_layers as i64),
            ("num_attention_heads", heads),
            ("num_key_value_heads", groups),
            ("max_position_embeddings", sizes.max_position_embeddings),
        ])?;
        configuration.check_heads(("num_attention_heads", heads), ("num_key_value_heads", groups))?;
        if sizes.head_dim.is_none() && self.kind != DecoderKind::Qwen3 {
            configuration.check_heads(("hidden_size", sizes.hidden_size), ("num_attention_heads", heads))?;
        }
        configuration.check_sizes(&[("head_dim", self.head_width())])?;
        // A head is turned in pairs.
        configuration.check_heads(("head_dim", self.head_width()), ("2", 2))
    }

    /// Heads of keys and values.
    pub(super) fn groups(&self) -> i64 {
        self.sizes.num_key_value_heads.unwrap_or(self.sizes.num_attention_heads)
    }

    /// Numbers of a head.
    pub(super) fn head_width(&self) -> i64 {
        let usual = match self.kind {
            DecoderKind::Llama | DecoderKind::Qwen2 => self.sizes.hidden_size / self.sizes.num_attention_heads,
            DecoderKind::Qwen3 => 128,
        };
        self.sizes.head_dim.unwrap_or(usual)
    }

    pub(super) fn longest_text(&self) -> Option<u32> {
        u32::try_from(self.sizes.max_position_embeddings).ok()
    }

    pub(super) fn vocabulary(&self) -> Option<u32> {
        u32::try_from(self.sizes.vocab_size).ok()
    }

    /// The class of transformers that ends in an output layer.
    pub(super) fn class(&self) -> &'static str {
        match self.kind {
            DecoderKind::Llama => "LlamaForSequenceClassification",
            DecoderKind::Qwen2 => "Qwen2ForSequenceClassification",
            DecoderKind::Qwen3 => "Qwen3ForSequenceClassification",
        }
    }

    /// The class of transformers that ends in an output layer for each token.
    pub(super) fn tagging_class(&self) -> &'static str {
        match self.kind {
            DecoderKind::Llama => "LlamaForTokenClassification",
            DecoderKind::Qwen2 => "Qwen2ForTokenClassification",
            DecoderKind::Qwen3 => "Qwen3ForTokenClassification",
        }
    }

    /// What `config.json` says of it.
    pub(super) fn described(&self) -> Map<String, Value> {
        let fields = json!({
            "model_type": model_type(self.kind),
            "hidden_act": "silu",
            "use_sliding_window": false,
            "rope_theta": self.rotary.theta,
            "rope_scaling": match self.rotary.scaling {
                Scaling::Default => Value::Null,
                ref scaling => json!(scaling),
            },
            "pad_token_id": self.padding,
        });
        let mut fields = describe(fields, &self.sizes);
        fields["num_key_value_heads"] = self.groups().into();
        fields["head_dim"] = self.head_width().into();
        fields
    }
}

fn model_type(kind: DecoderKind) -> &'static str {
    match kind {
        DecoderKind::Llama => "llama",
        DecoderKind::Qwen2 => "qwen2",
        DecoderKind::Qwen3 => "qwen3",
    }
}

/// θ and scaling in the words of transformers 5 or of those before.
fn rotary(others: &Others, configuration: &Configuration) -> Result<Rotary, ModelError> {
    let (field, said) = match (&others.rope_parameters, &others.rope_scaling) {
        (Some(said), _) => ("rope_parameters", said.clone()),
        (None, Some(said)) => ("rope_scaling", said.clone()),
        (None, None) => ("rope_scaling", json!({})),
    };
    let refuse = |expected: &str, found: &Value| configuration.refuse(field, expected, found.to_string());
    let expected = "the positions `default`, `linear` or `llama3`, with their numbers";
    let Value::Object(mut fields) = said else {
        return Err(refuse(expected, &said));
    };
    // Files of transformers 4.42 and before say `type`.
    let kind = fields
        .remove("rope_type")
        .or(fields.remove("type"))
        .unwrap_or(json!("default"));
    fields.insert("rope_type".to_owned(), kind);
    let theta = fields.get("rope_theta").and_then(Value::as_f64).or(others.rope_theta);
    let said = Value::Object(fields);
    let scaling: Scaling = serde_json::from_value(said.clone()).map_err(|_| refuse(expected, &said))?;
    match said.get("partial_rotary_factor").and_then(Value::as_f64) {
        None | Some(1.0) => Ok(Rotary {
            theta: theta.unwrap_or(USUAL_THETA),
            scaling,
        }),
        Some(_) => Err(refuse("`partial_rotary_factor` 1.0", &said)),
    }
}

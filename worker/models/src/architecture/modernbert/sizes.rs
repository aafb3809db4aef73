//! The sizes of ModernBERT in its `config.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    architecture::configuration::{Configuration, describe},
    error::ModelError,
};

/// Sizes of an encoder: the fields of Hugging Face's `config.json` that it is built from, in the words of published files; ModernBERT-base's
/// where one is left out, as `transformers.ModernBertConfig` does.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Sizes {
    pub(super) vocab_size: i64,
    pub(super) hidden_size: i64,
    /// Width of the feed-forward part.
    pub(super) intermediate_size: i64,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: i64,
    pub(super) max_position_embeddings: i64,
    pub(super) norm_eps: f64,
    pub(super) initializer_range: f64,
    /// The first of so many layers looks at the whole text.
    global_attn_every_n_layers: usize,
    /// The others look at so many tokens around each.
    local_attention: i64,
    /// θ of the rotary positions where the whole text is seen.
    global_rope_theta: f64,
    /// θ of the other layers; the same where there is none.
    local_rope_theta: Option<f64>,
    pad_token_id: i64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            vocab_size: 50_368,
            hidden_size: 768,
            intermediate_size: 1152,
            num_hidden_layers: 22,
            num_attention_heads: 12,
            max_position_embeddings: 8192,
            norm_eps: 1e-5,
            initializer_range: 0.02,
            global_attn_every_n_layers: 3,
            local_attention: 128,
            global_rope_theta: 160_000.0,
            local_rope_theta: Some(10_000.0),
            pad_token_id: 50_283,
        }
    }
}

/// The words of transformers 5 for what older files say in numbers.
#[derive(Deserialize)]
struct Newer {
    layer_types: Option<Vec<LayerType>>,
    rope_parameters: Option<Positions>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LayerType {
    FullAttention,
    SlidingAttention,
}

#[derive(Deserialize)]
struct Positions {
    full_attention: Option<Position>,
    sliding_attention: Option<Position>,
}

#[derive(Deserialize)]
struct Position {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

impl Sizes {
    /// Reads and checks a `config.json`; anything that would make another model than ours is an error.
    pub(super) fn read(configuration: &Configuration) -> Result<Self, ModelError> {
        for (field, accepted) in [
            ("model_type", json!("modernbert")),
            ("hidden_activation", json!("gelu")),
            ("classifier_activation", json!("gelu")),
            ("norm_bias", json!(false)),
            ("attention_bias", json!(false)),
            ("mlp_bias", json!(false)),
            ("classifier_bias", json!(false)),
            ("rope_scaling", Value::Null),
        ] {
            configuration.require(field, &accepted)?;
        }
        let mut sizes: Self = configuration.parse("the sizes of a ModernBERT encoder")?;
        let newer: Newer = configuration.parse("the layers and positions of a ModernBERT encoder")?;
        if let Some(positions) = newer.rope_parameters {
            let theta = |position: Option<Position>, usual: f64| -> Result<f64, ModelError> {
                let Some(position) = position else { return Ok(usual) };
                match position.rope_type.filter(|kind| kind != "default") {
                    Some(other) => Err(configuration.refuse("rope_parameters", "`rope_type` `default`", other)),
                    None => Ok(position.rope_theta.unwrap_or(usual)),
                }
            };
            sizes.global_rope_theta = theta(positions.full_attention, sizes.global_rope_theta)?;
            let usual = sizes.local_rope_theta.unwrap_or(sizes.global_rope_theta);
            sizes.local_rope_theta = Some(theta(positions.sliding_attention, usual)?);
        }
        if let Some(types) = newer.layer_types {
            sizes.global_attn_every_n_layers = period(&types).ok_or_else(|| {
                let expected =
                    "`full_attention` in the first of every so many layers, and `sliding_attention` in all others";
                configuration.refuse("layer_types", expected, format!("{types:?}"))
            })?;
        }
        configuration.check_sizes(&[
            ("vocab_size", sizes.vocab_size),
            ("hidden_size", sizes.hidden_size),
            ("intermediate_size", sizes.intermediate_size),
            ("num_hidden_layers", sizes.num_hidden_layers as i64),
            ("num_attention_heads", sizes.num_attention_heads),
            ("max_position_embeddings", sizes.max_position_embeddings),
            ("global_attn_every_n_layers", sizes.global_attn_every_n_layers as i64),
            ("local_attention", sizes.local_attention),
        ])?;
        let heads = ("num_attention_heads", sizes.num_attention_heads);
        configuration.check_heads(("hidden_size", sizes.hidden_size), heads)?;
        Ok(sizes)
    }

    fn is_global(&self, layer: usize) -> bool {
        layer.is_multiple_of(self.global_attn_every_n_layers)
    }

    /// θ of a layer.
    pub(super) fn theta(&self, layer: usize) -> f64 {
        match self.is_global(layer) {
            true => self.global_rope_theta,
            false => self.local_rope_theta.unwrap_or(self.global_rope_theta),
        }
    }

    /// How many tokens away a key of a layer may be; `None`: any number.
    pub(super) fn window(&self, layer: usize) -> Option<i64> {
        (!self.is_global(layer)).then_some(self.local_attention / 2)
    }

    /// Standard deviation of what is added to the states, without a file.
    pub(super) fn deviation_of_added(&self) -> f64 {
        self.initializer_range / (2.0 * self.num_hidden_layers as f64).sqrt()
    }

    /// What `config.json` says of it.
    pub(super) fn described(&self) -> Map<String, Value> {
        let fields = json!({
            "model_type": "modernbert",
            "hidden_activation": "gelu",
            "classifier_activation": "gelu",
            "norm_bias": false,
            "attention_bias": false,
            "mlp_bias": false,
            "classifier_bias": false,
        });
        describe(fields, self)
    }
}

/// After how many layers one that looks at the whole text follows another; `None` where they follow no such rule.
fn period(types: &[LayerType]) -> Option<usize> {
    let globals = types.iter().skip(1).position(|kind| *kind == LayerType::FullAttention);
    let period = globals.map_or(types.len().max(1), |layers| layers + 1);
    let is_global = |layer: usize| layer.is_multiple_of(period);
    let mut numbered = types.iter().enumerate();
    numbered
        .all(|(layer, kind)| is_global(layer) == (*kind == LayerType::FullAttention))
        .then_some(period)
}

#[cfg(test)]
mod tests {
    use super::LayerType::{FullAttention as Full, SlidingAttention as Sliding};
    use super::*;

    #[test]
    fn layers_that_see_the_whole_text_are_the_first_of_every_so_many() {
        assert_eq!(period(&[Full, Sliding, Sliding, Full, Sliding]), Some(3));
        assert_eq!(period(&[Full, Full]), Some(1));
        assert_eq!(period(&[Full, Sliding]), Some(2));
        assert_eq!(period(&[Sliding, Full]), None);
        assert_eq!(period(&[Full, Sliding, Full, Full]), None);
    }
}

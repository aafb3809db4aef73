//! ModernBERT (Warner et al. 2024, <https://arxiv.org/abs/2412.13663>) as Hugging Face's `ModernBertForSequenceClassification`: rotary positions,
//! gated feed-forward parts, norms before each part, and layers of which every third looks at the whole text and the others at the
//! tokens near by. Nothing has a bias but the head.
//!
//! Files of language models and classifiers hold a layer between pool and head, the stage `transform`. Those of the bare encoder, such as
//! sentence encoders, hold none; the stage then gives what it gets.

mod sizes;

use firn_core::spec::{ModelSpec, Pooling};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use self::sizes::Sizes;
use super::{Family, Opened, configuration::Configuration};
use crate::{
    error::ModelError,
    layers::{
        attention::{attend, split_heads, unpadded},
        linear::Linear,
        norm::LayerNorm,
        pooling::TokenPool,
        rotary::{Rotary, Scaling},
    },
    parameter_builder::{Initial, NamedTensor, ParameterBuilder, Role},
    stage::{Features, Pass, Stage, Stages},
    weights::naming::{Dialect, Library},
};

/// An encoder with its pooling.
pub(super) struct ModernBert {
    sizes: Sizes,
    pooling: Pooling,
}

impl ModernBert {
    pub(super) fn of(spec: &ModelSpec) -> Result<Self, ModelError> {
        Ok(Self {
            sizes: Configuration::sizes(spec, Sizes::read)?,
            pooling: spec.pooling,
        })
    }
}

/// Those of classifiers, those of the bare encoder, which never have the layer before the head, and, last, Firn's own.
const DIALECTS: &[Dialect] = &[
    OWN,
    Dialect {
        anchor: "embeddings.tok_embeddings.weight",
        names: |name| vec![name.to_owned()],
        ..OWN
    },
    OWN,
];

const OWN: Dialect = Dialect {
    library: Library::HuggingFace,
    anchor: "model.embeddings.tok_embeddings.weight",
    prefix: "",
    exported_prefix: "",
    names: |name| {
        vec![match name.strip_prefix(TRANSFORM) {
            Some(tail) => format!("head{tail}"),
            None => format!("model.{name}"),
        }]
    },
    head: "classifier",
    // What else a file holds is the output layer of the language model.
    keeps_extras: false,
};

/// Firn's name of what transformers calls `head`.
const TRANSFORM: &str = "transform";

impl Family for ModernBert {
    fn build(&self, builder: &mut ParameterBuilder<'_>) -> Result<Stages, ModelError> {
        let sizes = &self.sizes;
        builder.enter(0);
        let mut stages: Stages = vec![Box::new(Embeddings::new(sizes, builder)?)];
        for layer in 0..sizes.num_hidden_layers {
            builder.enter(layer + 1);
            stages.push(Box::new(Layer::new(sizes, layer, builder)?));
        }
        builder.enter(stages.len());
        stages.push(Box::new(norm(sizes, "final_norm", builder)?));
        stages.push(Box::new(TokenPool(self.pooling)));
        builder.enter(stages.len());
        stages.push(Box::new(Transform::new(sizes, builder)?));
        Ok(stages)
    }

    fn feature_width(&self, _: Library) -> Option<i64> {
        Some(self.sizes.hidden_size)
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

    fn opened(&self, _: Library, entries: &[NamedTensor]) -> Option<Opened> {
        let has_transform = entries.iter().any(|entry| entry.name.starts_with(TRANSFORM));
        Some(match (has_transform, self.pooling) {
            (true, Pooling::Cls | Pooling::Mean) => Opened::ByClass("ModernBertForSequenceClassification"),
            (true, Pooling::None) => Opened::ByClass("ModernBertForTokenClassification"),
            (true, _) => {
                Opened::WithoutHead("transformers' classifier reads the class token or the mean of the tokens".to_owned())
            }
            (false, _) => Opened::WithoutHead(
                "transformers' classifier has a layer before its output that the pretrained weights lack, and so this network, too"
                    .to_owned(),
            ),
        })
    }

    fn configuration(&self, _: Library) -> Map<String, Value> {
        let mut fields = self.sizes.described();
        // The library has no other.
        if matches!(self.pooling, Pooling::Mean | Pooling::Cls) {
            fields.insert("classifier_pooling".to_owned(), json!(self.pooling));
        }
        fields.insert("pooling".to_owned(), json!(self.pooling));
        fields
    }
}

fn norm(sizes: &Sizes, name: &str, builder: &mut ParameterBuilder<'_>) -> Result<LayerNorm, ModelError> {
    LayerNorm::without_bias(builder, name, sizes.hidden_size, sizes.norm_eps)
}

/// The embeddings of words, normalised.
struct Embeddings {
    words: Tensor,
    norm: LayerNorm,
}

impl Embeddings {
    fn new(sizes: &Sizes, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let shape = [sizes.vocab_size, sizes.hidden_size];
        let initial = Initial::Normal(sizes.initializer_range);
        Ok(Self {
            words: builder.tensor("embeddings.tok_embeddings.weight", &shape, Role::Parameter, initial)?,
            norm: norm(sizes, "embeddings.norm", builder)?,
        })
    }
}

impl Stage for Embeddings {
    /// Token ids `(n, tokens)` to states `(n, tokens, width)`.
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|ids| {
            self.norm
                .forward(&Tensor::f_embedding(&self.words, &ids, -1, false, false)?)
        })
    }
}

/// Normalise, attend and add; normalise, feed forward and add.
struct Layer {
    /// The first layer has none: the embeddings are normalised already.
    attention_norm: Option<LayerNorm>,
    query_key_value: Linear,
    attention_output: Linear,
    wide_norm: LayerNorm,
    /// Twice the wide width: what is activated, and what it is multiplied by.
    wide: Linear,
    output: Linear,
    rotary: Rotary,
    /// How many tokens away a key may be; `None`: any number.
    window: Option<i64>,
    heads: i64,
}

impl Layer {
    fn new(sizes: &Sizes, layer: usize, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let (width, wide) = (sizes.hidden_size, sizes.intermediate_size);
        let deviation = sizes.initializer_range;
        // transformers makes what is added to the states smaller, the more layers there are.
        let added = sizes.deviation_of_added();
        let name = |tail: &str| format!("layers.{layer}.{tail}");
        let mut linear = |tail: &str, shape, deviation| Linear::without_bias(builder, &name(tail), shape, deviation);
        let query_key_value = linear("attn.Wqkv", [3 * width, width], deviation)?;
        let attention_output = linear("attn.Wo", [width, width], added)?;
        let wide_part = linear("mlp.Wi", [2 * wide, width], deviation)?;
        let output = linear("mlp.Wo", [width, wide], added)?;
        let is_first = layer == 0;
        Ok(Self {
            attention_norm: (!is_first)
                .then(|| norm(sizes, &name("attn_norm"), builder))
                .transpose()?,
            query_key_value,
            attention_output,
            wide_norm: norm(sizes, &name("mlp_norm"), builder)?,
            wide: wide_part,
            output,
            rotary: Rotary {
                theta: sizes.theta(layer),
                scaling: Scaling::Default,
            },
            window: sizes.window(layer),
            heads: sizes.num_attention_heads,
        })
    }

    /// States `(n, tokens, width)`; `visible`: which keys a query may look at.
    fn attended(&self, states: &Tensor, visible: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let normalised = match &self.attention_norm {
            Some(norm) => norm.forward(states)?,
            None => states.shallow_clone(),
        };
        let parts = self.query_key_value.forward(&normalised, pass)?.f_chunk(3, -1)?;
        let [query, key, value] = [0, 1, 2].map(|part| split_heads(&parts[part], self.heads));
        let (query, key, value) = (query?, key?, value?);
        let (_, _, tokens, width) = query.size4()?;
        let turns = self.rotary.turns(tokens, width, states.device())?;
        let context = attend([&turns.apply(&query)?, &turns.apply(&key)?, &value], Some(visible))?;
        self.attention_output.forward(&context, pass)
    }
}

impl Stage for Layer {
    /// States `(n, tokens, width)`, mask `(n, tokens)`; padding is attended to by nobody.
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        let visible = visible(input.needed_mask()?, self.window)?;
        input.map(|states| {
            let states = states.f_add(&self.attended(&states, &visible, pass)?)?;
            let normalised = self.wide_norm.forward(&states)?;
            let parts = self.wide.forward(&normalised, pass)?.f_chunk(2, -1)?;
            let wide = parts[0].f_gelu("none")?.f_mul(&parts[1])?;
            Ok(states.f_add(&self.output.forward(&wide, pass)?)?)
        })
    }
}

/// Which keys a query may look at, `(n, 1, tokens, tokens)` or, without a window, `(n, 1, 1, tokens)`: those that are no padding and stand so
/// many tokens away or fewer; and itself, so that padding far from all tokens stays finite.
fn visible(mask: &Tensor, window: Option<i64>) -> Result<Tensor, ModelError> {
    let tokens = unpadded(mask)?;
    let Some(window) = window else { return Ok(tokens) };
    let (_, length) = mask.size2()?;
    let square = Tensor::f_ones([length, length], (Kind::Bool, mask.device()))?;
    let near = square.f_tril(window)?.f_triu(-window)?;
    let itself = near.f_tril(0)?.f_triu(0)?;
    Ok(tokens.f_logical_and(&near)?.f_logical_or(&itself)?)
}

/// What stands between pool and head: linear, GELU, norm.
struct Transform(Option<(Linear, LayerNorm)>);

impl Transform {
    fn new(sizes: &Sizes, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let dense = format!("{TRANSFORM}.dense");
        if !builder.has(&format!("{dense}.weight")) {
            return Ok(Self(None));
        }
        let shape = [sizes.hidden_size; 2];
        let linear = Linear::without_bias(builder, &dense, shape, sizes.deviation_of_added())?;
        Ok(Self(Some((
            linear,
            norm(sizes, &format!("{TRANSFORM}.norm"), builder)?,
        ))))
    }
}

impl Stage for Transform {
    /// Vectors `(n, width)`, or states of tokens `(n, tokens, width)`.
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|pooled| match &self.0 {
            Some((linear, norm)) => norm.forward(&linear.forward(&pooled, pass)?.f_gelu("none")?),
            None => Ok(pooled),
        })
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn a_window_reaches_as_far_to_both_sides_and_padding_sees_itself() {
        let mask = Tensor::from_slice(&[1_i64, 1, 1, 1, 0, 0]).view([1, 6]);
        let seen = visible(&mask, Some(1)).unwrap().to_kind(Kind::Int64);
        let rows = [
            [1_i64, 1, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0],
            [0, 1, 1, 1, 0, 0],
            [0, 0, 1, 1, 0, 0],
            [0, 0, 0, 1, 1, 0],
            [0, 0, 0, 0, 0, 1],
        ];
        let expected = Tensor::from_slice(&rows.concat()).view([1, 1, 6, 6]);
        assert!(seen.to_device(Device::Cpu).equal(&expected), "{seen}");
    }
}

//! A layer of the encoder.

use firn_core::spec::{Vit, VitKind};
use tch::Tensor;

use super::{DEVIATION, norm};
use crate::{
    error::ModelError,
    layers::{
        attention::attention,
        linear::Linear,
        norm::LayerNorm,
        projections::{Names, Projections},
    },
    parameter_builder::{Initial, ParameterBuilder, Role},
    stage::{Features, Pass, Stage},
    weights::naming::Library,
};

/// Normalise, attend and add; normalise, feed forward and add.
pub(super) struct Layer {
    attention_norm: LayerNorm,
    projections: Projections,
    attention_output: Linear,
    wide_norm: LayerNorm,
    feed_forward: FeedForward,
    /// What is added by attention and by the feed-forward part is multiplied by these, number by number.
    scales: Option<[Tensor; 2]>,
    heads: i64,
}

impl Layer {
    pub(super) fn new(sizes: &Vit, prefix: &str, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let width = sizes.width;
        let name = |tail: &str| format!("{prefix}.{tail}");
        let names = Names {
            joint: [
                name("self_attention.in_proj_weight"),
                name("self_attention.in_proj_bias"),
            ],
            separate: name("self_attention"),
        };
        Ok(Self {
            attention_norm: norm(sizes, &name("ln_1"), builder)?,
            projections: Projections::new(builder, &names, width, DEVIATION)?,
            attention_output: Linear::new(builder, &name("self_attention.out_proj"), [width, width], DEVIATION)?,
            wide_norm: norm(sizes, &name("ln_2"), builder)?,
            feed_forward: FeedForward::new(sizes, &name("mlp"), builder)?,
            scales: match sizes.kind {
                VitKind::Original => None,
                VitKind::Dinov2 { .. } => {
                    let mut scale = |tail| builder.tensor(&name(tail), &[width], Role::Parameter, Initial::Ones);
                    Some([scale("scale_1")?, scale("scale_2")?])
                }
            },
            heads: sizes.heads,
        })
    }

    fn scaled(&self, part: usize, added: Tensor) -> Result<Tensor, ModelError> {
        match &self.scales {
            Some(scales) => Ok(added.f_mul(&scales[part])?),
            None => Ok(added),
        }
    }
}

impl Stage for Layer {
    /// States `(n, tokens, width)`.
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|states| {
            let normalised = self.attention_norm.forward(&states)?;
            let [query, key, value] = self.projections.forward(&normalised, pass)?;
            let context = attention([&query, &key, &value], None, self.heads)?;
            let attended = self.scaled(0, self.attention_output.forward(&context, pass)?)?;
            let states = states.f_add(&attended)?;
            let added = self.feed_forward.forward(&self.wide_norm.forward(&states)?, pass)?;
            Ok(states.f_add(&self.scaled(1, added)?)?)
        })
    }
}

/// Wide and narrow again, with GELU or with a gate of SiLU between (SwiGLU, Shazeer 2020, <https://arxiv.org/abs/2002.05202>).
enum FeedForward {
    Plain { wide: Linear, output: Linear },
    Gated { wide: Gated, output: Linear },
}

/// What is activated, and what it multiplies: in one matrix, or in two as transformers 5 keeps them.
enum Gated {
    Joint(Linear),
    Separate { gate: Linear, wide: Linear },
}

impl FeedForward {
    fn new(sizes: &Vit, prefix: &str, builder: &mut ParameterBuilder<'_>) -> Result<Self, ModelError> {
        let (width, wide) = (sizes.width, sizes.wide);
        let name = |tail: &str| format!("{prefix}.{tail}");
        if !matches!(sizes.kind, VitKind::Dinov2 { is_gated: true, .. }) {
            return Ok(Self::Plain {
                wide: Linear::new(builder, &name("0"), [wide, width], DEVIATION)?,
                output: Linear::new(builder, &name("3"), [width, wide], DEVIATION)?,
            });
        }
        let is_separate = builder.library() == Library::HuggingFace && builder.has(&format!("{}.weight", name("gate")));
        let gated = match is_separate {
            true => Gated::Separate {
                gate: Linear::new(builder, &name("gate"), [wide, width], DEVIATION)?,
                wide: Linear::new(builder, &name("up"), [wide, width], DEVIATION)?,
            },
            false => Gated::Joint(Linear::new(builder, &name("w12"), [2 * wide, width], DEVIATION)?),
        };
        Ok(Self::Gated {
            wide: gated,
            output: Linear::new(builder, &name("w3"), [width, wide], DEVIATION)?,
        })
    }

    fn forward(&self, states: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        match self {
            Self::Plain { wide, output } => output.forward(&wide.forward(states, pass)?.f_gelu("none")?, pass),
            Self::Gated { wide, output } => {
                let [gate, wide] = match wide {
                    Gated::Separate { gate, wide } => [gate.forward(states, pass)?, wide.forward(states, pass)?],
                    Gated::Joint(both) => {
                        let parts = both.forward(states, pass)?.f_chunk(2, -1)?;
                        parts.try_into().expect("two parts were asked for")
                    }
                };
                output.forward(&gate.f_silu()?.f_mul(&wide)?, pass)
            }
        }
    }
}

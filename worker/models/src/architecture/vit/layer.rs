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

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::{
        parameter_builder::{NamedTensor, Source},
        weights::naming::Naming,
    };

    const SIZES: Vit = Vit {
        image: 28,
        patch: 14,
        width: 6,
        wide: 16,
        layers: 1,
        heads: 2,
        kind: VitKind::Dinov2 {
            is_gated: true,
            registers: 0,
        },
    };

    fn gated(naming: &Naming, source: Source<'_>) -> (FeedForward, Vec<NamedTensor>) {
        let mut builder = ParameterBuilder::new(source, naming, Device::Cpu);
        let made = FeedForward::new(&SIZES, "mlp", &mut builder).unwrap();
        (made, builder.finish().entries)
    }

    /// In the form of each library: silu(x·gate) · (x·wide), narrowed.
    #[test]
    fn a_gate_of_silu_multiplies_the_wide_part() {
        let input = Tensor::arange(2 * 6, (Kind::Float, Device::Cpu)).view([2, 6]) / 3.0;
        for library in [Library::Timm, Library::HuggingFace] {
            let naming = Naming::of(super::super::names::DINOV2, library).unwrap();
            let (made, entries) = gated(&naming, Source::Seed(3));
            let [gate, wide] = match library {
                Library::HuggingFace => [entries[0].tensor.copy(), entries[2].tensor.copy()],
                _ => <[Tensor; 2]>::try_from(entries[0].tensor.chunk(2, 0)).unwrap(),
            };
            assert_eq!(gate.size(), [16, 6]);
            let narrow = &entries[entries.len() - 2].tensor;
            let gate = input.matmul(&gate.tr());
            let expected = (gate.sigmoid() * gate * input.matmul(&wide.tr())).matmul(&narrow.tr());
            let difference = (made.forward(&input, &Pass::default()).unwrap() - expected)
                .abs()
                .max()
                .double_value(&[]);
            assert!(difference < 1e-6, "{library:?}: {difference}");
        }
    }
}

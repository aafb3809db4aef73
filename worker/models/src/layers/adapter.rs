//! Low-rank adapters (Hu et al. 2021, <https://arxiv.org/abs/2106.09685>): what PEFT adds to a linear layer whose own weight stays as it is.
//!
//! With a weight W of outputs × inputs it is y = Wx + alpha / rank · B A dropout(x). B begins at 0, so the network begins as it was; A begins as the
//! weight of `torch.nn.Linear` does, which is PEFT's choice.

use firn_core::spec::LoraSpec;
use tch::Tensor;

use super::dropout::drop_states;
use crate::{error::ModelError, stage::Pass};

/// Which linear layers of a model have adapters, and what these begin with.
#[derive(Debug, Clone)]
pub(crate) struct AdapterPlan {
    pub(crate) spec: LoraSpec,
    /// Of their initial values.
    pub(crate) seed: u64,
    /// Layers of stages below never train.
    pub(crate) lowest_cut: usize,
}

impl AdapterPlan {
    /// Whether a layer of this name, as its library has it, is one of the targets; a target is a name, or its end behind a dot.
    pub(crate) fn targets(&self, layer: &str) -> bool {
        let is_meant = |target: &String| is_named(layer, target);
        self.spec.targets.is_empty() || self.spec.targets.iter().any(is_meant)
    }
}

/// As PEFT finds the layers of `target_modules`.
pub(crate) fn is_named(layer: &str, target: &str) -> bool {
    layer
        .strip_suffix(target)
        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// A linear layer that has an adapter.
#[derive(Debug, Clone)]
pub(crate) struct Adapted {
    /// As its library names it.
    pub(crate) layer: String,
    /// Firn's names of its weight, of A and of B.
    pub(crate) weight: String,
    pub(crate) factors: [String; 2],
    /// Whether the weight is stored as inputs, outputs.
    pub(crate) is_transposed: bool,
}

/// The adapter of one layer.
pub(crate) struct Adapter {
    /// Tells its dropout from that of other layers.
    pub(crate) name: String,
    /// Rank × inputs.
    pub(crate) a: Tensor,
    /// Outputs × rank.
    pub(crate) b: Tensor,
    pub(crate) scale: f64,
    /// Probability that a unit is dropped before A in training.
    pub(crate) dropout: f64,
}

impl Adapter {
    /// What is added to the layer's output.
    pub(crate) fn forward(&self, input: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let input = drop_states(input.shallow_clone(), self.dropout, &self.name, pass.dropout)?;
        let narrow = input.f_linear(&self.a, None::<Tensor>)?;
        Ok(narrow.f_linear(&self.b, None::<Tensor>)?.f_mul_scalar(self.scale)?)
    }

    /// The layer's weight with this adapter merged into it.
    pub(crate) fn merged(&self, weight: &Tensor, is_transposed: bool) -> Result<Tensor, ModelError> {
        merged(weight, [&self.a, &self.b], self.scale, is_transposed)
    }
}

/// A weight with its adapter merged into it: as it is stored.
pub(crate) fn merged(
    weight: &Tensor,
    [a, b]: [&Tensor; 2],
    scale: f64,
    is_transposed: bool,
) -> Result<Tensor, ModelError> {
    let product = b.f_matmul(a)?.f_mul_scalar(scale)?;
    let added = match is_transposed {
        true => product.f_transpose(0, 1)?.f_contiguous()?,
        false => product,
    };
    Ok(weight.f_add(&added)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_name_or_its_end_behind_a_dot() {
        for (target, is_meant) in [
            ("encoder.layer.0.attention.self.query", true),
            ("query", true),
            ("self.query", true),
            ("uery", false),
            ("layer.0", false),
            ("key", false),
        ] {
            assert_eq!(
                is_named("encoder.layer.0.attention.self.query", target),
                is_meant,
                "{target}"
            );
        }
    }
}

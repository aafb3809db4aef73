//! The new output layers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Word;

/// The new output layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[schemars(extend("x-firn-type" = "linear"))]
pub enum HeadSpec {
    /// One linear layer behind a dropout.
    Linear {
        /// Probability that a feature is dropped before the head in training; of an `mlp`, before each of its layers.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.0))]
        dropout: f64,
    },
    /// Linear layers with an activation between them, each behind a dropout: a multilayer perceptron.
    #[schemars(extend("x-firn-since" = 5))]
    Mlp {
        /// Probability that a feature is dropped before the head in training; of an `mlp`, before each of its layers.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.0))]
        dropout: f64,
        /// Units of each hidden layer, from the features on.
        #[schemars(inner(range(min = 1, max = 65_536)), extend("default" = [512]))]
        hidden_sizes: Vec<u32>,
        /// What follows each hidden layer.
        #[schemars(extend("default" = "relu"))]
        activation: HeadActivation,
    },
    /// The cosine of the angle between the features and each output's weights, times a scale, behind a dropout: Gidaris & Komodakis 2018
    /// (arXiv 1804.09458).
    #[schemars(extend("x-firn-since" = 5))]
    Cosine {
        /// Probability that a feature is dropped before the head in training; of an `mlp`, before each of its layers.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.0))]
        dropout: f64,
        /// What the cosines are multiplied with; where it is learned, at first.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 10.0))]
        scale: f64,
        /// Whether the scale is learned with the weights.
        #[schemars(extend("default" = true))]
        learn_scale: bool,
    },
    /// Classes that are ranks, behind a dropout: one score, and rising thresholds between the ranks (a cumulative link model, or proportional odds: McCullagh
    /// 1980). Its outputs are log-probabilities.
    #[schemars(extend("x-firn-since" = 5))]
    Ordinal {
        /// Probability that a feature is dropped before the head in training; of an `mlp`, before each of its layers.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.0))]
        dropout: f64,
    },
}

/// What follows a hidden layer of the head, value by value, as the function of `torch.nn` of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadActivation {
    /// max(x, 0).
    Relu,
    /// x Φ(x), Φ being the distribution function of the normal distribution.
    Gelu,
    /// x / (1 + exp(-x)).
    Silu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Word for HeadActivation {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("relu", Self::Relu),
        ("gelu", Self::Gelu),
        ("silu", Self::Silu),
        ("tanh", Self::Tanh),
    ];
}

impl HeadSpec {
    /// Probability that a feature is dropped before it in training.
    pub fn dropout(&self) -> f64 {
        match *self {
            Self::Linear { dropout }
            | Self::Mlp { dropout, .. }
            | Self::Cosine { dropout, .. }
            | Self::Ordinal { dropout } => dropout,
        }
    }

    /// Whether it is the one layer that torchvision and transformers have.
    pub fn is_linear(&self) -> bool {
        matches!(self, Self::Linear { .. })
    }
}

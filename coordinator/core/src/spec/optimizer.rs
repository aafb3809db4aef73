//! The update rules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
#[schemars(extend("x-firn-type" = "adamw"))]
pub enum OptimizerSpec {
    /// As `torch.optim.SGD`.
    Sgd {
        /// Peak learning rate.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1e-3))]
        learning_rate: f64,
        /// AdamW: decoupled decay. LAMB: part of the direction. SGD, Adam, RMSprop: L2.
        #[schemars(range(min = 0.0), extend("default" = 0.0))]
        weight_decay: f64,
        /// Of the running gradient.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.9))]
        momentum: f64,
        /// Nesterov's variant; needs a momentum above 0.
        #[schemars(extend("default" = false))]
        nesterov: bool,
    },
    /// Loshchilov & Hutter 2019, as `torch.optim.AdamW`.
    AdamW {
        /// Peak learning rate.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1e-3))]
        learning_rate: f64,
        /// AdamW: decoupled decay. LAMB: part of the direction. SGD, Adam, RMSprop: L2.
        #[schemars(range(min = 0.0), extend("default" = 0.01))]
        weight_decay: f64,
        /// Decay of the first moment.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.9))]
        beta1: f64,
        /// Decay of the second moment.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.999))]
        beta2: f64,
        /// Added to the denominator.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1e-8))]
        epsilon: f64,
    },
    /// Kingma & Ba 2015, as `torch.optim.Adam`.
    #[schemars(extend("x-firn-since" = 5))]
    Adam {
        /// Peak learning rate.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1e-3))]
        learning_rate: f64,
        /// AdamW: decoupled decay. LAMB: part of the direction. SGD, Adam, RMSprop: L2.
        #[schemars(range(min = 0.0), extend("default" = 0.0))]
        weight_decay: f64,
        /// Decay of the first moment.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.9))]
        beta1: f64,
        /// Decay of the second moment.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.999))]
        beta2: f64,
        /// Added to the denominator.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1e-8))]
        epsilon: f64,
    },
    /// Hinton 2012, as `torch.optim.RMSprop`.
    #[schemars(extend("x-firn-since" = 5))]
    RmsProp {
        /// Peak learning rate.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1e-3))]
        learning_rate: f64,
        /// AdamW: decoupled decay. LAMB: part of the direction. SGD, Adam, RMSprop: L2.
        #[schemars(range(min = 0.0), extend("default" = 0.0))]
        weight_decay: f64,
        /// Decay of the mean square.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.99))]
        alpha: f64,
        /// Of the running gradient.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.0))]
        momentum: f64,
        /// Whether the square of the mean gradient is taken from the mean square.
        #[schemars(extend("default" = false))]
        centered: bool,
        /// Added to the denominator.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1e-8))]
        epsilon: f64,
    },
    /// You et al. 2020, for global batches of thousands of samples: each tensor that decays moves by a part of its own norm. As `timm.optim.Lamb`
    /// without its limit of the gradient, which is `maxGradientNorm`.
    #[schemars(extend("x-firn-since" = 5))]
    Lamb {
        /// Peak learning rate.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1e-3))]
        learning_rate: f64,
        /// AdamW: decoupled decay. LAMB: part of the direction. SGD, Adam, RMSprop: L2.
        #[schemars(range(min = 0.0), extend("default" = 0.01))]
        weight_decay: f64,
        /// Decay of the first moment.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.9))]
        beta1: f64,
        /// Decay of the second moment.
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.999))]
        beta2: f64,
        /// Added to the denominator.
        #[schemars(extend("exclusiveMinimum" = 0.0, "default" = 1e-6))]
        epsilon: f64,
    },
}

impl OptimizerSpec {
    /// The peak learning rate.
    pub fn learning_rate(&self) -> f64 {
        match *self {
            Self::Sgd { learning_rate, .. }
            | Self::AdamW { learning_rate, .. }
            | Self::Adam { learning_rate, .. }
            | Self::RmsProp { learning_rate, .. }
            | Self::Lamb { learning_rate, .. } => learning_rate,
        }
    }

    /// How strongly the tensors that decay do so.
    pub fn weight_decay(&self) -> f64 {
        match *self {
            Self::Sgd { weight_decay, .. }
            | Self::AdamW { weight_decay, .. }
            | Self::Adam { weight_decay, .. }
            | Self::RmsProp { weight_decay, .. }
            | Self::Lamb { weight_decay, .. } => weight_decay,
        }
    }
}

/// Which tensors weight decay makes smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decayed {
    /// All that train, as `torch.optim` does.
    All,
    /// Those of two dimensions and more: not biases, and not the scales of norms, as transformers and timm do.
    Weights,
}

//! What training makes small, in sums.
//!
//! Ranks hand out two sums over their samples, Σwℓ and Σw; the division happens once, after they were added over micro-batches and ranks.
//! So an objective never averages. Each has its own file; [`Objective`] chooses.

mod cross_entropy;

pub use cross_entropy::CrossEntropy;

use tch::{Device, Tensor};

use crate::error::ModelError;

/// What training makes small.
pub enum Objective {
    /// Of exclusive classes.
    CrossEntropy(CrossEntropy),
}

/// What is expected of the network for the samples of a batch.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// The class of each sample, below the number of outputs.
    Classes(&'a [i64]),
}

/// Both sums of a batch.
#[derive(Debug)]
pub struct LossSums {
    /// Σᵢwᵢℓᵢ, a scalar that gradients flow from.
    pub loss: Tensor,
    /// Σᵢwᵢ; the number of samples where all weigh 1.
    pub weight: f64,
}

impl Objective {
    /// `class_weights`: one for each class, `None` for all 1; `label_smoothing` in [0, 1).
    ///
    /// # Errors
    /// When the weights cannot be put on the device.
    pub fn cross_entropy(
        class_weights: Option<&[f64]>,
        label_smoothing: f64,
        device: Device,
    ) -> Result<Self, ModelError> {
        CrossEntropy::new(class_weights, label_smoothing, device).map(Self::CrossEntropy)
    }

    /// The sums over a batch of outputs `(n, outputs)`.
    ///
    /// # Errors
    /// When what is expected does not fit the outputs, in number or in kind.
    pub fn sums(&self, outputs: &Tensor, expected: Expected<'_>) -> Result<LossSums, ModelError> {
        match (self, expected) {
            (Self::CrossEntropy(loss), Expected::Classes(labels)) => loss.sums(outputs, labels),
        }
    }
}

fn mismatch(what: &str, expected: String, found: String) -> ModelError {
    ModelError::Mismatch {
        what: what.to_owned(),
        expected,
        found,
    }
}

//! Focal loss (Lin et al. 2017, arXiv 1708.02002): cross-entropy in which a sample counts the less, the surer the network is of it.
//!
//! Of classes, a sample's loss is w\[y\]·(1 - p\[y\])^γ·(-log p\[y\]), and the mean is Σᵢℓᵢ / Σᵢw\[yᵢ\]; with γ = 0 it is that of
//! [`CrossEntropy`](super::CrossEntropy). Of labels it is `torchvision.ops.sigmoid_focal_loss`, the mean over samples and labels:
//! αₜ·(1 - pₜ)^γ·(-log pₜ), where pₜ is the probability of what is true of a label, and αₜ is α where a sample has it, else 1 - α.

use tch::{Device, Kind, Reduction, Tensor};

use super::{
    LossSums,
    binary_cross_entropy::indicators,
    cross_entropy::{ClassWeights, check_labels},
    mismatch,
};
use crate::error::ModelError;

/// Over the logits of exclusive classes.
pub struct Focal {
    gamma: f64,
    weights: ClassWeights,
}

impl Focal {
    /// `class_weights`: one for each class, `None` for all 1.
    pub(super) fn new(gamma: f64, class_weights: Option<&[f64]>, device: Device) -> Result<Self, ModelError> {
        Ok(Self {
            gamma,
            weights: ClassWeights::new(class_weights, device)?,
        })
    }

    /// The sums over a batch: logits `(n, classes)`, labels `n`, each in `0..classes`.
    pub(super) fn sums(&self, logits: &Tensor, labels: &[i64]) -> Result<LossSums, ModelError> {
        let classes = check_labels(logits, labels)?;
        self.weights.check(classes)?;
        let target = Tensor::f_from_slice(labels)?.f_to_device(logits.device())?;
        let costs = logits.f_cross_entropy_loss(&target, None::<&Tensor>, Reduction::None, -100, 0.0)?;
        let mut losses = focused(&costs, self.gamma)?;
        if let Some(weights) = self.weights.tensor() {
            losses = losses.f_mul(&weights.f_index_select(0, &target)?)?;
        }
        Ok(LossSums {
            loss: losses.f_sum(Kind::Float)?,
            weight: self.weights.sum(labels),
        })
    }
}

/// Over one logit for each label.
pub struct SigmoidFocal {
    gamma: f64,
    alpha: f64,
}

impl SigmoidFocal {
    /// `alpha`: weight of samples that have a label, from 0 to 1; 1 - `alpha` is that of the others.
    pub(super) fn new(gamma: f64, alpha: f64) -> Self {
        Self { gamma, alpha }
    }

    /// The sums over a batch: logits `(n, labels)`; of each of n samples its labels, each in `0..labels`.
    pub(super) fn sums(&self, logits: &Tensor, labels: &[Vec<u32>]) -> Result<LossSums, ModelError> {
        let (batch, width) = logits.size2()?;
        if batch as usize != labels.len() {
            return Err(mismatch(
                "label sets of a batch",
                batch.to_string(),
                labels.len().to_string(),
            ));
        }
        let expected = indicators(labels, width)?.f_to_device(logits.device())?;
        let none = None::<&Tensor>;
        let costs = logits.f_binary_cross_entropy_with_logits(&expected, none, none, Reduction::None)?;
        // α where the label is there, else 1 - α.
        let weights = expected
            .f_mul_scalar(2.0 * self.alpha - 1.0)?
            .f_add_scalar(1.0 - self.alpha)?;
        let sum = focused(&costs, self.gamma)?.f_mul(&weights)?.f_sum(Kind::Float)?;
        Ok(LossSums {
            loss: sum.f_div_scalar(width as f64)?,
            weight: batch as f64,
        })
    }
}

/// (1 - p)^γ·c for costs c = -log p. The power's derivative is infinite at 0, where γ is below 1, and counts for nothing: the cost is 0.
fn focused(costs: &Tensor, gamma: f64) -> Result<Tensor, ModelError> {
    let unsure = costs
        .f_neg()?
        .f_expm1()?
        .f_neg()?
        .f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
    Ok(unsure.f_pow_tensor_scalar(gamma)?.f_mul(costs)?)
}

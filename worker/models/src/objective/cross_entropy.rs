//! Cross-entropy with class weights and label smoothing.
//!
//! `torch.nn.CrossEntropyLoss(weight=w, label_smoothing=ε)` is Σᵢℓᵢ / Σᵢw\[yᵢ\] with
//! ℓᵢ = -(1-ε)·w\[yᵢ\]·log pᵢ\[yᵢ\] - ε/C·Σ_c w[c]·log pᵢ[c].

use tch::{Device, Reduction, Tensor};

use super::{LossSums, mismatch};
use crate::error::ModelError;

/// Over the logits of exclusive classes.
pub struct CrossEntropy {
    weights: Option<(Vec<f64>, Tensor)>,
    smoothing: f64,
}

impl CrossEntropy {
    /// `class_weights`: one for each class, `None` for all 1; `label_smoothing` in [0, 1).
    pub(super) fn new(class_weights: Option<&[f64]>, label_smoothing: f64, device: Device) -> Result<Self, ModelError> {
        let weights = match class_weights {
            None => None,
            Some(weights) => {
                let single: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
                Some((weights.to_vec(), Tensor::f_from_slice(&single)?.f_to_device(device)?))
            }
        };
        Ok(Self {
            weights,
            smoothing: label_smoothing,
        })
    }

    /// The sums over a batch: logits `(n, classes)`, labels `n`, each in `0..classes`.
    pub(super) fn sums(&self, logits: &Tensor, labels: &[i64]) -> Result<LossSums, ModelError> {
        let (batch, classes) = logits.size2()?;
        if batch as usize != labels.len() {
            return Err(mismatch(
                "labels of a batch",
                format!("{batch}"),
                labels.len().to_string(),
            ));
        }
        if let Some((position, label)) = labels
            .iter()
            .enumerate()
            .find(|(_, label)| !(0..classes).contains(*label))
        {
            return Err(mismatch(
                &format!("label {position} of the batch"),
                format!("0 to {}", classes - 1),
                label.to_string(),
            ));
        }
        if let Some((weights, _)) = self
            .weights
            .as_ref()
            .filter(|(weights, _)| weights.len() as i64 != classes)
        {
            return Err(mismatch(
                "class weights",
                classes.to_string(),
                weights.len().to_string(),
            ));
        }
        let weight = match &self.weights {
            None => labels.len() as f64,
            Some((weights, _)) => labels.iter().map(|&label| weights[label as usize]).sum(),
        };
        let target = Tensor::f_from_slice(labels)?.f_to_device(logits.device())?;
        let tensor = self.weights.as_ref().map(|(_, tensor)| tensor);
        let loss = logits.f_cross_entropy_loss(&target, tensor, Reduction::Sum, -100, self.smoothing)?;
        Ok(LossSums { loss, weight })
    }
}

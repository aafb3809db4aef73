//! Cross-entropy with class weights and label smoothing, in sums.
//!
//! `torch.nn.CrossEntropyLoss(weight=w, label_smoothing=ε)` is Σᵢℓᵢ / Σᵢw\[yᵢ\] with
//! ℓᵢ = -(1-ε)·w\[yᵢ\]·log pᵢ\[yᵢ\] - ε/C·Σ_c w[c]·log pᵢ[c]. Ranks hand out the two sums; the division happens once, after they were
//! added over micro-batches and ranks.

use tch::{Device, Reduction, Tensor};

use crate::error::ModelError;

/// The objective.
pub struct Loss {
    weights: Option<(Vec<f64>, Tensor)>,
    smoothing: f64,
}

/// Both sums of a batch.
#[derive(Debug)]
pub struct LossSums {
    /// Σᵢℓᵢ, a scalar that gradients flow from.
    pub loss: Tensor,
    /// Σᵢw\[yᵢ\]; the number of samples when all classes weigh 1.
    pub weight: f64,
}

impl Loss {
    /// `class_weights`: one for each class, `None` for all 1; `label_smoothing` in [0, 1).
    pub fn new(class_weights: Option<&[f64]>, label_smoothing: f64, device: Device) -> Result<Self, ModelError> {
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
    pub fn sums(&self, logits: &Tensor, labels: &[i64]) -> Result<LossSums, ModelError> {
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

fn mismatch(what: &str, expected: String, found: String) -> ModelError {
    ModelError::Mismatch {
        what: what.to_owned(),
        expected,
        found,
    }
}

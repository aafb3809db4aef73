//! Cross-entropy with class weights and label smoothing.
//!
//! `torch.nn.CrossEntropyLoss(weight=w, label_smoothing=ε)` is Σᵢℓᵢ / Σᵢw\[yᵢ\] with
//! ℓᵢ = -(1-ε)·w\[yᵢ\]·log pᵢ\[yᵢ\] - ε/C·Σ_c w[c]·log pᵢ[c].
//!
//! Of soft targets t it is Σᵢℓᵢ / n with ℓᵢ = -Σ_c w[c]·((1-ε)·tᵢ[c] + ε/C)·log pᵢ[c]: samples count alike, whatever the weights of their classes.

use tch::{Device, Reduction, Tensor};

use super::{LossSums, mismatch};
use crate::error::ModelError;

/// Over the logits of exclusive classes.
pub struct CrossEntropy {
    weights: ClassWeights,
    smoothing: f64,
}

impl CrossEntropy {
    /// `class_weights`: one for each class, `None` for all 1; `label_smoothing` in [0, 1).
    pub(super) fn new(class_weights: Option<&[f64]>, label_smoothing: f64, device: Device) -> Result<Self, ModelError> {
        Ok(Self {
            weights: ClassWeights::new(class_weights, device)?,
            smoothing: label_smoothing,
        })
    }

    /// The sums over a batch: logits `(n, classes)`, labels `n`, each in `0..classes`.
    pub(super) fn sums(&self, logits: &Tensor, labels: &[i64]) -> Result<LossSums, ModelError> {
        let classes = check_labels(logits, labels)?;
        self.weights.check(classes)?;
        let target = Tensor::f_from_slice(labels)?.f_to_device(logits.device())?;
        let weights = self.weights.tensor();
        let loss = logits.f_cross_entropy_loss(&target, weights, Reduction::Sum, -100, self.smoothing)?;
        Ok(LossSums {
            loss,
            weight: self.weights.sum(labels),
        })
    }

    /// The sums over a batch whose targets are soft: `share` of the first labels, the rest of the second ones.
    pub(super) fn mixed_sums(&self, logits: &Tensor, labels: [&[i64]; 2], share: f64) -> Result<LossSums, ModelError> {
        for labels in labels {
            self.weights.check(check_labels(logits, labels)?)?;
        }
        let (batch, classes) = logits.size2()?;
        let mut shares = vec![0f32; (batch * classes) as usize];
        for (labels, share) in labels.into_iter().zip([share as f32, (1.0 - share) as f32]) {
            for (row, label) in shares.chunks_mut(classes.max(1) as usize).zip(labels) {
                row[*label as usize] += share;
            }
        }
        let target = Tensor::f_from_slice(&shares)?
            .f_view([batch, classes])?
            .f_to_device(logits.device())?;
        let loss = logits.f_cross_entropy_loss(&target, self.weights.tensor(), Reduction::Sum, -100, self.smoothing)?;
        Ok(LossSums {
            loss,
            weight: batch as f64,
        })
    }
}

/// Weights of the classes, if they are not all 1: as they were given, and on the device.
pub(super) struct ClassWeights(Option<(Vec<f64>, Tensor)>);

impl ClassWeights {
    pub(super) fn new(weights: Option<&[f64]>, device: Device) -> Result<Self, ModelError> {
        let on_device = |weights: &[f64]| -> Result<_, ModelError> {
            let single: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
            Ok((weights.to_vec(), Tensor::f_from_slice(&single)?.f_to_device(device)?))
        };
        Ok(Self(weights.map(on_device).transpose()?))
    }

    /// `(classes)`.
    pub(super) fn tensor(&self) -> Option<&Tensor> {
        self.0.as_ref().map(|(_, tensor)| tensor)
    }

    /// Refuses weights of another number of classes.
    pub(super) fn check(&self, classes: i64) -> Result<(), ModelError> {
        match &self.0 {
            Some((weights, _)) if weights.len() as i64 != classes => Err(mismatch(
                "class weights",
                classes.to_string(),
                weights.len().to_string(),
            )),
            _ => Ok(()),
        }
    }

    /// Σᵢw\[yᵢ\] of labels that are classes.
    pub(super) fn sum(&self, labels: &[i64]) -> f64 {
        match &self.0 {
            None => labels.len() as f64,
            Some((weights, _)) => labels.iter().map(|&label| weights[label as usize]).sum(),
        }
    }
}

/// The number of classes of logits `(n, classes)`, if they fit the labels.
pub(super) fn check_labels(logits: &Tensor, labels: &[i64]) -> Result<i64, ModelError> {
    let (batch, classes) = logits.size2()?;
    if batch as usize != labels.len() {
        return Err(mismatch(
            "labels of a batch",
            batch.to_string(),
            labels.len().to_string(),
        ));
    }
    let mut places = labels.iter().enumerate();
    match places.find(|(_, label)| !(0..classes).contains(*label)) {
        Some((position, label)) => Err(mismatch(
            &format!("label {position} of the batch"),
            format!("0 to {}", classes - 1),
            label.to_string(),
        )),
        None => Ok(classes),
    }
}

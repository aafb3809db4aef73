//! Binary cross-entropy of labels that do not exclude each other.
//!
//! With the mean over samples that follows it is `torch.nn.BCEWithLogitsLoss(pos_weight=w)`: the mean over samples and labels of
//! -(w\[c\]·y·log σ(x) + (1-y)·log(1-σ(x))).

use tch::{Device, Kind, Reduction, Tensor};

use super::{LossSums, mismatch};
use crate::error::ModelError;

/// Over one logit for each label.
pub struct BinaryCrossEntropy {
    /// Of samples that have the label, `(labels)`.
    positive_weights: Option<Tensor>,
}

impl BinaryCrossEntropy {
    /// `positive_weights`: one for each label, `None` for all 1.
    pub(super) fn new(positive_weights: Option<&[f64]>, device: Device) -> Result<Self, ModelError> {
        let tensor = |weights: &[f64]| -> Result<Tensor, ModelError> {
            let single: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
            Ok(Tensor::f_from_slice(&single)?.f_to_device(device)?)
        };
        Ok(Self {
            positive_weights: positive_weights.map(tensor).transpose()?,
        })
    }

    /// The sums over a batch: logits `(n, labels)`; of each of n samples its labels, each in `0..labels`. The loss of a sample is the mean over
    /// labels.
    pub(super) fn sums(&self, logits: &Tensor, labels: &[Vec<u32>]) -> Result<LossSums, ModelError> {
        let expected = self.indicators(logits, labels)?;
        self.sum(logits, &expected)
    }

    /// The same of soft targets: `share` of the first labels, the rest of the second ones.
    pub(super) fn mixed_sums(
        &self,
        logits: &Tensor,
        [own, partners]: [&[Vec<u32>]; 2],
        share: f64,
    ) -> Result<LossSums, ModelError> {
        let own = self.indicators(logits, own)?.f_mul_scalar(share)?;
        let partners = self.indicators(logits, partners)?.f_mul_scalar(1.0 - share)?;
        self.sum(logits, &partners.f_add(&own)?)
    }

    fn sum(&self, logits: &Tensor, expected: &Tensor) -> Result<LossSums, ModelError> {
        let (batch, width) = logits.size2()?;
        let weights = self.positive_weights.as_ref();
        let sum = logits.f_binary_cross_entropy_with_logits(expected, None::<&Tensor>, weights, Reduction::Sum)?;
        Ok(LossSums {
            loss: sum.f_div_scalar(width as f64)?,
            weight: batch as f64,
        })
    }

    /// `(n, labels)`, 1 where a sample has the label, else 0, where the logits are.
    fn indicators(&self, logits: &Tensor, labels: &[Vec<u32>]) -> Result<Tensor, ModelError> {
        let (batch, width) = logits.size2()?;
        if batch as usize != labels.len() {
            return Err(mismatch(
                "label sets of a batch",
                format!("{batch}"),
                labels.len().to_string(),
            ));
        }
        if let Some(weights) = self
            .positive_weights
            .as_ref()
            .filter(|weights| weights.size() != [width])
        {
            return Err(mismatch(
                "weights of labels",
                width.to_string(),
                format!("{:?}", weights.size()),
            ));
        }
        Ok(indicators(labels, width)?.f_to_device(logits.device())?)
    }
}

/// `(n, width)`, 1 where a sample has the label, else 0.
pub(super) fn indicators(labels: &[Vec<u32>], width: i64) -> Result<Tensor, ModelError> {
    let mut flags = vec![0f32; labels.len() * width as usize];
    for (position, (row, own)) in flags.chunks_mut(width.max(1) as usize).zip(labels).enumerate() {
        for label in own {
            let flag = row.get_mut(*label as usize).ok_or_else(|| {
                mismatch(
                    &format!("a label of sample {position} of the batch"),
                    format!("0 to {}", width - 1),
                    label.to_string(),
                )
            })?;
            *flag = 1.0;
        }
    }
    Ok(Tensor::f_from_slice(&flags)?
        .f_view([labels.len() as i64, width])?
        .f_to_kind(Kind::Float)?)
}

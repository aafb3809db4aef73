//! Dropout whose mask is a function of seed, epoch, sample, unit and layer.
//!
//! So a sample loses the same units on whichever rank, in whichever micro-batch and however often it is computed; torch's own generator
//! would tie the result to the number of ranks.

use tch::Tensor;

use crate::{error::ModelError, random::Stream};

/// Marks a pass as training, and names what the dropout masks depend on.
#[derive(Debug, Clone, Copy)]
pub struct Dropout<'a> {
    /// The job's seed.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Index of each sample of the batch in the manifest of its split.
    pub samples: &'a [u64],
}

/// Drops units of `features` `(n, width)` with this probability and scales what is left by 1/(1-p). `layer` tells the masks of several
/// layers of a network apart.
///
/// # Errors
/// Unless `dropout` names one sample for each row.
pub(crate) fn drop_units(
    features: &Tensor,
    probability: f64,
    layer: &str,
    dropout: &Dropout<'_>,
) -> Result<Tensor, ModelError> {
    Ok(features.f_mul(&mask(features, probability, layer, dropout)?)?)
}

/// 0 with the probability, else 1/(1-p).
fn mask(features: &Tensor, probability: f64, layer: &str, dropout: &Dropout<'_>) -> Result<Tensor, ModelError> {
    let (batch, width) = features.size2()?;
    if batch as usize != dropout.samples.len() {
        return Err(ModelError::Mismatch {
            what: "samples named for dropout".to_owned(),
            expected: format!("{batch}, one for each row of the batch"),
            found: dropout.samples.len().to_string(),
        });
    }
    let kept = (1.0 / (1.0 - probability)) as f32;
    let threshold = (probability * 4_294_967_296.0) as u64;
    let mut mask = Vec::with_capacity((batch * width) as usize);
    for &sample in dropout.samples {
        let mut stream = Stream::new("dropout", &[dropout.seed, u64::from(dropout.epoch), sample], layer);
        mask.extend((0..width).map(|_| {
            if u64::from(stream.bits()) < threshold {
                0.0
            } else {
                kept
            }
        }));
    }
    Ok(Tensor::f_from_slice(&mask)?
        .f_view([batch, width])?
        .f_to_device(features.device())?)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn ones(rows: i64) -> Tensor {
        Tensor::ones([rows, 512], (Kind::Float, Device::Cpu))
    }

    fn masked(probability: f64, layer: &str, epoch: u32, samples: &[u64]) -> Tensor {
        let dropout = Dropout {
            seed: 1,
            epoch,
            samples,
        };
        drop_units(&ones(samples.len() as i64), probability, layer, &dropout).unwrap()
    }

    #[test]
    fn a_sample_loses_the_same_units_in_whichever_batch_it_is() {
        let (one, other) = (masked(0.3, "", 2, &[5, 6, 7]), masked(0.3, "", 2, &[7, 5, 9]));
        assert!(one.get(0).equal(&other.get(1)) && one.get(2).equal(&other.get(0)));
        assert!(!one.get(1).equal(&other.get(2)));
    }

    #[test]
    fn dropout_keeps_the_mean_and_drops_its_share() {
        let samples: Vec<u64> = (0..64).collect();
        let mask = masked(0.25, "", 0, &samples);
        let dropped = mask.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((dropped - 0.25).abs() < 0.01, "dropped {dropped}");
        assert!((mask.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.015);
    }

    #[test]
    fn a_new_epoch_and_another_layer_drop_other_units() {
        let first = masked(0.5, "", 0, &[4]);
        assert!(!first.equal(&masked(0.5, "", 1, &[4])));
        assert!(!first.equal(&masked(0.5, "classifier.0", 0, &[4])));
    }
}

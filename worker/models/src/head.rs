//! The new output layer: dropout, then one linear layer.
//!
//! Dropout's mask is a function of seed, epoch, sample and unit. So a sample loses the same units on whichever rank, in whichever
//! micro-batch and however often it is computed; torch's own generator would tie the result to the number of ranks.

use tch::{Device, Tensor};

use crate::{
    assembly::{Initial, initialised},
    error::ModelError,
    random::Stream,
};

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

/// Dropout and a linear layer.
pub(crate) struct Head {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    dropout: f64,
}

impl Head {
    /// `torch.nn.Linear`'s initialisation: uniform in ±1/√inputs for weight and bias, from the seed.
    pub(crate) fn new(seed: u64, shape: [i64; 2], dropout: f64, device: Device) -> Result<Self, ModelError> {
        let bound = Initial::Uniform(1.0 / (shape[1] as f64).sqrt());
        let leaf = |name, shape: &[i64]| -> Result<Tensor, ModelError> {
            Ok(initialised(seed, name, shape, bound)?
                .f_to_device(device)?
                .f_set_requires_grad(true)?)
        };
        Ok(Self {
            weight: leaf("head.weight", &shape)?,
            bias: leaf("head.bias", &shape[..1])?,
            dropout,
        })
    }

    /// Pooled features `(n, width)` to logits `(n, classes)`.
    pub(crate) fn forward(&self, features: &Tensor, dropout: Option<&Dropout<'_>>) -> Result<Tensor, ModelError> {
        match dropout.filter(|_| self.dropout > 0.0) {
            Some(dropout) => {
                let mask = self.mask(features, dropout)?;
                Ok(features.f_mul(&mask)?.f_linear(&self.weight, Some(&self.bias))?)
            }
            None => Ok(features.f_linear(&self.weight, Some(&self.bias))?),
        }
    }

    /// 0 with probability p, else 1/(1-p).
    fn mask(&self, features: &Tensor, dropout: &Dropout<'_>) -> Result<Tensor, ModelError> {
        let (batch, width) = features.size2()?;
        if batch as usize != dropout.samples.len() {
            return Err(ModelError::Mismatch {
                what: "samples named for dropout".to_owned(),
                expected: format!("{batch}, one for each row of the batch"),
                found: dropout.samples.len().to_string(),
            });
        }
        let kept = (1.0 / (1.0 - self.dropout)) as f32;
        let threshold = (self.dropout * 4_294_967_296.0) as u64;
        let mut mask = Vec::with_capacity((batch * width) as usize);
        for &sample in dropout.samples {
            let mut stream = Stream::new("dropout", &[dropout.seed, u64::from(dropout.epoch), sample], "");
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
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn head(dropout: f64) -> Head {
        Head::new(3, [4, 512], dropout, Device::Cpu).unwrap()
    }

    #[test]
    fn a_sample_loses_the_same_units_in_whichever_batch_it_is() {
        let head = head(0.3);
        let ones = Tensor::ones([3, 512], (Kind::Float, Device::Cpu));
        let pass = |samples| {
            head.mask(
                &ones.narrow(0, 0, 3),
                &Dropout {
                    seed: 1,
                    epoch: 2,
                    samples,
                },
            )
            .unwrap()
        };
        let (one, other) = (pass(&[5, 6, 7]), pass(&[7, 5, 9]));
        assert!(one.get(0).equal(&other.get(1)) && one.get(2).equal(&other.get(0)));
        assert!(!one.get(1).equal(&other.get(2)));
    }

    #[test]
    fn dropout_keeps_the_mean_and_drops_its_share() {
        let head = head(0.25);
        let ones = Tensor::ones([64, 512], (Kind::Float, Device::Cpu));
        let samples: Vec<u64> = (0..64).collect();
        let mask = head
            .mask(
                &ones,
                &Dropout {
                    seed: 1,
                    epoch: 0,
                    samples: &samples,
                },
            )
            .unwrap();
        let dropped = mask.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((dropped - 0.25).abs() < 0.01, "dropped {dropped}");
        assert!((mask.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.015);
    }

    #[test]
    fn a_new_epoch_drops_other_units() {
        let head = head(0.5);
        let ones = Tensor::ones([1, 512], (Kind::Float, Device::Cpu));
        let pass = |epoch| {
            head.mask(
                &ones,
                &Dropout {
                    seed: 1,
                    epoch,
                    samples: &[4],
                },
            )
            .unwrap()
        };
        assert!(!pass(0).equal(&pass(1)));
    }

    #[test]
    fn evaluation_drops_nothing() {
        let head = head(0.9);
        let ones = Tensor::ones([1, 512], (Kind::Float, Device::Cpu));
        let expected = head.weight.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float) + &head.bias;
        let difference = (head.forward(&ones, None).unwrap() - expected)
            .abs()
            .max()
            .double_value(&[]);
        assert!(difference < 1e-4, "difference {difference}");
    }

    #[test]
    fn the_initialisation_is_that_of_a_linear_layer() {
        let head = head(0.0);
        let bound = 1.0 / 512_f64.sqrt();
        let (low, high) = (head.weight.min().double_value(&[]), head.weight.max().double_value(&[]));
        assert!(
            low >= -bound && high <= bound && low < -0.98 * bound && high > 0.98 * bound,
            "{low} {high}"
        );
        assert!(head.weight.equal(&self::head(0.0).weight), "the seed alone decides");
    }

    #[test]
    fn a_wrong_number_of_samples_is_refused() {
        let ones = Tensor::ones([2, 512], (Kind::Float, Device::Cpu));
        let error = head(0.5)
            .forward(
                &ones,
                Some(&Dropout {
                    seed: 0,
                    epoch: 0,
                    samples: &[1],
                }),
            )
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "samples named for dropout: expected 2, one for each row of the batch, found 1"
        );
    }
}

//! New output layers: dropout, then one linear layer.

use tch::{Device, Tensor};

use crate::{
    error::ModelError,
    layers::dropout::{Dropout, drop_units},
    parameter_builder::{Initial, initialised},
};

/// Firn's name of the output layer that every model has.
pub(crate) const HEAD: &str = "head";

/// Dropout and a linear layer.
pub(crate) struct Head {
    name: &'static str,
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    dropout: f64,
}

impl Head {
    /// `shape`: outputs, inputs. `torch.nn.Linear`'s initialisation: uniform in ±1/√inputs for weight and bias, from the seed.
    pub(crate) fn new(
        name: &'static str,
        (seed, device): (u64, Device),
        shape: [i64; 2],
        has_bias: bool,
        dropout: f64,
    ) -> Result<Self, ModelError> {
        let bound = Initial::Uniform(1.0 / (shape[1] as f64).sqrt());
        let leaf = |tail, shape: &[i64]| -> Result<Tensor, ModelError> {
            Ok(initialised(seed, &format!("{name}.{tail}"), shape, bound)?
                .f_to_device(device)?
                .f_set_requires_grad(true)?)
        };
        Ok(Self {
            name,
            weight: leaf("weight", &shape)?,
            bias: has_bias.then(|| leaf("bias", &shape[..1])).transpose()?,
            dropout,
        })
    }

    /// Its tensors by Firn's names.
    pub(crate) fn tensors(&self) -> Vec<(String, Tensor)> {
        let name = self.name;
        let bias = self
            .bias
            .iter()
            .map(|bias| (format!("{name}.bias"), bias.shallow_clone()));
        std::iter::once((format!("{name}.weight"), self.weight.shallow_clone()))
            .chain(bias)
            .collect()
    }

    /// Pooled features `(n, width)` to logits `(n, classes)`.
    pub(crate) fn forward(&self, features: &Tensor, dropout: Option<&Dropout<'_>>) -> Result<Tensor, ModelError> {
        match dropout.filter(|_| self.dropout > 0.0) {
            Some(dropout) => {
                let features = drop_units(features, self.dropout, "", dropout)?;
                Ok(features.f_linear(&self.weight, self.bias.as_ref())?)
            }
            None => Ok(features.f_linear(&self.weight, self.bias.as_ref())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn head(dropout: f64) -> Head {
        Head::new(HEAD, (3, Device::Cpu), [4, 512], true, dropout).unwrap()
    }

    #[test]
    fn evaluation_drops_nothing() {
        let head = head(0.9);
        let ones = Tensor::ones([1, 512], (Kind::Float, Device::Cpu));
        let expected =
            head.weight.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float) + head.bias.as_ref().unwrap();
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

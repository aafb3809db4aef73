//! What a head computes between its features and its outputs.

use firn_core::spec::HeadActivation;
use tch::{Device, Tensor};

use crate::{
    error::ModelError,
    layers::dropout::{Dropout, drop_units},
    parameter_builder::{Initial, initialised},
};

/// Draws the tensors of a head by their names in it, as leaves that gradients train.
pub(super) struct Draws {
    /// Firn's name of the head.
    pub(super) name: &'static str,
    pub(super) seed: u64,
    pub(super) device: Device,
}

impl Draws {
    fn leaf(&self, tensor: Tensor) -> Result<Tensor, ModelError> {
        Ok(tensor.f_to_device(self.device)?.f_set_requires_grad(true)?)
    }

    /// `torch.nn.Linear`'s initialisation: uniform in ±1/√inputs.
    fn uniform(&self, tail: &str, (shape, inputs): (&[i64], i64)) -> Result<Tensor, ModelError> {
        let bound = Initial::Uniform(1.0 / (inputs as f64).sqrt());
        self.leaf(initialised(self.seed, &format!("{}.{tail}", self.name), shape, bound)?)
    }
}

/// Weight `(outputs, inputs)`, and a bias where there is one.
pub(super) struct Affine {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    /// What stands before both in their names: `1.` of the second layer of a sequence.
    prefix: String,
}

impl Affine {
    pub(super) fn new(draws: &Draws, prefix: String, shape: [i64; 2], has_bias: bool) -> Result<Self, ModelError> {
        let bias = has_bias.then(|| draws.uniform(&format!("{prefix}bias"), (&shape[..1], shape[1])));
        Ok(Self {
            weight: draws.uniform(&format!("{prefix}weight"), (&shape, shape[1]))?,
            bias: bias.transpose()?,
            prefix,
        })
    }

    pub(super) fn tensors(&self) -> Vec<(String, &Tensor)> {
        let named = |tail: &str| format!("{}{tail}", self.prefix);
        let bias = self.bias.iter().map(|bias| (named("bias"), bias));
        std::iter::once((named("weight"), &self.weight)).chain(bias).collect()
    }

    pub(super) fn forward(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        Ok(features.f_linear(&self.weight, self.bias.as_ref())?)
    }
}

/// The `torch.nn.Sequential` of a dropout, a linear layer and an activation for each hidden layer, then a dropout and a linear layer. So the
/// linear layers are its modules 1, 4, 7 and so on.
pub(super) struct Mlp {
    layers: Vec<Affine>,
    activation: HeadActivation,
}

impl Mlp {
    /// `widths`: of the features, of each hidden layer, of the outputs.
    pub(super) fn new(draws: &Draws, widths: &[i64], activation: HeadActivation) -> Result<Self, ModelError> {
        let layer = |(place, pair): (usize, &[i64])| {
            let prefix = format!("{}.", 3 * place + 1);
            Affine::new(draws, prefix, [pair[1], pair[0]], true)
        };
        Ok(Self {
            layers: widths.windows(2).enumerate().map(layer).collect::<Result<_, _>>()?,
            activation,
        })
    }

    pub(super) fn tensors(&self) -> Vec<(String, &Tensor)> {
        self.layers.iter().flat_map(Affine::tensors).collect()
    }

    /// `features` have lost their units already; those of hidden layers are dropped here.
    pub(super) fn forward(
        &self,
        features: Tensor,
        probability: f64,
        dropout: Option<&Dropout<'_>>,
    ) -> Result<Tensor, ModelError> {
        let mut state = features;
        for (place, layer) in self.layers.iter().enumerate() {
            if place > 0 {
                state = activated(self.activation, &state)?;
                if let Some(dropout) = dropout {
                    state = drop_units(&state, probability, &format!("head.{}", 3 * place), dropout)?;
                }
            }
            state = layer.forward(&state)?;
        }
        Ok(state)
    }
}

fn activated(activation: HeadActivation, state: &Tensor) -> Result<Tensor, ModelError> {
    Ok(match activation {
        HeadActivation::Relu => state.f_relu()?,
        HeadActivation::Gelu => state.f_gelu("none")?,
        HeadActivation::Silu => state.f_silu()?,
        HeadActivation::Tanh => state.f_tanh()?,
    })
}

/// scale · cos(features, weight of each output), as `scale * F.linear(F.normalize(features), F.normalize(weight))`.
pub(super) struct Cosine {
    pub(super) weight: Tensor,
    pub(super) scale: Tensor,
    pub(super) learns_scale: bool,
}

/// The least length that something is divided by, as in `torch.nn.functional.normalize`.
const LEAST_LENGTH: f64 = 1e-12;

impl Cosine {
    pub(super) fn new(draws: &Draws, shape: [i64; 2], (scale, learns_scale): (f64, bool)) -> Result<Self, ModelError> {
        let scale = Tensor::from(scale as f32).f_to_device(draws.device)?;
        Ok(Self {
            weight: draws.uniform("weight", (&shape, shape[1]))?,
            scale: match learns_scale {
                true => draws.leaf(scale)?,
                false => scale,
            },
            learns_scale,
        })
    }

    pub(super) fn forward(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let cosines = normalised(features)?.f_linear(&normalised(&self.weight)?, None::<&Tensor>)?;
        Ok(cosines.f_mul(&self.scale)?)
    }
}

/// Rows of length 1.
fn normalised(rows: &Tensor) -> Result<Tensor, ModelError> {
    let lengths = rows.f_norm_scalaropt_dim(2.0, [1_i64].as_slice(), true)?;
    Ok(rows.f_div(&lengths.f_clamp_min(LEAST_LENGTH)?)?)
}

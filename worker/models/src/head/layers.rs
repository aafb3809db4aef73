//! What a head computes between its features and its outputs.

use firn_core::spec::HeadActivation;
use tch::{Device, Kind, Tensor};

use crate::{
    error::ModelError,
    layers::dropout::{Dropout, drop_states, drop_units},
    parameter_builder::{Initial, initialised},
    shared_batch::Leaves,
};

/// Drops units of one vector a sample, or of one a token.
pub(super) fn dropped(
    features: Tensor,
    probability: f64,
    layer: &str,
    dropout: &Dropout<'_>,
) -> Result<Tensor, ModelError> {
    match features.dim() {
        2 => drop_units(&features, probability, layer, dropout),
        _ => drop_states(features, probability, &format!("{layer}.tokens"), Some(dropout)),
    }
}

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

    pub(super) fn with(&self, leaves: Leaves<'_>) -> Self {
        Self {
            weight: leaves.of(&self.weight),
            bias: leaves.of_option(self.bias.as_ref()),
            prefix: self.prefix.clone(),
        }
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

    pub(super) fn with(&self, leaves: Leaves<'_>) -> Self {
        Self {
            layers: self.layers.iter().map(|layer| layer.with(leaves)).collect(),
            activation: self.activation,
        }
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
                    state = dropped(state, probability, &format!("head.{}", 3 * place), dropout)?;
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

/// A cumulative link model with the logistic function: P(rank ≤ k) = σ(θₖ − w·x), of K ranks with K - 1 rising thresholds θ.
pub(super) struct Ordinal {
    pub(super) weight: Tensor,
    /// θ₁, and then what softplus makes the distance of each threshold from the one before it.
    pub(super) cutpoints: Tensor,
}

impl Ordinal {
    /// `shape`: ranks, inputs. Thresholds begin where every rank is as likely as the others at a score of 0.
    pub(super) fn new(draws: &Draws, [ranks, inputs]: [i64; 2]) -> Result<Self, ModelError> {
        if ranks < 2 {
            return Err(ModelError::Mismatch {
                what: "spec.model.head.type".to_owned(),
                expected: "two classes or more where it is `ordinal`".to_owned(),
                found: ranks.to_string(),
            });
        }
        let threshold = |rank: i64| {
            let below = rank as f64 / ranks as f64;
            (below / (1.0 - below)).ln()
        };
        // The inverse of softplus.
        let distance = |rank: i64| (threshold(rank) - threshold(rank - 1)).exp_m1().ln() as f32;
        let cutpoints: Vec<f32> = std::iter::once(threshold(1) as f32)
            .chain((2..ranks).map(distance))
            .collect();
        Ok(Self {
            weight: draws.uniform("weight", (&[1, inputs], inputs))?,
            cutpoints: draws.leaf(Tensor::f_from_slice(&cutpoints)?)?,
        })
    }

    pub(super) fn with(&self, leaves: Leaves<'_>) -> Self {
        Self {
            weight: leaves.of(&self.weight),
            cutpoints: leaves.of(&self.cutpoints),
        }
    }

    /// The logarithm of the probability of each rank. That of one between two thresholds a > b of a score s is the logarithm of
    /// σ(a - s) - σ(b - s) = σ(a - s) σ(s - b) (1 - exp(b - a)), which is exact where both are near 0 or 1.
    pub(super) fn forward(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let between = self.cutpoints.size1()? - 1;
        let first = self.cutpoints.f_narrow(0, 0, 1)?;
        let distances = self.cutpoints.f_narrow(0, 1, between)?.f_softplus()?;
        let others = distances.f_cumsum(0, Kind::Float)?.f_add(&first)?;
        let thresholds = Tensor::f_cat(&[first, others], 0)?;
        let margins = thresholds.f_sub(&features.f_linear(&self.weight, None::<&Tensor>)?)?;
        let (below, above) = (margins.f_log_sigmoid()?, margins.f_neg()?.f_log_sigmoid()?);
        let spans = distances.f_neg()?.f_expm1()?.f_neg()?.f_log()?;
        let middle = below
            .f_narrow(1, 1, between)?
            .f_add(&above.f_narrow(1, 0, between)?)?
            .f_add(&spans)?;
        let (lowest, highest) = (below.f_narrow(1, 0, 1)?, above.f_narrow(1, between, 1)?);
        Ok(Tensor::f_cat(&[lowest, middle, highest], 1)?)
    }
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

    pub(super) fn with(&self, leaves: Leaves<'_>) -> Self {
        Self {
            weight: leaves.of(&self.weight),
            scale: leaves.of(&self.scale),
            learns_scale: self.learns_scale,
        }
    }

    pub(super) fn forward(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let cosines = normalised(features)?.f_linear(&normalised(&self.weight)?, None::<&Tensor>)?;
        Ok(cosines.f_mul(&self.scale)?)
    }
}

/// Rows of length 1.
fn normalised(rows: &Tensor) -> Result<Tensor, ModelError> {
    let lengths = rows.f_norm_scalaropt_dim(2.0, [-1_i64].as_slice(), true)?;
    Ok(rows.f_div(&lengths.f_clamp_min(LEAST_LENGTH)?)?)
}

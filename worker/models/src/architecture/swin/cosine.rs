//! How the second version compares patches: by the cosine of query and key, times a number that each head learns, and a bias that a small network gives
//! for each difference of two places.

use tch::{Kind, Tensor};

use super::{DEVIATION, Shape};
use crate::{
    error::ModelError,
    layers::{linear::Linear, precision},
    parameter_builder::{Initial, ParameterBuilder, Role},
    stage::Pass,
    weights::naming::Library,
};

/// Units of the small network.
const UNITS: i64 = 512;
/// The largest number by which a cosine is multiplied.
const LARGEST_SCALE: f64 = 100.0;
/// The bias is between 0 and this.
const LARGEST_BIAS: f64 = 16.0;
/// Below this length a vector is divided by it, as in PyTorch's `normalize`.
const SHORTEST: f64 = 1e-12;

pub(super) struct Cosines {
    projections: Projections,
    /// The logarithm of what a cosine is multiplied by, `(heads, 1, 1)`.
    scale: Tensor,
    wide: Linear,
    output: Linear,
    /// What the small network is given, `((2·window-1)², 2)`.
    differences: Tensor,
}

impl Cosines {
    pub(super) fn new(builder: &mut ParameterBuilder<'_>, prefix: &str, shape: Shape) -> Result<Self, ModelError> {
        let name = |tail: &str| format!("{prefix}.{tail}");
        let initial = Initial::Value(10_f64.ln());
        Ok(Self {
            scale: builder.tensor(&name("logit_scale"), &[shape.heads, 1, 1], Role::Parameter, initial)?,
            wide: Linear::new(builder, &name("cpb_mlp.0"), [UNITS, 2], DEVIATION)?,
            output: Linear::without_bias(builder, &name("cpb_mlp.2"), [shape.heads, UNITS], DEVIATION)?,
            projections: Projections::new(builder, prefix, shape.width)?,
            differences: differences(shape.window)?.f_to_device(builder.device())?,
        })
    }

    /// Query, key and value, each of the shape of `states`.
    pub(super) fn projected(&self, states: &Tensor, pass: &Pass<'_>) -> Result<[Tensor; 3], ModelError> {
        self.projections.forward(states, pass)
    }

    /// Queries and keys `(windows, heads, patches, width of a head)` to a number for each pair of patches, `(windows, heads, patches, patches)`.
    pub(super) fn compared(&self, query: &Tensor, key: &Tensor) -> Result<Tensor, ModelError> {
        let cosines = unit(query)?.f_matmul(&unit(key)?.f_transpose(-2, -1)?)?;
        Ok(cosines.f_mul(&self.scale.f_clamp_max(LARGEST_SCALE.ln())?.f_exp()?)?)
    }

    /// What each head adds, a row for each difference of two places, `((2·window-1)², heads)`.
    pub(super) fn table(&self, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let wide = self.wide.forward(&self.differences, pass)?.f_relu()?;
        let found = self.output.forward(&wide, pass)?;
        Ok(found.f_sigmoid()?.f_mul_scalar(LARGEST_BIAS)?)
    }
}

/// Vectors of length 1.
fn unit(vectors: &Tensor) -> Result<Tensor, ModelError> {
    let lengths = vectors.f_norm_scalaropt_dim(2.0, [-1_i64].as_slice(), true)?;
    Ok(vectors.f_div(&lengths.f_clamp_min(SHORTEST)?)?)
}

/// Query, key and value of a state; the key has no bias.
enum Projections {
    /// In one matrix, as torchvision and timm keep them.
    Joint { weight: Tensor, bias: Bias },
    /// In three, as transformers does.
    Separate(Box<[Linear; 3]>),
}

/// Of query, key and value in one matrix.
enum Bias {
    /// torchvision's, whose middle third has no effect.
    Whole(Tensor),
    /// timm's of query and value.
    Parts([Tensor; 2]),
}

impl Projections {
    fn new(builder: &mut ParameterBuilder<'_>, prefix: &str, width: i64) -> Result<Self, ModelError> {
        let name = |tail: &str| format!("{prefix}.{tail}");
        if builder.library() == Library::HuggingFace {
            let shape = [width, width];
            return Ok(Self::Separate(Box::new([
                Linear::new(builder, &name("query"), shape, DEVIATION)?,
                Linear::without_bias(builder, &name("key"), shape, DEVIATION)?,
                Linear::new(builder, &name("value"), shape, DEVIATION)?,
            ])));
        }
        let initial = Initial::Normal(DEVIATION);
        let weight = builder.tensor(&name("qkv.weight"), &[3 * width, width], Role::Parameter, initial)?;
        let is_timm = builder.library() == Library::Timm;
        let mut bias = |tail, length| builder.tensor(&name(tail), &[length], Role::Parameter, Initial::Zeros);
        let bias = match is_timm {
            true => Bias::Parts([bias("q_bias", width)?, bias("v_bias", width)?]),
            false => Bias::Whole(bias("qkv.bias", 3 * width)?),
        };
        Ok(Self::Joint { weight, bias })
    }

    fn forward(&self, states: &Tensor, pass: &Pass<'_>) -> Result<[Tensor; 3], ModelError> {
        match self {
            Self::Joint { weight, bias } => {
                let all = precision::product(states, weight, Some(&bias.of_all()?), |states, weight, bias| {
                    Ok(states.f_linear(weight, bias)?)
                })?;
                let parts = all.f_chunk(3, -1)?;
                Ok(parts.try_into().expect("three parts were asked for"))
            }
            Self::Separate(layers) => {
                let [query, key, value] = layers.as_ref();
                let part = |linear: &Linear| linear.forward(states, pass);
                Ok([part(query)?, part(key)?, part(value)?])
            }
        }
    }
}

impl Bias {
    /// Of query, key and value, that of the key being 0.
    fn of_all(&self) -> Result<Tensor, ModelError> {
        let [query, value] = match self {
            Self::Whole(bias) => {
                let width = bias.size1()? / 3;
                [bias.f_narrow(0, 0, width)?, bias.f_narrow(0, 2 * width, width)?]
            }
            Self::Parts([query, value]) => [query.shallow_clone(), value.shallow_clone()],
        };
        Ok(Tensor::f_cat(&[&query, &query.f_zeros_like()?, &value], 0)?)
    }
}

/// Each difference of two places in a window, on a logarithmic scale, `((2·window-1)², 2)`, as torchvision keeps it.
pub(super) fn differences(window: i64) -> Result<Tensor, ModelError> {
    let along = 1 - window..window;
    let pairs = along
        .clone()
        .flat_map(|rows| along.clone().map(move |columns| [rows, columns]));
    let flat: Vec<f32> = pairs.flatten().map(|difference| difference as f32).collect();
    let share = Tensor::f_from_slice(&flat)?.f_view([-1, 2])?.f_div_scalar(window - 1)?;
    let share = share.f_mul_scalar(8.0)?;
    let logarithm = share.f_abs()?.f_add_scalar(1.0)?.f_log2()?;
    Ok(share
        .f_sign()?
        .f_mul(&logarithm)?
        .f_div_scalar(3.0)?
        .f_to_kind(Kind::Float)?)
}

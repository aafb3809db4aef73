//! Rotary positions (Su et al. 2021, <https://arxiv.org/abs/2104.09864>): queries and keys are turned by an angle that grows with their place,
//! so that their product tells how far they stand apart.
//!
//! Each head is turned in pairs of one number of its first half and one of its second, as transformers does.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::ModelError;

/// How fast the pairs of a head turn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotary {
    /// Pair i of a head of `width` numbers turns by θ^(-2i/width) radians a place.
    pub(crate) theta: f64,
    pub(crate) scaling: Scaling,
}

/// How a network that was trained with short texts was made to read longer ones.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(tag = "rope_type", rename_all = "snake_case")]
pub(crate) enum Scaling {
    /// Not at all.
    Default,
    /// All pairs turn more slowly.
    Linear {
        /// So many times.
        factor: f64,
    },
    /// Pairs that turn slowly turn more slowly still, as Llama 3.1 does.
    Llama3 {
        /// So many times where a turn takes more places than `original_max_position_embeddings / low_freq_factor`.
        factor: f64,
        low_freq_factor: f64,
        /// Pairs that turn once in fewer places than `original_max_position_embeddings / high_freq_factor` turn as before.
        high_freq_factor: f64,
        original_max_position_embeddings: i64,
    },
}

impl Rotary {
    /// What a text of so many tokens is turned by, for heads of so many numbers.
    pub(crate) fn turns(&self, tokens: i64, width: i64, device: Device) -> Result<Turns, ModelError> {
        let speeds: Vec<f32> = (0..width / 2).map(|pair| self.speed(pair, width)).collect();
        let speeds = Tensor::f_from_slice(&speeds)?.f_to_device(device)?;
        let places = Tensor::f_arange(tokens, (Kind::Float, device))?;
        let angles = places.f_unsqueeze(1)?.f_mul(&speeds)?;
        let angles = Tensor::f_cat(&[&angles, &angles], -1)?;
        Ok(Turns {
            cosines: angles.f_cos()?,
            sines: angles.f_sin()?,
        })
    }

    /// Radians a place of a pair, rounded as often as transformers rounds it: once and, where it is scaled, once more.
    fn speed(&self, pair: i64, width: i64) -> f32 {
        let speed = 1.0 / (self.theta as f32).powf((2 * pair) as f32 / width as f32);
        let wide = f64::from(speed);
        match self.scaling {
            Scaling::Default => speed,
            Scaling::Linear { factor } => (wide / factor) as f32,
            Scaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } => {
                let turns = original as f64 * wide / std::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (wide / factor * (1.0 - kept) + wide * kept) as f32
            }
        }
    }
}

/// Cosines and sines, `(tokens, width)`.
pub(crate) struct Turns {
    cosines: Tensor,
    sines: Tensor,
}

impl Turns {
    /// Heads `(n, heads, tokens, width)`, each at its place.
    pub(crate) fn apply(&self, heads: &Tensor) -> Result<Tensor, ModelError> {
        let halves = heads.f_chunk(2, -1)?;
        let across = Tensor::f_cat(&[&halves[1].f_neg()?, &halves[0]], -1)?;
        Ok(heads.f_mul(&self.cosines)?.f_add(&across.f_mul(&self.sines)?)?)
    }
}

//! From what the last layers say of pixels or tokens to one vector a sample.

use firn_core::spec::Pooling;
use tch::{Kind, Tensor};

use crate::{
    error::ModelError,
    stage::{Features, Pass, Stage},
};

/// Mean over the pixels: `(n, c, h, w)` to `(n, c)`.
pub(crate) struct PixelMean;

impl Stage for PixelMean {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| pass.statistics.by_slice(&tensor, |tensor, _| pixel_mean(tensor)))
    }
}

/// `(n, c, h, w)` to `(n, c)`.
pub(crate) fn pixel_mean(map: &Tensor) -> Result<Tensor, ModelError> {
    Ok(map.f_mean_dim([2_i64, 3].as_slice(), false, Kind::Float)?)
}

/// Token states `(n, tokens, hidden)` to `(n, hidden)`; left as they are where the head attends to them, or takes each by itself.
pub(crate) struct TokenPool(pub(crate) Pooling);

impl Stage for TokenPool {
    fn forward(&self, input: Features, _: &Pass<'_>) -> Result<Features, ModelError> {
        match pool(self.0, &input.tensor, input.needed_mask()?)? {
            Some(pooled) => Ok(Features::unmasked(pooled)),
            None => Ok(input),
        }
    }
}

/// Values of tokens `(n, tokens, …)` with −∞ in place of those of padding.
pub(crate) fn without_padding(values: &Tensor, mask: &Tensor) -> Result<Tensor, ModelError> {
    let is_padding = mask.f_eq(0)?.f_unsqueeze(-1)?;
    Ok(values.f_masked_fill(&is_padding, f64::NEG_INFINITY)?)
}

/// Mean over the tokens that are not padding (as sentence-transformers' `Pooling`: the divisor at least 1e-9), their largest value of each
/// unit, or the state of the first token, or of the last one that is not padding. Nothing where the head
/// attends to the states, or takes each by itself.
fn pool(pooling: Pooling, states: &Tensor, mask: &Tensor) -> Result<Option<Tensor>, ModelError> {
    let pooled = match pooling {
        Pooling::Attention | Pooling::None => return Ok(None),
        Pooling::Max => without_padding(states, mask)?.f_amax([1_i64].as_slice(), false)?,
        Pooling::Cls => states.f_select(1, 0)?,
        Pooling::Last => {
            let (_, tokens, hidden) = states.size3()?;
            let places = Tensor::f_arange(tokens, (Kind::Int64, mask.device()))?;
            let last = mask.f_mul(&places)?.f_argmax(1, false)?;
            let last = last.f_view([-1, 1, 1])?.f_expand([-1, 1, hidden], false)?;
            states.f_gather(1, &last, false)?.f_select(1, 0)?
        }
        Pooling::Mean => {
            let weight = mask.f_to_kind(Kind::Float)?.f_unsqueeze(-1)?;
            let sum = states
                .f_mul(&weight)?
                .f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?;
            let count = weight.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?;
            sum.f_div(&count.f_clamp_min(1e-9)?)?
        }
    };
    Ok(Some(pooled))
}

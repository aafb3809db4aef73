//! Scaled dot-product attention over several heads.

use tch::{Device, Kind, Tensor};

use super::dropout::{Dropout, drop_weights};
use crate::error::ModelError;

/// Weights of an attention that are dropped in training.
pub(crate) struct DroppedWeights<'a> {
    /// With this probability.
    pub(crate) probability: f64,
    /// Tells the masks of layers apart.
    pub(crate) layer: &'a str,
    /// `None`: nothing is dropped.
    pub(crate) dropout: Option<&'a Dropout<'a>>,
}

/// `query`, `key` and `value` `(n, tokens, hidden)`; `mask` is true where a query may look at a key, and broadcasts to
/// `(n, heads, tokens, tokens)`; without one, all look at all. The result is `(n, tokens, hidden)`; each head attends with its own part of the hidden width.
pub(crate) fn attention(
    [query, key, value]: [&Tensor; 3],
    mask: Option<&Tensor>,
    heads: i64,
) -> Result<Tensor, ModelError> {
    let [query, key, value] = [
        split_heads(query, heads)?,
        split_heads(key, heads)?,
        split_heads(value, heads)?,
    ];
    attend([&query, &key, &value], mask)
}

/// `(n, tokens, heads · width)` to `(n, heads, tokens, width)`.
pub(crate) fn split_heads(tensor: &Tensor, heads: i64) -> Result<Tensor, ModelError> {
    let (batch, tokens, hidden) = tensor.size3()?;
    Ok(tensor
        .f_view([batch, tokens, heads, hidden / heads])?
        .f_transpose(1, 2)?)
}

/// Attention of heads that are split, `(n, heads, tokens, width)` each, to `(n, tokens, heads · width)`. Keys and values may have fewer heads
/// than queries have: each is then that of several query heads that follow each other (grouped-query attention, Ainslie et al. 2023,
/// <https://arxiv.org/abs/2305.13245>). `mask` as in [`attention`], or numbers that are added to the products.
pub(crate) fn attend([query, key, value]: [&Tensor; 3], mask: Option<&Tensor>) -> Result<Tensor, ModelError> {
    let (batch, heads, tokens, width) = query.size4()?;
    let (key, value) = (repeated(key, heads)?, repeated(value, heads)?);
    let context = Tensor::f_scaled_dot_product_attention(query, &key, &value, mask, 0.0, false, None::<f64>, false)?;
    Ok(context.f_transpose(1, 2)?.f_reshape([batch, tokens, heads * width])?)
}

/// [`attention`] with weights that are dropped. As libtorch's own dropout knows no samples, the weights are computed here where any is.
pub(crate) fn attention_with_dropout(
    [query, key, value]: [&Tensor; 3],
    mask: &Tensor,
    heads: i64,
    dropped: &DroppedWeights<'_>,
) -> Result<Tensor, ModelError> {
    let Some(dropout) = dropped.dropout.filter(|_| dropped.probability > 0.0) else {
        return attention([query, key, value], Some(mask), heads);
    };
    let (batch, tokens, hidden) = query.size3()?;
    let scale = 1.0 / ((hidden / heads) as f64).sqrt();
    let keys = split_heads(key, heads)?.f_transpose(-2, -1)?;
    let scores = split_heads(query, heads)?.f_matmul(&keys)?.f_mul_scalar(scale)?;
    let scores = scores.f_masked_fill(&mask.f_logical_not()?, f64::NEG_INFINITY)?;
    let weights = scores.f_softmax(-1, Kind::Float)?;
    let weights = drop_weights(weights, dropped.probability, dropped.layer, dropout)?;
    let context = weights.f_matmul(&split_heads(value, heads)?)?;
    Ok(context.f_transpose(1, 2)?.f_reshape([batch, tokens, hidden])?)
}

/// Each head so often, one copy beside the other, that there are this many.
fn repeated(tensor: &Tensor, heads: i64) -> Result<Tensor, ModelError> {
    let (batch, groups, tokens, width) = tensor.size4()?;
    if groups == heads {
        return Ok(tensor.shallow_clone());
    }
    let copies = tensor
        .f_unsqueeze(2)?
        .f_expand([-1, -1, heads / groups, -1, -1], false)?;
    Ok(copies.f_reshape([batch, heads, tokens, width])?)
}

/// Which keys a query may look at, `(n, 1, 1, tokens)`: those that are not padding. `mask`: `(n, tokens)`, 1 for tokens, 0 for padding.
pub(crate) fn unpadded(mask: &Tensor) -> Result<Tensor, ModelError> {
    let (batch, tokens) = mask.size2()?;
    Ok(mask.f_to_kind(Kind::Bool)?.f_view([batch, 1, 1, tokens])?)
}

/// Which keys a query may look at, `(n, 1, tokens, tokens)`: itself, and what stands before it and is not padding. So padding on the left,
/// which has nothing before it, stays finite.
pub(crate) fn causal(mask: &Tensor) -> Result<Tensor, ModelError> {
    let (_, tokens) = mask.size2()?;
    let square = |device: Device| Tensor::f_ones([tokens, tokens], (Kind::Bool, device));
    let before = square(mask.device())?.f_tril(0)?;
    let itself = before.f_triu(0)?;
    Ok(unpadded(mask)?.f_logical_and(&before)?.f_logical_or(&itself)?)
}

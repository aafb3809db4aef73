//! Scaled dot-product attention over several heads.

use tch::Tensor;

use crate::error::ModelError;

/// `query`, `key` and `value` `(n, tokens, hidden)`; `mask` is true where a query may look at a key, and broadcasts to
/// `(n, heads, tokens, tokens)`; without one, all look at all. The result is `(n, tokens, hidden)`; each head attends with its own part of the hidden width.
pub(crate) fn attention(
    [query, key, value]: [&Tensor; 3],
    mask: Option<&Tensor>,
    heads: i64,
) -> Result<Tensor, ModelError> {
    let (batch, tokens, hidden) = query.size3()?;
    let split = |tensor: &Tensor| tensor.f_view([batch, tokens, heads, hidden / heads])?.f_transpose(1, 2);
    let (query, key, value) = (split(query)?, split(key)?, split(value)?);
    let context = Tensor::f_scaled_dot_product_attention(&query, &key, &value, mask, 0.0, false, None::<f64>, false)?;
    Ok(context.f_transpose(1, 2)?.f_reshape([batch, tokens, hidden])?)
}

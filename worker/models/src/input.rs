//! What a model takes in.

use tch::{Device, Tensor};

use crate::error::ModelError;

/// A batch as it enters the network.
#[derive(Debug)]
pub enum Input {
    /// Normalised pixels, float32 `(n, 3, h, w)`. Best with the channels innermost in memory, as [`Input::images`] makes it.
    Images(Tensor),
    /// Token ids and padding mask.
    Tokens {
        /// int64 `(n, tokens)`.
        ids: Tensor,
        /// int64 `(n, tokens)`: 1 for tokens, 0 for padding; at least one token in each row.
        mask: Tensor,
    },
}

impl Input {
    /// From pixels in the order sample, row, column, channel: `n · height · width · 3` values. They are copied once and keep their
    /// order in memory, which is the fast one for convolutions.
    pub fn images(pixels: &[f32], height: usize, width: usize, device: Device) -> Result<Self, ModelError> {
        let sample = height * width * 3;
        if sample == 0 || pixels.len() % sample != 0 {
            return Err(ModelError::Mismatch {
                what: "pixels of a batch".to_owned(),
                expected: format!("a multiple of {height}·{width}·3 values"),
                found: format!("{} values", pixels.len()),
            });
        }
        let shape = [(pixels.len() / sample) as i64, height as i64, width as i64, 3];
        let tensor = Tensor::f_from_slice(pixels)?.f_view(shape)?.f_to_device(device)?;
        Ok(Self::Images(tensor.f_permute([0, 3, 1, 2])?))
    }

    /// From token ids and mask in the order sample, token: `n · length` values each.
    pub fn tokens(ids: &[i64], mask: &[i64], length: usize, device: Device) -> Result<Self, ModelError> {
        if length == 0 || ids.len() != mask.len() || ids.len() % length != 0 {
            return Err(ModelError::Mismatch {
                what: "tokens of a batch".to_owned(),
                expected: format!("ids and mask of the same multiple of {length} values"),
                found: format!("{} ids and {} mask values", ids.len(), mask.len()),
            });
        }
        let shape = [(ids.len() / length) as i64, length as i64];
        let tensor = |values: &[i64]| Tensor::f_from_slice(values)?.f_view(shape)?.f_to_device(device);
        Ok(Self::Tokens {
            ids: tensor(ids)?,
            mask: tensor(mask)?,
        })
    }
}

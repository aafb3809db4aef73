//! What a model takes in.

use firn_core::spec::Modality;
use tch::{Device, Kind, Tensor};

use crate::{error::ModelError, stage::Features};

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
        if sample == 0 || !pixels.len().is_multiple_of(sample) {
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
        if length == 0 || ids.len() != mask.len() || !ids.len().is_multiple_of(length) {
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

    /// What enters the first stage of a model of this modality that takes at most so many tokens.
    pub(crate) fn enter(&self, modality: Modality, longest: Option<u32>) -> Result<Features, ModelError> {
        let fail = |expected: String, found: String| {
            Err(ModelError::Mismatch {
                what: "input of the model".to_owned(),
                expected,
                found,
            })
        };
        match (modality, self) {
            (Modality::Image, Self::Images(pixels)) => match pixels.size().as_slice() {
                [_, 3, _, _] if pixels.kind() == Kind::Float => Ok(Features::unmasked(pixels.shallow_clone())),
                shape => fail(
                    "float pixels (n, 3, h, w)".to_owned(),
                    format!("{:?} {shape:?}", pixels.kind()),
                ),
            },
            (Modality::Text, Self::Tokens { ids, mask }) => {
                let longest = i64::from(longest.unwrap_or(u32::MAX));
                match (ids.size().as_slice(), mask.size()) {
                    (&[n, tokens], mask_shape) if mask_shape == [n, tokens] && tokens <= longest => {
                        let mask = Some(mask.shallow_clone());
                        Ok(Features {
                            tensor: ids.shallow_clone(),
                            mask,
                        })
                    }
                    (ids, mask) => fail(
                        format!("ids and mask (n, at most {longest})"),
                        format!("{ids:?}, {mask:?}"),
                    ),
                }
            }
            (Modality::Image, Self::Tokens { .. }) => fail("images".to_owned(), "tokens".to_owned()),
            (Modality::Text, Self::Images(_)) => fail("tokens".to_owned(), "images".to_owned()),
        }
    }
}

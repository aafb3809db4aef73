//! What a model takes in.
//!
//! Pixels travel as bytes and become numbers on the device: a fourth of the memory between decoding and the network, and of the way to a
//! GPU. [`Normalisation`] computes there what torchvision's `ToTensor` and `Normalize` compute, operation by operation.

use firn_core::spec::Modality;
use tch::{Device, Kind, TchError, Tensor, kind::Element};

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
        /// Of pairs of texts, int64 `(n, tokens)`: which of both a token belongs to, 0 or 1.
        types: Option<Tensor>,
    },
}

impl Input {
    /// From normalised pixels in the order sample, row, column, channel: `n · height · width · 3` values. They are copied once and keep
    /// their order in memory, which is the fast one for convolutions.
    pub fn images(pixels: &[f32], height: usize, width: usize, device: Device) -> Result<Self, ModelError> {
        let shape = shape_of_images(pixels.len(), height, width)?;
        let tensor = on_device(pixels, device)?.f_view(shape)?;
        Ok(Self::Images(tensor.f_permute([0, 3, 1, 2])?))
    }

    /// From token ids and mask in the order sample, token: `n · length` values each.
    pub fn tokens(ids: &[i64], mask: &[i64], length: usize, device: Device) -> Result<Self, ModelError> {
        Self::typed_tokens((ids, mask, None), length, device)
    }

    /// The same with the types of tokens, as many as ids.
    pub fn typed_tokens(
        (ids, mask, types): (&[i64], &[i64], Option<&[i64]>),
        length: usize,
        device: Device,
    ) -> Result<Self, ModelError> {
        let is_even = types.is_none_or(|types| types.len() == ids.len()) && ids.len() == mask.len();
        if length == 0 || !is_even || !ids.len().is_multiple_of(length) {
            return Err(ModelError::Mismatch {
                what: "tokens of a batch".to_owned(),
                expected: format!("ids and mask of the same multiple of {length} values"),
                found: format!("{} ids and {} mask values", ids.len(), mask.len()),
            });
        }
        let shape = [(ids.len() / length) as i64, length as i64];
        let tensor = |values: &[i64]| on_device(values, device)?.f_view(shape);
        Ok(Self::Tokens {
            ids: tensor(ids)?,
            mask: tensor(mask)?,
            types: types.map(tensor).transpose()?,
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
            (Modality::Text, Self::Tokens { ids, mask, types }) => {
                let longest = i64::from(longest.unwrap_or(u32::MAX));
                match (ids.size().as_slice(), mask.size()) {
                    (&[n, tokens], mask_shape) if mask_shape == [n, tokens] && tokens <= longest => {
                        let mask = Some(mask.shallow_clone());
                        Ok(Features {
                            tensor: ids.shallow_clone(),
                            mask,
                            types: types.as_ref().map(Tensor::shallow_clone),
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

/// `(n, height, width, 3)` of that many values.
fn shape_of_images(values: usize, height: usize, width: usize) -> Result<[i64; 4], ModelError> {
    let sample = height * width * 3;
    match sample > 0 && values.is_multiple_of(sample) {
        true => Ok([(values / sample) as i64, height as i64, width as i64, 3]),
        false => Err(ModelError::Mismatch {
            what: "pixels of a batch".to_owned(),
            expected: format!("a multiple of {height}·{width}·3 values"),
            found: format!("{values} values"),
        }),
    }
}

/// A copy on the device. To a GPU it goes from pinned memory, so that the copy runs beside what the calling thread does next; libtorch keeps
/// the pinned block until it is done.
fn on_device<T: Element>(values: &[T], device: Device) -> Result<Tensor, TchError> {
    let here = Tensor::f_from_slice(values)?;
    match device {
        Device::Cuda(_) => here.f_pin_memory(device)?.f_to_device_(device, T::KIND, true, false),
        _ => here.f_to_device(device),
    }
}

/// From the bytes of a picture to what a network takes: torchvision's `ToTensor` and `Normalize`, `(byte / 255 - mean) / std` in float32 for
/// each channel.
///
/// All three numbers are tensors: by a plain number libtorch divides on a GPU as a product with its reciprocal, which is another number in
/// the last bit. So the pixels are the same bits on every device.
#[derive(Debug)]
pub struct Normalisation {
    device: Device,
    /// 255, without an axis.
    white: Tensor,
    /// Float32 `(3)`: red, green, blue.
    mean: Tensor,
    /// Float32 `(3)`.
    std: Tensor,
}

impl Normalisation {
    /// By mean and standard deviation of each channel, red first, of pixels between 0 and 1.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn new(mean: &[f64; 3], std: &[f64; 3], device: Device) -> Result<Self, ModelError> {
        let channels = |values: &[f64; 3]| on_device(&values.map(|value| value as f32), device);
        Ok(Self {
            device,
            white: on_device(&[255.0_f32], device)?.f_squeeze()?,
            mean: channels(mean)?,
            std: channels(std)?,
        })
    }

    /// From bytes in the order sample, row, column, channel: `n · height · width · 3` of them. They keep their order in memory, which is the
    /// fast one for convolutions.
    ///
    /// # Errors
    /// Another number of bytes; those of libtorch.
    pub fn images(&self, pixels: &[u8], height: usize, width: usize) -> Result<Input, ModelError> {
        let shape = shape_of_images(pixels.len(), height, width)?;
        let _no_grad = tch::no_grad_guard();
        // Row by row: three channels are too few for the vectors of a processor.
        let across = |channels: &Tensor| channels.f_repeat([width as i64]);
        let mut rows = on_device(pixels, self.device)?
            .f_view([-1, width as i64 * 3])?
            .f_to_kind(Kind::Float)?;
        let mut rows = rows.f_div_(&self.white)?.f_sub_(&across(&self.mean)?)?;
        let tensor = rows.f_div_(&across(&self.std)?)?.f_view(shape)?;
        Ok(Input::Images(tensor.f_permute([0, 3, 1, 2])?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
    const STD: [f64; 3] = [0.229, 0.224, 0.225];

    /// Every byte in every channel, in pictures of two rows and of a width that is no multiple of a vector.
    fn bytes() -> Vec<u8> {
        (0..2 * 2 * 77 * 3)
            .map(|place| (place / 3 + place % 3 * 85) as u8)
            .collect()
    }

    fn normalised(device: Device) -> Vec<u32> {
        let normalisation = Normalisation::new(&MEAN, &STD, device).unwrap();
        let Input::Images(tensor) = normalisation.images(&bytes(), 2, 77).unwrap() else {
            panic!("pixels give images")
        };
        assert_eq!(tensor.size(), [2, 3, 2, 77]);
        let values = tensor
            .permute([0, 2, 3, 1])
            .to_device(Device::Cpu)
            .contiguous()
            .view(-1);
        Vec::<f32>::try_from(values)
            .unwrap()
            .into_iter()
            .map(f32::to_bits)
            .collect()
    }

    fn expected() -> Vec<u32> {
        let value = |(place, byte): (usize, u8)| {
            let channel = place % 3;
            (f32::from(byte) / 255.0 - MEAN[channel] as f32) / STD[channel] as f32
        };
        bytes().into_iter().enumerate().map(value).map(f32::to_bits).collect()
    }

    #[test]
    fn bytes_become_the_numbers_of_torchvision_to_the_bit() {
        assert!(bytes().iter().collect::<std::collections::BTreeSet<_>>().len() == 256);
        assert!(normalised(Device::Cpu) == expected());
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn a_gpu_gives_the_same_bits() {
        if !tch::Cuda::is_available() {
            // Written past the capture of the test harness, so that the skip is seen.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), b"skipped: libtorch finds no GPU\n");
            return;
        }
        assert!(normalised(Device::Cuda(0)) == expected());
    }

    #[test]
    fn another_number_of_bytes_is_refused() {
        let normalisation = Normalisation::new(&MEAN, &STD, Device::Cpu).unwrap();
        let error = normalisation.images(&[0; 13], 2, 2).unwrap_err().to_string();
        assert!(error.contains("a multiple of 2·2·3 values"), "{error}");
        assert!(error.contains("13 values"), "{error}");
    }
}

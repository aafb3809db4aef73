//! Images: decoded as Pillow decodes them, upright, then torchvision's `Resize` and `CenterCrop`. `ToTensor` and `Normalize` follow on the
//! device that computes: bytes are a fourth of what would have to be kept and moved.

mod decode;
mod error;
mod jpeg;
mod orientation;
mod portable;
mod raster;
mod resample;

use std::cell::RefCell;

use firn_core::spec::{CropMode, Interpolation};

use self::decode::{decode_region, dimensions};
use self::error::ImageError;
use self::raster::Raster;
use self::resample::{Axis, Filter, resample, source_region};
use super::{Modality, Prepared};
use crate::{DataError, RawTensor, Tensors, Values};

pub use self::decode::{Rgb, decode_rgb};
pub use self::error::MAX_PIXELS;

/// Images of one size.
pub(super) struct Images {
    resize: usize,
    filter: Filter,
    crop_mode: CropMode,
    crop: usize,
}

impl Modality for Images {
    fn samples_per_task(&self) -> usize {
        1
    }

    /// The header, without decoding.
    fn inspect(&self, bytes: &[u8]) -> Result<(), String> {
        dimensions(bytes).map(drop).map_err(|error| error.to_string())
    }

    /// `crop * crop * 3` bytes.
    fn prepare(&self, bytes: &[u8]) -> Result<Prepared, String> {
        let raster = self.crop(bytes).map_err(|error| error.to_string())?;
        let channels = raster
            .pixels
            .iter()
            .flat_map(|[red, green, blue, _]| [*red, *green, *blue]);
        Ok(Prepared::Bytes(channels.collect()))
    }

    /// `pixels`: `(crop, crop, 3)` bytes of each sample.
    fn collate(&self, samples: &[Prepared]) -> Tensors {
        let mut pixels = Vec::with_capacity(samples.len() * self.crop * self.crop * 3);
        for sample in samples {
            pixels.extend_from_slice(sample.bytes());
        }
        Tensors {
            samples: samples.len(),
            arrays: vec![RawTensor {
                name: "pixels",
                shape: vec![self.crop, self.crop, 3],
                values: Values::Bytes(pixels),
            }],
        }
    }
}

impl Images {
    pub(super) fn new(
        (resize, interpolation, crop_mode): (u32, Interpolation, CropMode),
        crop: u32,
        mean: &[f64; 3],
        std: &[f64; 3],
    ) -> Result<Self, DataError> {
        let refuse = |reason: String| Err(DataError::Preprocessing { reason });
        if resize == 0 || crop == 0 {
            return refuse(format!("resize is {resize} and crop {crop}; both must be at least 1"));
        }
        if std.iter().chain(mean).any(|value| !value.is_finite()) || std.contains(&0.0) {
            return refuse(format!(
                "mean is {mean:?} and std {std:?}; all must be finite and std not 0"
            ));
        }
        Ok(Self {
            resize: resize as usize,
            filter: match interpolation {
                Interpolation::Bilinear => Filter::TRIANGLE,
                Interpolation::Bicubic => Filter::CUBIC,
            },
            crop_mode,
            crop: crop as usize,
        })
    }

    fn crop(&self, file: &[u8]) -> Result<Raster, ImageError> {
        thread_local! {
            static SCRATCH: RefCell<jpeg::Scratch> = RefCell::default();
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut plan = None;
            let raster = decode_region(file, scratch, |width, height| {
                let chosen = plan.insert(self.plan(width, height));
                source_region(&chosen.0.axis, &chosen.1.axis)
            })?;
            let (across, down) = plan.expect("the decoder asks for a region before it answers");
            Ok(self.pad(resample(raster, &across.axis, &down.axis), across.before, down.before))
        })
    }

    /// What `Resize` and `CenterCrop` do to each axis of an image.
    fn plan(&self, width: usize, height: usize) -> (Cut, Cut) {
        let (resized_width, resized_height) = match self.crop_mode {
            CropMode::Center => resized(width, height, self.resize),
            CropMode::Squash => (self.resize, self.resize),
        };
        (
            Cut::new([width, resized_width], self.crop, self.filter),
            Cut::new([height, resized_height], self.crop, self.filter),
        )
    }

    /// Black around an image that is smaller than the crop.
    fn pad(&self, raster: Raster, left: usize, top: usize) -> Raster {
        if raster.width == self.crop && raster.height == self.crop {
            return raster;
        }
        let mut padded = Raster::new(self.crop, self.crop);
        let rows = padded.pixels.chunks_exact_mut(self.crop).skip(top);
        for (row, source) in rows.zip(raster.pixels.chunks_exact(raster.width)) {
            row[left..left + source.len()].copy_from_slice(source);
        }
        padded
    }
}

/// One axis of an image on its way to the crop.
struct Cut {
    axis: Axis,
    /// Black pixels before the image's first.
    before: usize,
}

impl Cut {
    fn new([input, output]: [usize; 2], crop: usize, filter: Filter) -> Self {
        if crop <= output {
            let start = half_to_even(output - crop);
            Self {
                axis: Axis::new([input, output], start..start + crop, filter),
                before: 0,
            }
        } else {
            Self {
                axis: Axis::new([input, output], 0..output, filter),
                before: (crop - output) / 2,
            }
        }
    }
}

/// `_compute_resized_output_size`: the shorter side becomes `size`, the longer one `int(size * long / short)`.
fn resized(width: usize, height: usize, size: usize) -> (usize, usize) {
    if width <= height {
        (size, size * height / width)
    } else {
        (size * width / height, size)
    }
}

/// `int(round(spare / 2.0))` in Python, where a half goes to the even neighbour.
fn half_to_even(spare: usize) -> usize {
    let half = spare / 2;
    if spare.is_multiple_of(2) {
        half
    } else {
        half.next_multiple_of(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_truncated() {
        assert_eq!(resized(500, 375, 256), (341, 256));
        assert_eq!(resized(375, 500, 256), (256, 341));
        assert_eq!(resized(7, 7, 3), (3, 3));
    }

    #[test]
    fn half_a_pixel_goes_to_the_even_side() {
        assert_eq!([0, 1, 2, 3, 5, 117].map(half_to_even), [0, 0, 1, 2, 2, 58]);
    }
}

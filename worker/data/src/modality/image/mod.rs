//! Images: decoded as Pillow decodes them, upright, then torchvision's `Resize` and `CenterCrop`, or in training what `augmentation` makes of them. `ToTensor` and
//! `Normalize` follow on the device that computes: bytes are a fourth of what would have to be kept and moved. Where a part of an image is erased, its numbers are no
//! bytes any more, so they are normalised here.

mod augmentation;
mod decode;
mod error;
mod jpeg;
mod orientation;
mod portable;
mod raster;
mod resample;

use std::cell::RefCell;

use firn_core::spec::{AugmentationSpec, CropMode, Interpolation};

use self::augmentation::Augmentation;
use self::decode::{decode_region, dimensions};
use self::error::ImageError;
use self::raster::{Raster, Region};
use self::resample::{Axis, Filter, First, resample, source_region};
use super::{Modality, Occasion, Prepared};
use crate::{DataError, RawTensor, Tensors, Values, source::Content};

pub use self::decode::{Rgb, decode_rgb};
pub use self::error::MAX_PIXELS;

/// Images of one size.
pub(super) struct Images {
    resize: usize,
    filter: Filter,
    crop_mode: CropMode,
    crop: usize,
    augmentation: Option<Augmentation>,
}

impl Modality for Images {
    fn samples_per_task(&self) -> usize {
        1
    }

    /// The header, without decoding.
    fn inspect(&self, content: &Content<'_>) -> Result<(), String> {
        dimensions(content.one()?).map(drop).map_err(|error| error.to_string())
    }

    /// `crop * crop * 3` bytes, or normalised numbers.
    fn prepare(&self, content: &Content<'_>, occasion: Option<Occasion>) -> Result<Prepared, String> {
        let change = self.augmentation.as_ref().zip(occasion);
        let mut raster = self.crop(content.one()?, change).map_err(|error| error.to_string())?;
        if let Some((augmentation, occasion)) = change {
            raster = augmentation.change(occasion, raster);
            if let Some(numbers) = augmentation.erased(occasion, &raster) {
                return Ok(Prepared::Floats(numbers));
            }
        }
        let channels = raster
            .pixels
            .iter()
            .flat_map(|[red, green, blue, _]| [*red, *green, *blue]);
        Ok(Prepared::Bytes(channels.collect()))
    }

    /// `pixels`: `(crop, crop, 3)` bytes, or normalised numbers, of each sample.
    fn collate(&self, samples: &[Prepared]) -> Tensors {
        let length = samples.len() * self.crop * self.crop * 3;
        let values = match samples.first() {
            Some(Prepared::Floats(_)) => Values::Floats(side_by_side(samples, length, Prepared::floats)),
            _ => Values::Bytes(side_by_side(samples, length, Prepared::bytes)),
        };
        Tensors {
            samples: samples.len(),
            arrays: vec![RawTensor {
                name: "pixels",
                shape: vec![self.crop, self.crop, 3],
                values,
            }],
        }
    }
}

fn side_by_side<'a, T: Copy + 'a>(
    samples: &'a [Prepared],
    length: usize,
    numbers: fn(&'a Prepared) -> &'a [T],
) -> Vec<T> {
    let mut all = Vec::with_capacity(length);
    for sample in samples {
        all.extend_from_slice(numbers(sample));
    }
    all
}

impl Images {
    pub(super) fn new(
        (resize, interpolation, crop_mode): (u32, Interpolation, CropMode),
        crop: u32,
        (mean, std): (&[f64; 3], &[f64; 3]),
        augmentation: Option<&AugmentationSpec>,
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
            augmentation: augmentation.map(|spec| Augmentation::new(spec, mean, std)),
        })
    }

    fn crop(&self, file: &[u8], change: Option<(&Augmentation, Occasion)>) -> Result<Raster, ImageError> {
        thread_local! {
            static SCRATCH: RefCell<jpeg::Scratch> = RefCell::default();
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut plan = None;
            let raster = decode_region(file, scratch, |width, height| {
                let part = change.and_then(|(augmentation, occasion)| augmentation.crop(occasion, [width, height]));
                let (across, down, _) = plan.insert(match part {
                    Some(part) => self.plan_of(part),
                    None => self.plan(width, height),
                });
                let mut region = source_region(&across.axis, &down.axis);
                region.left += across.first;
                region.top += down.first;
                region
            })?;
            let (across, down, first) = plan.expect("the decoder asks for a region before it answers");
            let resized = resample(raster, &across.axis, &down.axis, first);
            Ok(self.pad(resized, across.before, down.before))
        })
    }

    /// What `Resize` and `CenterCrop` do to each axis of an image. Rows come first, as they always have: stored jobs go on with the same pixels.
    fn plan(&self, width: usize, height: usize) -> (Cut, Cut, First) {
        let (resized_width, resized_height) = match self.crop_mode {
            CropMode::Center => resized(width, height, self.resize),
            CropMode::Squash => (self.resize, self.resize),
        };
        (
            Cut::new([width, resized_width], self.crop, self.filter),
            Cut::new([height, resized_height], self.crop, self.filter),
            First::Rows,
        )
    }

    /// What `resized_crop` does to each axis of a part.
    fn plan_of(&self, part: Region) -> (Cut, Cut, First) {
        let cut = |first: usize, input: usize| Cut {
            first,
            ..Cut::new([input, self.crop], self.crop, self.filter)
        };
        let first = First::of([part.width, self.crop], [part.height, self.crop]);
        (cut(part.left, part.width), cut(part.top, part.height), first)
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
    /// Where the part of the image begins that the axis is of.
    first: usize,
    /// Black pixels before the image's first.
    before: usize,
}

impl Cut {
    fn new([input, output]: [usize; 2], crop: usize, filter: Filter) -> Self {
        if crop <= output {
            let start = half_to_even(output - crop);
            Self {
                axis: Axis::new([input, output], start..start + crop, filter),
                first: 0,
                before: 0,
            }
        } else {
            Self {
                axis: Axis::new([input, output], 0..output, filter),
                first: 0,
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

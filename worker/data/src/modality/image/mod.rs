//! Images: decoded as Pillow decodes them, upright, then torchvision's `Resize` and `CenterCrop`, or in training what `augmentation` makes of them. `ToTensor` and
//! `Normalize` follow on the device that computes: bytes are a fourth of what would have to be kept and moved. Where a part of an image is erased, its numbers are no
//! bytes any more, so they are normalised here.

mod augmentation;
mod cut;
mod decode;
mod error;
mod jpeg;
mod orientation;
mod portable;
mod raster;
mod resample;

use std::cell::RefCell;

use firn_core::spec::{AugmentationSpec, CropMode, Interpolation};

use self::augmentation::{Augmentation, Seen};
use self::cut::{Cut, Plan};
use self::decode::{decode_region, dimensions};
use self::error::ImageError;
use self::raster::Raster;
use self::resample::{Filter, First, resample};
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
                let plan = plan.insert(self.plan([width, height], change));
                plan.region()
            })?;
            let plan = plan.expect("the decoder asks for a region before it answers");
            let resized = resample(raster, &plan.across.axis, &plan.down.axis, plan.first);
            Ok(plan.laid_out(resized))
        })
    }

    /// How the network's input is made of an image of that width and height.
    fn plan(&self, size: [usize; 2], change: Option<(&Augmentation, Occasion)>) -> Plan {
        let resized = match self.crop_mode {
            CropMode::Center => cut::resized(size, self.resize),
            CropMode::Squash => [self.resize; 2],
        };
        let ([width, height], [resized_width, resized_height]) = (size, resized);
        let (crop, filter) = (self.crop, self.filter);
        match change.and_then(|(augmentation, occasion)| augmentation.seen(occasion, size, (resized, crop))) {
            Some(Seen::Part(part)) => Plan {
                across: Cut::part([part.left, part.width], crop, filter),
                down: Cut::part([part.top, part.height], crop, filter),
                first: First::of([part.width, crop], [part.height, crop]),
            },
            Some(Seen::Moved([left, top], mode)) => Plan {
                across: Cut::moved([width, resized_width], (left, mode), crop, filter),
                down: Cut::moved([height, resized_height], (top, mode), crop, filter),
                first: First::of([width, resized_width], [height, resized_height]),
            },
            // Rows come first, as they always have: stored jobs go on with the same pixels.
            None => Plan {
                across: Cut::centre([width, resized_width], crop, filter),
                down: Cut::centre([height, resized_height], crop, filter),
                first: First::Rows,
            },
        }
    }
}

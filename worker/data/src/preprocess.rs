//! What a sample goes through before the network: for images torchvision's `Resize`, `CenterCrop`, `ToTensor`, `Normalize`; for texts the
//! tokenizer.

use std::cell::RefCell;
use std::path::Path;

use firn_core::spec::Preprocessing;

use crate::image::resample::{Axis, resample, source_region};
use crate::image::{ImageError, Raster, decode_region};
use crate::text::Tokens;
use crate::{BatchTensors, Content, DataError, jpeg};

/// From a sample's content to network input. Shared by all threads of a loader.
pub struct Preprocessor {
    kind: Kind,
}

enum Kind {
    Image(Images),
    Text(Box<Tokens>),
}

/// One sample, ready to be put into a batch.
pub(crate) enum Prepared {
    /// `crop * crop` pixels.
    Pixels(Raster),
    /// Token ids, not padded.
    Tokens(Vec<u32>),
}

struct Images {
    resize: usize,
    crop: usize,
    /// Normalised value of each byte, by channel.
    levels: Box<[[f32; 3]; 256]>,
}

impl Preprocessor {
    /// Builds the steps. `tokenizer` is the path of a `tokenizer.json`, and `model_max_length` the most tokens that the network takes; both
    /// are only needed for texts.
    ///
    /// # Errors
    ///
    /// When the tokenizer cannot be loaded, or the settings cannot work.
    pub fn new(
        preprocessing: &Preprocessing,
        tokenizer: Option<&Path>,
        model_max_length: Option<u32>,
    ) -> Result<Self, DataError> {
        let kind = match preprocessing {
            Preprocessing::Image {
                resize,
                crop,
                mean,
                std,
            } => Kind::Image(Images::new(*resize, *crop, mean, std)?),
            Preprocessing::Text { max_length } => {
                Kind::Text(Box::new(Tokens::load(tokenizer, *max_length, model_max_length)?))
            }
        };
        Ok(Self { kind })
    }

    /// The crop of an image as bytes: `crop * crop * 3`, rows from the top, before normalisation.
    ///
    /// # Errors
    ///
    /// The sentence that a [`crate::CorruptSample`] would carry; or that this preprocessor is for texts.
    pub fn crop_bytes(&self, file: &[u8]) -> Result<Vec<u8>, String> {
        match &self.kind {
            Kind::Image(images) => {
                let raster = images.prepare(file).map_err(|error| error.to_string())?;
                Ok(raster
                    .pixels
                    .iter()
                    .flat_map(|[red, green, blue, _]| [*red, *green, *blue])
                    .collect())
            }
            Kind::Text(_) => Err("this preprocessor is for texts".to_owned()),
        }
    }

    /// Samples that one task of a loader prepares: enough that handing over costs little beside the work.
    pub(crate) fn samples_per_task(&self) -> usize {
        match self.kind {
            Kind::Image(_) => 1,
            Kind::Text(_) => 16,
        }
    }

    pub(crate) fn prepare(&self, content: &Content) -> Result<Prepared, String> {
        match (&self.kind, content) {
            (Kind::Image(images), Content::File { path, .. }) => {
                let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                images
                    .prepare(&bytes)
                    .map(Prepared::Pixels)
                    .map_err(|error| error.to_string())
            }
            (Kind::Text(tokens), Content::Text(text)) => tokens.encode(text).map(Prepared::Tokens),
            (Kind::Image(_), Content::Text(_)) => Err("a text, but the model takes images".to_owned()),
            (Kind::Text(_), Content::File { .. }) => Err("an image, but the model takes texts".to_owned()),
        }
    }

    /// Puts samples side by side.
    pub(crate) fn collate(&self, samples: Vec<Prepared>) -> BatchTensors {
        match &self.kind {
            Kind::Image(images) => {
                let mut pixels = Vec::with_capacity(samples.len() * images.crop * images.crop * 3);
                for sample in &samples {
                    if let Prepared::Pixels(raster) = sample {
                        images.normalise(raster, &mut pixels);
                    }
                }
                BatchTensors::Images {
                    pixels,
                    height: images.crop,
                    width: images.crop,
                }
            }
            Kind::Text(tokens) => {
                let encoded = samples.into_iter().filter_map(|sample| match sample {
                    Prepared::Tokens(ids) => Some(ids),
                    Prepared::Pixels(_) => None,
                });
                tokens.pad(&encoded.collect::<Vec<_>>())
            }
        }
    }
}

impl Images {
    fn new(resize: u32, crop: u32, mean: &[f64; 3], std: &[f64; 3]) -> Result<Self, DataError> {
        let refuse = |reason: String| Err(DataError::Preprocessing { reason });
        if resize == 0 || crop == 0 {
            return refuse(format!("resize is {resize} and crop {crop}; both must be at least 1"));
        }
        if std.iter().chain(mean).any(|value| !value.is_finite()) || std.contains(&0.0) {
            return refuse(format!(
                "mean is {mean:?} and std {std:?}; all must be finite and std not 0"
            ));
        }
        let mut levels = Box::new([[0.0; 3]; 256]);
        for (byte, level) in (0u8..=255).zip(levels.iter_mut()) {
            for (channel, value) in level.iter_mut().enumerate() {
                // In f32 and in this order, as `ToTensor` and `Normalize` compute it.
                *value = (f32::from(byte) / 255.0 - mean[channel] as f32) / std[channel] as f32;
            }
        }
        Ok(Self {
            resize: resize as usize,
            crop: crop as usize,
            levels,
        })
    }

    fn prepare(&self, file: &[u8]) -> Result<Raster, ImageError> {
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
        let (resized_width, resized_height) = resized(width, height, self.resize);
        (
            Cut::new(width, resized_width, self.crop),
            Cut::new(height, resized_height, self.crop),
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

    fn normalise(&self, raster: &Raster, pixels: &mut Vec<f32>) {
        let levels = &self.levels;
        pixels.extend(raster.pixels.iter().flat_map(|[red, green, blue, _]| {
            [
                levels[usize::from(*red)][0],
                levels[usize::from(*green)][1],
                levels[usize::from(*blue)][2],
            ]
        }));
    }
}

/// One axis of an image on its way to the crop.
struct Cut {
    axis: Axis,
    /// Black pixels before the image's first.
    before: usize,
}

impl Cut {
    fn new(input: usize, output: usize, crop: usize) -> Self {
        if crop <= output {
            let start = half_to_even(output - crop);
            Self {
                axis: Axis::new(input, output, start..start + crop),
                before: 0,
            }
        } else {
            Self {
                axis: Axis::new(input, output, 0..output),
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

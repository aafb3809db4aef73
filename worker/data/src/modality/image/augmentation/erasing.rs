//! `RandomErasing`: a rectangle of the normalised image is replaced.

use firn_core::{
    random::Random,
    spec::{ErasedValue, RandomErasingSpec},
};

use super::rounded;
use crate::modality::image::raster::{Raster, Region};

/// What is erased, and the normalised number of each level of each channel.
pub(super) struct Erasing {
    spec: RandomErasingSpec,
    normalised: [[f32; 256]; 3],
}

/// Rectangles that are drawn before the image is left as it is.
const ATTEMPTS: usize = 10;

impl Erasing {
    /// `mean` and `std` are those of the normalisation.
    pub(super) fn new(spec: RandomErasingSpec, mean: &[f64; 3], std: &[f64; 3]) -> Self {
        let of_channel = |channel: usize| {
            let (mean, std) = (mean[channel] as f32, std[channel] as f32);
            std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std)
        };
        Self {
            spec,
            normalised: std::array::from_fn(of_channel),
        }
    }

    /// Normalised numbers in the order row, column, channel.
    pub(super) fn numbers(&self, random: &mut Random, raster: &Raster) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(raster.pixels.len() * 3);
        for pixel in &raster.pixels {
            let levels = pixel.iter().zip(&self.normalised);
            numbers.extend(levels.map(|(level, table)| table[usize::from(*level)]));
        }
        if let Some(region) = self.draw(random, [raster.width, raster.height]) {
            let rows = numbers
                .chunks_exact_mut(raster.width * 3)
                .skip(region.top)
                .take(region.height);
            for row in rows {
                self.replace(random, &mut row[region.left * 3..(region.left + region.width) * 3]);
            }
        }
        numbers
    }

    fn replace(&self, random: &mut Random, numbers: &mut [f32]) {
        match self.spec.value {
            ErasedValue::Zero => numbers.fill(0.0),
            ErasedValue::Random => {
                for pair in numbers.chunks_mut(2) {
                    for (number, drawn) in pair.iter_mut().zip(random.normals()) {
                        *number = drawn as f32;
                    }
                }
            }
        }
    }

    /// The rectangle, if there is one, in an image of that width and height: its area is uniform, and so is the logarithm of its ratio.
    pub(super) fn draw(&self, random: &mut Random, [width, height]: [usize; 2]) -> Option<Region> {
        let RandomErasingSpec {
            probability,
            scale,
            ratio,
            ..
        } = self.spec;
        if random.unit() >= probability {
            return None;
        }
        for _ in 0..ATTEMPTS {
            let area = (width * height) as f64 * random.uniform(scale);
            let ratio = random.uniform(ratio.map(f64::ln)).exp();
            let (down, across) = (rounded((area * ratio).sqrt()), rounded((area / ratio).sqrt()));
            if down < height && across < width {
                let top = random.below((height - down) as u64 + 1) as usize;
                let left = random.below((width - across) as u64 + 1) as usize;
                return Some(Region {
                    left,
                    top,
                    width: across,
                    height: down,
                });
            }
        }
        None
    }
}

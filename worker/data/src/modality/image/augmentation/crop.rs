//! `RandomResizedCrop` and `RandomCrop`: which part of an image is seen.

use firn_core::{random::Random, spec::RandomResizedCropSpec};

use super::rounded;
use crate::modality::image::raster::Region;

/// Draws parts of images.
#[derive(Clone, Copy)]
pub(super) struct RandomResizedCrop {
    scale: [f64; 2],
    ratio: [f64; 2],
}

/// Parts that are drawn before one is settled on that always fits.
const ATTEMPTS: usize = 10;

/// Column and row of a resized image of that width and height at which the crop begins, each place being as likely as the others: from `padding` pixels before
/// the first, to where `padding` pixels behind the last are seen.
pub(super) fn start(random: &mut Random, padding: u32, [width, height]: [usize; 2], crop: usize) -> [i64; 2] {
    let padding = i64::from(padding);
    let mut along = |side: usize| {
        let places = side as i64 + 2 * padding - crop as i64 + 1;
        random.below(places.max(1) as u64) as i64 - padding
    };
    let top = along(height);
    [along(width), top]
}

impl RandomResizedCrop {
    pub(super) fn new(RandomResizedCropSpec { scale, ratio }: RandomResizedCropSpec) -> Self {
        Self { scale, ratio }
    }

    /// A part of an image of that width and height: its area is uniform, and so is the logarithm of its ratio.
    pub(super) fn draw(&self, random: &mut Random, [width, height]: [usize; 2]) -> Region {
        for _ in 0..ATTEMPTS {
            let area = (width * height) as f64 * random.uniform(self.scale);
            let ratio = random.uniform(self.ratio.map(f64::ln)).exp();
            let (across, down) = (rounded((area * ratio).sqrt()), rounded((area / ratio).sqrt()));
            if (1..=width).contains(&across) && (1..=height).contains(&down) {
                let top = random.below((height - down) as u64 + 1) as usize;
                let left = random.below((width - across) as u64 + 1) as usize;
                return Region {
                    left,
                    top,
                    width: across,
                    height: down,
                };
            }
        }
        self.centre(width, height)
    }

    /// The largest part in the middle whose ratio is allowed.
    fn centre(&self, width: usize, height: usize) -> Region {
        let found = width as f64 / height as f64;
        let [least, most] = self.ratio;
        let (across, down) = if found < least {
            (width, rounded(width as f64 / least))
        } else if found > most {
            (rounded(height as f64 * most), height)
        } else {
            (width, height)
        };
        // Of an image that is one pixel wide, no ratio may leave nothing.
        let (across, down) = (across.clamp(1, width), down.clamp(1, height));
        Region {
            left: (width - across) / 2,
            top: (height - down) / 2,
            width: across,
            height: down,
        }
    }
}

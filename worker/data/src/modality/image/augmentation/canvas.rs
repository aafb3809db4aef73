//! An image that is being changed, and what its changes have in common.

use crate::modality::image::raster::Raster;

/// An image, and memory for another one of its size, which threads keep from image to image.
pub(super) struct Canvas<'a> {
    pub(super) raster: Raster,
    pub(super) spare: &'a mut Vec<[u8; 4]>,
}

impl Canvas<'_> {
    /// Replaces the image by one that `fill` makes of it: `fill(before, after)`, where `after` is black.
    pub(super) fn redraw(&mut self, fill: impl FnOnce(&Raster, &mut [[u8; 4]])) {
        self.spare.clear();
        self.spare.resize(self.raster.pixels.len(), [0; 4]);
        fill(&self.raster, self.spare);
        std::mem::swap(&mut self.raster.pixels, self.spare);
    }

    /// Replaces each level of red, green and blue by that of its table.
    pub(super) fn look_up(&mut self, tables: &[[u8; 256]; 3]) {
        for pixel in &mut self.raster.pixels {
            for (level, table) in pixel.iter_mut().zip(tables) {
                *level = table[usize::from(*level)];
            }
        }
    }

    /// How often each level of red, green and blue occurs.
    pub(super) fn histograms(&self) -> [[usize; 256]; 3] {
        let mut counts = [[0; 256]; 3];
        for pixel in &self.raster.pixels {
            for (count, level) in counts.iter_mut().zip(pixel) {
                count[usize::from(*level)] += 1;
            }
        }
        counts
    }
}

/// What Pillow's `blend` makes of two levels: `from` at 0, `to` at 1, beyond both further in the same direction. In single precision, without rounding.
pub(super) fn blended(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (i32::from(from), i32::from(to));
    // A cast cuts off what is below 0 or above 255.
    (from as f32 + factor * (to - from) as f32) as u8
}

/// The same level for all three channels.
pub(super) fn table_of(level: impl Fn(u8) -> u8) -> [[u8; 256]; 3] {
    let mut table = [0; 256];
    for (from, to) in (0..=u8::MAX).zip(&mut table) {
        *to = level(from);
    }
    [table; 3]
}

/// Grey as Pillow's mode `L`: the luma of ITU-R 601-2 with 16-bit weights.
pub(super) fn luma([red, green, blue, _]: [u8; 4]) -> u8 {
    let [red, green, blue] = [red, green, blue].map(u32::from);
    ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
}

//! EXIF orientation: cameras store the sensor's rows and note how the picture is held.

use exif::{In, Reader, Tag};

use super::raster::{Raster, Region};

/// How the stored image becomes upright: first a transposition, then mirrors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Orientation {
    /// Rows become columns.
    transpose: bool,
    /// Of the upright image: left and right change places.
    mirror_across: bool,
    /// Of the upright image: top and bottom change places.
    mirror_down: bool,
}

impl Orientation {
    /// From a TIFF structure; one that is absent or damaged says nothing.
    pub(super) fn of_exif(tiff: Option<&[u8]>) -> Self {
        let read = |tiff: &[u8]| Reader::new().read_raw(tiff.to_vec()).ok();
        let value = tiff
            .and_then(read)
            .and_then(|exif| exif.get_field(Tag::Orientation, In::PRIMARY)?.value.get_uint(0));
        Self::of_value(value.unwrap_or(1))
    }

    /// The eight values of EXIF 2.3, tag 0x0112.
    fn of_value(value: u32) -> Self {
        let (transpose, mirror_across, mirror_down) = match value {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => (false, false, false),
        };
        Self {
            transpose,
            mirror_across,
            mirror_down,
        }
    }

    /// Upright width and height of a stored image.
    pub(super) fn upright(self, width: usize, height: usize) -> (usize, usize) {
        if self.transpose {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// Where the pixels of an upright region are stored, in an image of stored `width` and `height`.
    pub(super) fn stored_region(self, region: Region, width: usize, height: usize) -> Region {
        let (upright_width, upright_height) = self.upright(width, height);
        let left = if self.mirror_across {
            upright_width - region.left - region.width
        } else {
            region.left
        };
        let top = if self.mirror_down {
            upright_height - region.top - region.height
        } else {
            region.top
        };
        if self.transpose {
            Region {
                left: top,
                top: left,
                width: region.height,
                height: region.width,
            }
        } else {
            Region { left, top, ..region }
        }
    }

    /// Turns stored pixels upright.
    pub(super) fn turn(self, stored: Raster) -> Raster {
        if self == Self::default() {
            return stored;
        }
        let (width, height) = self.upright(stored.width, stored.height);
        let mut raster = Raster::new(width, height);
        for (y, row) in raster.pixels.chunks_exact_mut(width).enumerate() {
            let down = if self.mirror_down { height - 1 - y } else { y };
            for (x, pixel) in row.iter_mut().enumerate() {
                let across = if self.mirror_across { width - 1 - x } else { x };
                let (stored_x, stored_y) = if self.transpose { (down, across) } else { (across, down) };
                *pixel = stored.pixels[stored_y * stored.width + stored_x];
            }
        }
        raster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 3x2 image whose pixels are 0 to 5.
    fn numbered() -> Raster {
        Raster {
            width: 3,
            height: 2,
            pixels: (0..6).map(|i| [i, 0, 0, 0]).collect(),
        }
    }

    fn turned(value: u32) -> (usize, Vec<u8>) {
        let raster = Orientation::of_value(value).turn(numbered());
        (raster.width, raster.pixels.iter().map(|pixel| pixel[0]).collect())
    }

    #[test]
    fn each_value_turns_as_exif_says() {
        let expected: [(u32, usize, [u8; 6]); 8] = [
            (1, 3, [0, 1, 2, 3, 4, 5]),
            (2, 3, [2, 1, 0, 5, 4, 3]),
            (3, 3, [5, 4, 3, 2, 1, 0]),
            (4, 3, [3, 4, 5, 0, 1, 2]),
            (5, 2, [0, 3, 1, 4, 2, 5]),
            (6, 2, [3, 0, 4, 1, 5, 2]),
            (7, 2, [5, 2, 4, 1, 3, 0]),
            (8, 2, [2, 5, 1, 4, 0, 3]),
        ];
        for (value, width, pixels) in expected {
            assert_eq!(turned(value), (width, pixels.to_vec()), "orientation {value}");
        }
    }

    #[test]
    fn a_region_of_the_upright_image_is_found_in_the_stored_one() {
        for value in 1..=8 {
            let orientation = Orientation::of_value(value);
            let whole = orientation.turn(numbered());
            let region = Region {
                left: 1,
                top: 0,
                width: 1,
                height: 2,
            };
            let stored = numbered().cut(orientation.stored_region(region, 3, 2));
            let part = orientation.turn(stored);
            let expected = whole.cut(region);
            assert_eq!(part.pixels, expected.pixels, "orientation {value}");
        }
    }
}

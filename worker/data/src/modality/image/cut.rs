//! Which part of an image the network sees, and how the pixels of that part are made: resized, cut, and laid out.

use firn_core::spec::PaddingMode;

use super::raster::{Raster, Region};
use super::resample::{Axis, Filter, First};

/// Both axes of an image on its way to the network, and which of them is resized first.
pub(super) struct Plan {
    pub(super) across: Cut,
    pub(super) down: Cut,
    pub(super) first: First,
}

/// One axis of an image on its way to the network.
pub(super) struct Cut {
    pub(super) axis: Axis,
    /// Where the part of the image begins that the axis is of.
    pub(super) first: usize,
    /// For each pixel that the network sees, which of the axis it is, `None` being black; `None` where they are the same.
    laid: Option<Vec<Option<usize>>>,
}

impl Cut {
    /// `CenterCrop` of `input` pixels that become `output`; black on both sides where these are fewer.
    pub(super) fn centre([input, output]: [usize; 2], crop: usize, filter: Filter) -> Self {
        if crop <= output {
            let start = half_to_even(output - crop);
            return Self {
                axis: Axis::new([input, output], start..start + crop, filter),
                first: 0,
                laid: None,
            };
        }
        let before = (crop - output) / 2;
        let place = |place: usize| place.checked_sub(before).filter(|place| *place < output);
        Self {
            axis: Axis::new([input, output], 0..output, filter),
            first: 0,
            laid: Some((0..crop).map(place).collect()),
        }
    }

    /// `length` pixels from `first` on, brought to the size of the crop.
    pub(super) fn part([first, length]: [usize; 2], crop: usize, filter: Filter) -> Self {
        Self {
            first,
            ..Self::centre([length, crop], crop, filter)
        }
    }

    /// `crop` pixels from `start` on, of `input` pixels that become `output`: what lies outside of these is made of them.
    pub(super) fn moved(
        [input, output]: [usize; 2],
        (start, mode): (i64, PaddingMode),
        crop: usize,
        filter: Filter,
    ) -> Self {
        let places = (start..start + crop as i64).map(|place| padded(place, output as i64, mode));
        let places: Vec<Option<usize>> = places.collect();
        let seen = || places.iter().flatten().copied();
        let needed = seen().min().unwrap_or(0)..seen().max().map_or(1, |last| last + 1);
        let from = needed.start;
        let is_whole = places.iter().enumerate().all(|(at, place)| *place == Some(from + at));
        let laid = || places.iter().map(|place| place.map(|place| place - from)).collect();
        Self {
            axis: Axis::new([input, output], needed, filter),
            first: 0,
            laid: (!is_whole).then(laid),
        }
    }
}

/// Which of `side` pixels stands at a place that may lie outside of them; `None` is black.
fn padded(place: i64, side: i64, mode: PaddingMode) -> Option<usize> {
    let mirrored = |period: i64, repeated: i64| {
        let place = place.rem_euclid(period.max(1));
        place.min(period - repeated - place).max(0)
    };
    let found = match mode {
        PaddingMode::Constant => return usize::try_from(place).ok().filter(|place| (*place as i64) < side),
        PaddingMode::Edge => place.clamp(0, side - 1),
        PaddingMode::Reflect => mirrored(2 * (side - 1), 0),
        PaddingMode::Symmetric => mirrored(2 * side, 1),
    };
    usize::try_from(found).ok()
}

impl Plan {
    /// The pixels that the network sees, of those that the axes have made.
    pub(super) fn laid_out(&self, raster: Raster) -> Raster {
        let [across, down] = [&self.across.laid, &self.down.laid];
        if across.is_none() && down.is_none() {
            return raster;
        }
        let place_in = |laid: &Option<Vec<Option<usize>>>, at: usize| laid.as_ref().map_or(Some(at), |laid| laid[at]);
        let length = |laid: &Option<Vec<Option<usize>>>, own: usize| laid.as_ref().map_or(own, Vec::len);
        let mut found = Raster::new(length(across, raster.width), length(down, raster.height));
        let width = found.width;
        for (y, row) in found.pixels.chunks_exact_mut(width).enumerate() {
            let Some(source) = place_in(down, y) else { continue };
            let source = &raster.pixels[source * raster.width..][..raster.width];
            for (x, pixel) in row.iter_mut().enumerate() {
                if let Some(x) = place_in(across, x) {
                    *pixel = source[x];
                }
            }
        }
        found
    }

    /// The pixels of the file that it needs.
    pub(super) fn region(&self) -> Region {
        let mut region = super::resample::source_region(&self.across.axis, &self.down.axis);
        region.left += self.across.first;
        region.top += self.down.first;
        region
    }
}

/// `_compute_resized_output_size`: the shorter side becomes `size`, the longer one `int(size * long / short)`.
pub(super) fn resized([width, height]: [usize; 2], size: usize) -> [usize; 2] {
    if width <= height {
        [size, size * height / width]
    } else {
        [size * width / height, size]
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
        assert_eq!(resized([500, 375], 256), [341, 256]);
        assert_eq!(resized([375, 500], 256), [256, 341]);
        assert_eq!(resized([7, 7], 3), [3, 3]);
    }

    #[test]
    fn half_a_pixel_goes_to_the_even_side() {
        assert_eq!([0, 1, 2, 3, 5, 117].map(half_to_even), [0, 0, 1, 2, 2, 58]);
    }

    /// numpy's `pad`, also by more than the image has.
    #[test]
    fn what_lies_outside_is_made_of_the_image() {
        let places = |mode, side| {
            (-4..side + 4)
                .map(move |place| padded(place, side, mode))
                .collect::<Vec<_>>()
        };
        let of = |places: &[usize]| places.iter().copied().map(Some).collect::<Vec<_>>();
        let black = vec![None; 4];
        assert_eq!(
            places(PaddingMode::Constant, 3),
            [&black[..], &of(&[0, 1, 2]), &black].concat()
        );
        assert_eq!(places(PaddingMode::Edge, 3), of(&[0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2]));
        assert_eq!(places(PaddingMode::Reflect, 3), of(&[0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]));
        assert_eq!(
            places(PaddingMode::Symmetric, 3),
            of(&[2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0])
        );
        assert_eq!(places(PaddingMode::Reflect, 1), of(&[0; 9]));
    }
}

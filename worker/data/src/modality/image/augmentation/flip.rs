//! Mirror images: `RandomHorizontalFlip` and `RandomVerticalFlip`.

use firn_core::{random::Random, spec::AugmentationSpec};

use super::{Operation, canvas::Canvas};

struct Flip {
    probability: f64,
    turn: fn(&mut Canvas),
}

impl Operation for Flip {
    fn apply(&self, random: &mut Random, canvas: &mut Canvas) {
        if random.unit() < self.probability {
            (self.turn)(canvas);
        }
    }
}

pub(super) fn horizontal(spec: &AugmentationSpec) -> Option<Box<dyn Operation>> {
    operation(spec.horizontal_flip, left_to_right)
}

pub(super) fn vertical(spec: &AugmentationSpec) -> Option<Box<dyn Operation>> {
    operation(spec.vertical_flip, top_to_bottom)
}

fn operation(probability: f64, turn: fn(&mut Canvas)) -> Option<Box<dyn Operation>> {
    (probability > 0.0).then(|| Box::new(Flip { probability, turn }) as Box<dyn Operation>)
}

pub(super) fn left_to_right(canvas: &mut Canvas) {
    let width = canvas.raster.width;
    canvas.raster.pixels.chunks_exact_mut(width).for_each(<[_]>::reverse);
}

pub(super) fn top_to_bottom(canvas: &mut Canvas) {
    let width = canvas.raster.width;
    let half = canvas.raster.height / 2 * width;
    let length = canvas.raster.pixels.len();
    let (above, below) = canvas.raster.pixels.split_at_mut(half);
    let below = &mut below[length - 2 * half..];
    for (upper, lower) in above.chunks_exact_mut(width).zip(below.chunks_exact_mut(width).rev()) {
        upper.swap_with_slice(lower);
    }
}

//! `RandAugment` and `TrivialAugmentWide`: operations that are taken from one list, with strengths in steps.

use firn_core::{
    random::Random,
    spec::{AugmentationSpec, WarpInterpolation},
};

use super::{
    Operation,
    affine::{shear_x, shear_y, translation, warp},
    canvas::Canvas,
    color,
    rotation::rotate,
    sharpness::sharpness,
    tone,
};

/// An operation of the list, with its strength under both policies.
struct Entry {
    apply: fn(&mut Canvas, f64, WarpInterpolation),
    rand: Strength,
    wide: Strength,
    /// Whether the strength is as often below 0 as above.
    is_signed: bool,
}

/// What the steps of an operation mean.
#[derive(Clone, Copy)]
enum Strength {
    /// Nothing: there is only one.
    Fixed,
    /// From 0 to this.
    UpTo(f64),
    /// From 0 to this part of the image's width, and of its height where it is moved down.
    UpToPart(f64),
    /// From 1 down to 0.
    Falling,
    /// From 8 bits down by this many.
    Bits(f64),
}

use Strength::{Bits, Falling, Fixed, UpTo, UpToPart};

const fn entry(
    apply: fn(&mut Canvas, f64, WarpInterpolation),
    rand: Strength,
    wide: Strength,
    is_signed: bool,
) -> Entry {
    Entry {
        apply,
        rand,
        wide,
        is_signed,
    }
}

/// The `_AUGMENTATION_SPACE` of both classes of torchvision, in its order.
const LIST: [Entry; 14] = [
    entry(|_, _, _| (), Fixed, Fixed, false),
    entry(
        |canvas, by, how| warp(canvas, &shear_x(by), how),
        UpTo(0.3),
        UpTo(0.99),
        true,
    ),
    entry(
        |canvas, by, how| warp(canvas, &shear_y(by), how),
        UpTo(0.3),
        UpTo(0.99),
        true,
    ),
    entry(
        |canvas, by, how| warp(canvas, &translation(by as i64, 0), how),
        UpToPart(150.0 / 331.0),
        UpTo(32.0),
        true,
    ),
    entry(
        |canvas, by, how| warp(canvas, &translation(0, by as i64), how),
        UpToPart(150.0 / 331.0),
        UpTo(32.0),
        true,
    ),
    entry(rotate, UpTo(30.0), UpTo(135.0), true),
    entry(
        |canvas, by, _| color::brightness(canvas, 1.0 + by),
        UpTo(0.9),
        UpTo(0.99),
        true,
    ),
    entry(
        |canvas, by, _| color::saturation(canvas, 1.0 + by),
        UpTo(0.9),
        UpTo(0.99),
        true,
    ),
    entry(
        |canvas, by, _| color::contrast(canvas, 1.0 + by),
        UpTo(0.9),
        UpTo(0.99),
        true,
    ),
    entry(|canvas, by, _| sharpness(canvas, 1.0 + by), UpTo(0.9), UpTo(0.99), true),
    entry(
        |canvas, by, _| tone::posterize(canvas, by as u32),
        Bits(4.0),
        Bits(6.0),
        false,
    ),
    entry(
        |canvas, by, _| tone::solarize(canvas, 255.0 * by),
        Falling,
        Falling,
        false,
    ),
    entry(|canvas, _, _| tone::autocontrast(canvas), Fixed, Fixed, false),
    entry(|canvas, _, _| tone::equalize(canvas), Fixed, Fixed, false),
];

impl Strength {
    /// Of a step of `bins`, in an image with so many pixels a side, in single precision as torch makes it.
    fn at(self, step: u32, bins: u32, side: usize) -> f64 {
        let between = |from: f32, to: f32| f64::from(linspace(from, to, bins, step));
        match self {
            Fixed => 0.0,
            UpTo(most) => between(0.0, most as f32),
            UpToPart(part) => between(0.0, (part * side as f64) as f32),
            Falling => between(1.0, 0.0),
            Bits(range) => {
                let part = step as f32 / ((f64::from(bins) - 1.0) / range) as f32;
                f64::from((8.0 - part).round_ties_even())
            }
        }
    }
}

/// `torch.linspace(from, to, bins)[step]`: from the nearer end, with one rounding.
fn linspace(from: f32, to: f32, bins: u32, step: u32) -> f32 {
    let width = (to - from) / (bins - 1) as f32;
    match step < bins / 2 {
        true => width.mul_add(step as f32, from),
        false => (-width).mul_add((bins - 1 - step) as f32, to),
    }
}

/// Either policy.
struct Policy {
    operations: u32,
    /// The step of all operations; `None`: each has one of its own.
    magnitude: Option<u32>,
    bins: u32,
    strength: fn(&Entry) -> Strength,
    interpolation: WarpInterpolation,
}

impl Operation for Policy {
    fn apply(&self, random: &mut Random, canvas: &mut Canvas) {
        for _ in 0..self.operations {
            let (entry, strength) = self.draw(random, canvas.raster.width);
            (LIST[entry].apply)(canvas, strength, self.interpolation);
        }
    }
}

impl Policy {
    /// An operation by its place in the list, and its strength.
    fn draw(&self, random: &mut Random, side: usize) -> (usize, f64) {
        let place = random.below(LIST.len() as u64) as usize;
        let step = self
            .magnitude
            .unwrap_or_else(|| random.below(u64::from(self.bins)) as u32);
        let strength = (self.strength)(&LIST[place]).at(step, self.bins, side);
        let is_turned = LIST[place].is_signed && random.unit() < 0.5;
        (place, if is_turned { -strength } else { strength })
    }
}

pub(super) fn rand_augment(spec: &AugmentationSpec) -> Option<Box<dyn Operation>> {
    Some(Box::new(rand_augment_of(spec)?))
}

pub(super) fn trivial_augment_wide(spec: &AugmentationSpec) -> Option<Box<dyn Operation>> {
    Some(Box::new(trivial_augment_wide_of(spec)?))
}

fn rand_augment_of(spec: &AugmentationSpec) -> Option<Policy> {
    let policy = spec.rand_augment?;
    Some(Policy {
        operations: policy.num_ops,
        magnitude: Some(policy.magnitude),
        bins: policy.num_magnitude_bins,
        strength: |entry| entry.rand,
        interpolation: spec.interpolation,
    })
}

fn trivial_augment_wide_of(spec: &AugmentationSpec) -> Option<Policy> {
    let policy = spec.trivial_augment_wide?;
    Some(Policy {
        operations: 1,
        magnitude: None,
        bins: policy.num_magnitude_bins,
        strength: |entry| entry.wide,
        interpolation: spec.interpolation,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a policy takes from the list for one image, in order.
    pub(in super::super) fn draw(spec: &AugmentationSpec, random: &mut Random, side: usize) -> Vec<(usize, f64)> {
        let policy = rand_augment_of(spec).or_else(|| trivial_augment_wide_of(spec)).unwrap();
        (0..policy.operations).map(|_| policy.draw(random, side)).collect()
    }

    /// The strengths of an entry, and whether they have a sign.
    pub(in super::super) fn strengths(entry: usize, is_wide: bool, bins: u32, side: usize) -> (Vec<f64>, bool) {
        let entry = &LIST[entry];
        let strength = if is_wide { entry.wide } else { entry.rand };
        (
            (0..bins).map(|step| strength.at(step, bins, side)).collect(),
            entry.is_signed,
        )
    }
}

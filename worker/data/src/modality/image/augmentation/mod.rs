//! Random changes of training images: torchvision's transforms of PIL images, pixel for pixel.
//!
//! What is drawn is a function of seed, epoch, sample and operation, so a sample is changed alike by whichever rank, thread or process prepares it, and
//! however often. Each operation draws from a stream of its own: another one beside it changes nothing.
//!
//! [`OPERATIONS`] has a row for each operation that takes pixels and gives pixels. Two stand outside: a random crop decides what is decoded at all, and what is
//! erased is replaced by numbers that are no bytes.

mod affine;
mod canvas;
mod color;
mod crop;
mod erasing;
mod flip;
mod grayscale;
mod jitter;
mod policy;
mod rotation;
mod sharpness;
mod tone;

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use firn_core::random::{Purpose, Random};
use firn_core::spec::{AugmentationSpec, PaddingMode, RandomCropSpec};

use self::crop::RandomResizedCrop;
use self::{canvas::Canvas, erasing::Erasing};
use super::raster::{Raster, Region};
use crate::modality::Occasion;

/// A change of pixels that is drawn anew each time.
trait Operation: Send + Sync {
    /// Draws, and changes the image.
    fn apply(&self, random: &mut Random, canvas: &mut Canvas);
}

/// The number of an operation's stream, and the operation where a spec asks for it.
type Row = (u64, fn(&AugmentationSpec) -> Option<Box<dyn Operation>>);

/// In the order in which they are applied. A number is never given to another operation: stored jobs draw from it.
const OPERATIONS: &[Row] = &[
    (1, flip::horizontal),
    (2, flip::vertical),
    (3, rotation::operation),
    (4, policy::rand_augment),
    (5, policy::trivial_augment_wide),
    (6, jitter::operation),
    (8, grayscale::operation),
];
/// The stream of the random crop that is resized.
const RESIZED_CROP: u64 = 0;
/// The stream of the random crop of a resized image.
const CROP: u64 = 9;
/// The stream of what is erased.
const ERASING: u64 = 7;

/// What is seen of an image in place of the centre of the resized one.
pub(super) enum Seen {
    /// A part of the image, which is resized.
    Part(Region),
    /// What begins at that column and row of the resized image, which may lie before its first; what stands outside of it.
    Moved([i64; 2], PaddingMode),
}

/// What is done to the training images of a job.
pub(super) struct Augmentation {
    resized_crop: Option<RandomResizedCrop>,
    crop: Option<RandomCropSpec>,
    operations: Vec<(u64, Box<dyn Operation>)>,
    erasing: Option<Erasing>,
}

impl Augmentation {
    /// `mean` and `std` are those of the normalisation.
    pub(super) fn new(spec: &AugmentationSpec, mean: &[f64; 3], std: &[f64; 3]) -> Self {
        let operations = OPERATIONS.iter();
        Self {
            resized_crop: spec.random_resized_crop.map(RandomResizedCrop::new),
            crop: spec.random_crop,
            operations: operations
                .filter_map(|(stream, operation)| Some((*stream, operation(spec)?)))
                .collect(),
            erasing: spec.random_erasing.map(|erasing| Erasing::new(erasing, mean, std)),
        }
    }

    /// What is seen of an image of that width and height, which has others when it is resized, by a network that takes `crop` pixels a side.
    pub(super) fn seen(
        &self,
        occasion: Occasion,
        size: [usize; 2],
        (resized, crop): ([usize; 2], usize),
    ) -> Option<Seen> {
        if let Some(resized_crop) = &self.resized_crop {
            let part = resized_crop.draw(&mut stream(occasion, RESIZED_CROP), size);
            return Some(Seen::Part(part));
        }
        let spec = self.crop.as_ref()?;
        let start = crop::start(&mut stream(occasion, CROP), spec.padding, resized, crop);
        Some(Seen::Moved(start, spec.padding_mode))
    }

    /// Changes the pixels of an image that has its size.
    pub(super) fn change(&self, occasion: Occasion, raster: Raster) -> Raster {
        thread_local! {
            static SPARE: RefCell<Vec<[u8; 4]>> = RefCell::default();
        }
        if self.operations.is_empty() {
            return raster;
        }
        SPARE.with_borrow_mut(|spare| {
            let mut canvas = Canvas { raster, spare };
            for (number, operation) in &self.operations {
                operation.apply(&mut stream(occasion, *number), &mut canvas);
            }
            canvas.raster
        })
    }

    /// Normalised numbers in the order row, column, channel, a part of them erased; `None` where nothing ever is.
    pub(super) fn erased(&self, occasion: Occasion, raster: &Raster) -> Option<Vec<f32>> {
        let erasing = self.erasing.as_ref()?;
        Some(erasing.numbers(&mut stream(occasion, ERASING), raster))
    }
}

fn stream(occasion: Occasion, operation: u64) -> Random {
    let Occasion { seed, epoch, turn } = occasion;
    Random::within(seed, Purpose::Augmentation, epoch, &[turn, operation])
}

/// `int(round(number))` in Python, where a half goes to the even neighbour.
fn rounded(number: f64) -> usize {
    number.round_ties_even() as usize
}

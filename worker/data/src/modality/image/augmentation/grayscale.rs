//! `RandomGrayscale`: red, green and blue become the grey of each pixel.

use firn_core::{random::Random, spec::AugmentationSpec};

use super::{
    Operation,
    canvas::{Canvas, luma},
};

struct Grayscale {
    probability: f64,
}

impl Operation for Grayscale {
    fn apply(&self, random: &mut Random, canvas: &mut Canvas) {
        if random.unit() < self.probability {
            grayscale(canvas);
        }
    }
}

pub(super) fn operation(spec: &AugmentationSpec) -> Option<Box<dyn Operation>> {
    let probability = spec.grayscale;
    (probability > 0.0).then(|| Box::new(Grayscale { probability }) as Box<dyn Operation>)
}

pub(super) fn grayscale(canvas: &mut Canvas) {
    for pixel in &mut canvas.raster.pixels {
        *pixel = [luma(*pixel); 4];
    }
}

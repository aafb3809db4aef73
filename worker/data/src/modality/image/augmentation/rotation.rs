//! Pillow's `rotate`, counter-clockwise about the centre: `RandomRotation`.

use firn_core::{
    random::Random,
    spec::{AugmentationSpec, WarpInterpolation},
};

use super::{
    Operation,
    affine::{Matrix, warp},
    canvas::Canvas,
    flip,
};

struct Rotation {
    degrees: f64,
    interpolation: WarpInterpolation,
}

impl Operation for Rotation {
    fn apply(&self, random: &mut Random, canvas: &mut Canvas) {
        let degrees = random.uniform([-self.degrees, self.degrees]);
        rotate(canvas, degrees, self.interpolation);
    }
}

pub(super) fn operation(spec: &AugmentationSpec) -> Option<Box<dyn Operation>> {
    let rotation = Rotation {
        degrees: spec.rotation,
        interpolation: spec.interpolation,
    };
    (spec.rotation > 0.0).then(|| Box::new(rotation) as Box<dyn Operation>)
}

/// Turns the image. Right angles move pixels and mix none; a quarter only where the image is a square.
pub(super) fn rotate(canvas: &mut Canvas, degrees: f64, interpolation: WarpInterpolation) {
    let degrees = degrees.rem_euclid(360.0);
    let (width, height) = (canvas.raster.width, canvas.raster.height);
    if degrees == 0.0 {
        return;
    }
    if degrees == 180.0 {
        flip::left_to_right(canvas);
        return flip::top_to_bottom(canvas);
    }
    if (degrees == 90.0 || degrees == 270.0) && width == height {
        canvas.redraw(|before, after| {
            for (place, pixel) in after.iter_mut().enumerate() {
                let (y, x) = (place / width, place % width);
                *pixel = match degrees == 90.0 {
                    true => before.pixels[x * width + width - 1 - y],
                    false => before.pixels[(width - 1 - x) * width + y],
                };
            }
        });
        return;
    }
    warp(
        canvas,
        &about_centre(degrees, width as f64, height as f64),
        interpolation,
    );
}

fn about_centre(degrees: f64, width: f64, height: f64) -> Matrix {
    let angle = -degrees.to_radians();
    let (cos, sin, back) = (
        to_15_digits(angle.cos()),
        to_15_digits(angle.sin()),
        to_15_digits(-angle.sin()),
    );
    let (x, y) = (width / 2.0, height / 2.0);
    let right = cos * -x + sin * -y + 0.0 + x;
    let down = back * -x + cos * -y + 0.0 + y;
    [cos, sin, right, back, cos, down]
}

/// `round(number, 15)` in Python.
fn to_15_digits(number: f64) -> f64 {
    let written = format!("{number:.15}");
    written.parse().expect("a number that was just written")
}

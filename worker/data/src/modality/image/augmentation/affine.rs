//! Pillow's affine transform: where each pixel comes from. What comes from outside is black.

use firn_core::spec::WarpInterpolation;

use super::canvas::Canvas;
use crate::modality::image::raster::Raster;

/// The place (a·x + b·y + c, d·x + e·y + f) that the pixel at (x, y) shows, in the order a to f.
pub(super) type Matrix = [f64; 6];

/// Redraws the image.
pub(super) fn warp(canvas: &mut Canvas, matrix: &Matrix, interpolation: WarpInterpolation) {
    canvas.redraw(|before, after| match interpolation {
        WarpInterpolation::Nearest => nearest(before, matrix, after),
        WarpInterpolation::Bilinear => bilinear(before, matrix, after),
    });
}

/// With places in 16.16 fixed point, which are added up along rows and columns.
fn nearest(before: &Raster, matrix: &Matrix, after: &mut [[u8; 4]]) {
    let fixed = |number: f64| (number * 65_536.0 + 0.5).floor() as i64;
    let [a, b, c, d, e, f] = *matrix;
    let (right, down) = ([fixed(a), fixed(d)], [fixed(b), fixed(e)]);
    let mut first = [fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5)];
    for row in after.chunks_exact_mut(before.width) {
        let [mut x, mut y] = first;
        for pixel in row {
            if let (Ok(column), Ok(line)) = (usize::try_from(x >> 16), usize::try_from(y >> 16))
                && column < before.width
                && line < before.height
            {
                *pixel = before.pixels[line * before.width + column];
            }
            x += right[0];
            y += right[1];
        }
        first[0] += down[0];
        first[1] += down[1];
    }
}

/// In double precision, without rounding; at an edge the outermost pixels count twice.
fn bilinear(before: &Raster, matrix: &Matrix, after: &mut [[u8; 4]]) {
    let [a, b, c, d, e, f] = *matrix;
    let (width, height) = (before.width as f64, before.height as f64);
    for (y, row) in after.chunks_exact_mut(before.width).enumerate() {
        let middle = y as f64 + 0.5;
        for (x, pixel) in row.iter_mut().enumerate() {
            let centre = x as f64 + 0.5;
            let (left, top) = (a * centre + b * middle + c, d * centre + e * middle + f);
            if left < 0.0 || left >= width || top < 0.0 || top >= height {
                continue;
            }
            let ([left, right], across) = neighbours(left - 0.5, before.width);
            let ([top, bottom], down) = neighbours(top - 0.5, before.height);
            let at = |line: usize, column: usize| before.pixels[line * before.width + column];
            let corners = [at(top, left), at(top, right), at(bottom, left), at(bottom, right)];
            for (channel, level) in pixel.iter_mut().take(3).enumerate() {
                let [first, second, third, fourth] = corners.map(|corner| f64::from(corner[channel]));
                let (upper, lower) = (first + (second - first) * across, third + (fourth - third) * across);
                *level = (upper + (lower - upper) * down) as u8;
            }
        }
    }
}

/// The two pixels within `0..length` between whose middles a place from -0.5 on lies, and how far it is from the first.
fn neighbours(place: f64, length: usize) -> ([usize; 2], f64) {
    if place < 0.0 {
        return ([0, 0], place + 1.0);
    }
    let first = place as usize;
    ([first, (first + 1).min(length - 1)], place - first as f64)
}

/// torchvision's `affine` with a shear along rows whose tangent is `slope`, about the upper left corner.
pub(super) fn shear_x(slope: f64) -> Matrix {
    [1.0, through_degrees(slope).tan(), 0.0, 0.0, 1.0, 0.0]
}

/// The same along columns.
pub(super) fn shear_y(slope: f64) -> Matrix {
    let angle = through_degrees(slope);
    [1.0, 0.0, 0.0, angle.sin() / angle.cos(), 1.0, 0.0]
}

/// The angle in radians, as it is once it has been in degrees.
fn through_degrees(slope: f64) -> f64 {
    slope.atan().to_degrees().to_radians()
}

/// torchvision's `affine` that moves an image by whole pixels.
pub(super) fn translation(right: i64, down: i64) -> Matrix {
    [1.0, 0.0, -(right as f64), 0.0, 1.0, -(down as f64)]
}

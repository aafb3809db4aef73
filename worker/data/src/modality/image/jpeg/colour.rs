//! From component samples to RGB: libjpeg's `jdcolor.c` in 16-bit fixed point, and Pillow's way from CMYK to RGB.

use super::frame::Frame;
use super::header::Colour;
use super::upsample::{Rows, upsample_row};
use super::{Plane, Scratch};
use crate::modality::image::raster::{Raster, Region};

/// The pixels of `region`.
pub(super) fn render(frame: &Frame, colour: Colour, region: Region, scratch: &mut Scratch) -> Raster {
    let mut raster = Raster::new(region.width, region.height);
    let Scratch { planes, chroma, .. } = scratch;
    chroma
        .rows
        .resize_with(frame.components.len().max(chroma.rows.len()), Vec::new);
    for row in &mut chroma.rows {
        row.resize(region.width, 0);
    }
    pulp::Arch::new().dispatch(Render {
        planes,
        chroma,
        colour,
        region,
        pixels: &mut raster.pixels,
    });
    raster
}

struct Render<'a> {
    planes: &'a [Plane],
    chroma: &'a mut Rows,
    colour: Colour,
    region: Region,
    pixels: &'a mut [[u8; 4]],
}

impl pulp::WithSimd for Render<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Region { left, top, width, .. } = self.region;
        for (y, pixels) in self.pixels.chunks_exact_mut(width).enumerate() {
            for (plane, row) in self.planes.iter().zip(&mut self.chroma.rows) {
                upsample_row(plane, top + y, left, row, &mut self.chroma.sums);
            }
            convert_row(self.colour, &self.chroma.rows, pixels);
        }
    }
}

#[inline(always)]
fn convert_row(colour: Colour, rows: &[Vec<u8>], pixels: &mut [[u8; 4]]) {
    match (colour, rows) {
        (Colour::Grey, [grey, ..]) => {
            for (pixel, &grey) in pixels.iter_mut().zip(grey) {
                *pixel = [grey, grey, grey, 0];
            }
        }
        (Colour::Rgb, [red, green, blue, ..]) => {
            for (pixel, ((&red, &green), &blue)) in pixels.iter_mut().zip(red.iter().zip(green).zip(blue)) {
                *pixel = [red, green, blue, 0];
            }
        }
        (Colour::YCbCr, [luma, cb, cr, ..]) => {
            for (pixel, ((&luma, &cb), &cr)) in pixels.iter_mut().zip(luma.iter().zip(cb).zip(cr)) {
                *pixel = ycc_to_rgb(luma, cb, cr);
            }
        }
        (Colour::Cmyk, [cyan, magenta, yellow, black, ..]) => {
            for (x, pixel) in pixels.iter_mut().enumerate() {
                *pixel = cmyk_to_rgb([cyan[x], magenta[x], yellow[x]], black[x]);
            }
        }
        (Colour::Ycck, [luma, cb, cr, black, ..]) => {
            for (x, pixel) in pixels.iter_mut().enumerate() {
                let [red, green, blue, _] = ycc_to_rgb(luma[x], cb[x], cr[x]);
                *pixel = cmyk_to_rgb([255 - red, 255 - green, 255 - blue], black[x]);
            }
        }
        _ => unreachable!("the colour was chosen by the number of components"),
    }
}

/// ITU-R BT.601, full range; coefficients times 2^16, rounded as `FIX` does.
#[inline(always)]
fn ycc_to_rgb(luma: u8, cb: u8, cr: u8) -> [u8; 4] {
    let (luma, cb, cr) = (i32::from(luma), i32::from(cb) - 128, i32::from(cr) - 128);
    let channel = |chroma: i32| luma.wrapping_add(chroma.wrapping_add(32768) >> 16).clamp(0, 255) as u8;
    let green = cb.wrapping_mul(-22554).wrapping_add(cr.wrapping_mul(-46802));
    [
        channel(cr.wrapping_mul(91881)),
        channel(green),
        channel(cb.wrapping_mul(116130)),
        0,
    ]
}

/// Pillow takes CMYK files to be inverted, as Adobe writes them, and converts by multiplying with what black leaves (`Convert.c`).
#[inline(always)]
fn cmyk_to_rgb(inverted: [u8; 3], inverted_black: u8) -> [u8; 4] {
    let white = u32::from(inverted_black);
    let channel = |value: u8| {
        let product = u32::from(255 - value) * white + 128;
        (white - ((product + (product >> 8)) >> 8).min(white)) as u8
    };
    let [cyan, magenta, yellow] = inverted;
    [channel(cyan), channel(magenta), channel(yellow), 0]
}

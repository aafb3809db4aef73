//! Brightness, contrast, saturation and hue, as Pillow's `ImageEnhance` and torchvision's `adjust_hue` change them.

use super::canvas::{Canvas, blended, luma, table_of};

/// Times `factor`: a blend with black.
pub(super) fn brightness(canvas: &mut Canvas, factor: f64) {
    canvas.look_up(&table_of(|level| blended(0, level, factor as f32)));
}

/// Away from the mean grey of the image.
pub(super) fn contrast(canvas: &mut Canvas, factor: f64) {
    let pixels = &canvas.raster.pixels;
    let sum: u64 = pixels.iter().map(|pixel| u64::from(luma(*pixel))).sum();
    let mean = (sum as f64 / pixels.len() as f64 + 0.5) as u8;
    canvas.look_up(&table_of(|level| blended(mean, level, factor as f32)));
}

/// Away from the grey of each pixel.
pub(super) fn saturation(canvas: &mut Canvas, factor: f64) {
    for pixel in &mut canvas.raster.pixels {
        let grey = luma(*pixel);
        for level in pixel.iter_mut().take(3) {
            *level = blended(grey, *level, factor as f32);
        }
    }
}

/// Turned by this part of the circle, which has 256 hues.
pub(super) fn hue(canvas: &mut Canvas, part: f64) {
    // Towards 0, and once around below it.
    let turn = (part * 255.0) as i32 as u8;
    let turned: [Hue; 256] = std::array::from_fn(|hue| Hue::new((hue as u8).wrapping_add(turn)));
    for pixel in &mut canvas.raster.pixels {
        let [hue, saturation, value] = hsv_of([pixel[0], pixel[1], pixel[2]]);
        let rgb = turned[usize::from(hue)].with(saturation, value);
        pixel[..3].copy_from_slice(&rgb);
    }
}

/// Pillow's mode `HSV`. In single precision, where it is not written otherwise; without rounding.
fn hsv_of([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let distance = |level: u8| f32::from(most - level) / range;
    let sextant = if red == most {
        distance(blue) - distance(green)
    } else if green == most {
        (2.0 + f64::from(distance(red)) - f64::from(distance(blue))) as f32
    } else {
        (4.0 + f64::from(distance(green)) - f64::from(distance(red))) as f32
    };
    // Of -1 to 5 sextants: once around is left out.
    let turns = f64::from(sextant) / 6.0 + 1.0;
    let hue = (turns - if turns >= 1.0 { 1.0 } else { 0.0 }) as f32;
    let saturation = range / f32::from(most);
    [
        (f64::from(hue) * 255.0) as u8,
        (f64::from(saturation) * 255.0) as u8,
        most,
    ]
}

/// A hue on the way back to red, green and blue: the sextant of the circle in which it lies, and how far into it.
struct Hue {
    sextant: u8,
    rest: f32,
}

impl Hue {
    fn new(hue: u8) -> Self {
        let sextants = f64::from(hue) * 6.0 / 255.0;
        Self {
            sextant: sextants as u8 % 6,
            rest: (sextants - sextants.floor()) as f32,
        }
    }

    /// Red, green and blue, rounded.
    fn with(&self, saturation: u8, value: u8) -> [u8; 3] {
        let part = (f64::from(saturation) / 255.0) as f32;
        let level = |share: f64| rounded(f64::from(value) * (1.0 - share));
        let low = level(f64::from(part));
        let falling = || level(f64::from(part * self.rest));
        let rising = || level(f64::from(part) * (1.0 - f64::from(self.rest)));
        match self.sextant {
            0 => [value, rising(), low],
            1 => [falling(), value, low],
            2 => [low, value, rising()],
            3 => [low, falling(), value],
            4 => [rising(), low, value],
            _ => [value, low, falling()],
        }
    }
}

/// The nearest level; of a half the greater. (Without the instruction for it, `round` is a call.)
fn rounded(level: f64) -> u8 {
    let whole = level as u8;
    whole + u8::from(level - f64::from(whole) >= 0.5)
}

//! Pillow's `ImageEnhance.Sharpness`: away from the image that its filter `SMOOTH` gives.

use super::canvas::{Canvas, blended};

/// The filter's weights beside the centre, and in it, of their sum of 13.
const BESIDE: f32 = 1.0 / 13.0;
const CENTRE: f32 = 5.0 / 13.0;

/// Less than 1 smooths, more sharpens. The outermost pixels stay.
pub(super) fn sharpness(canvas: &mut Canvas, factor: f64) {
    let factor = factor as f32;
    let (width, height) = (canvas.raster.width, canvas.raster.height);
    if width < 3 || height < 3 {
        return;
    }
    canvas.redraw(|before, after| {
        after.copy_from_slice(&before.pixels);
        let rows: Vec<&[u8]> = before.pixels.chunks_exact(width).map(<[_]>::as_flattened).collect();
        let inner = after.chunks_exact_mut(width).skip(1).take(height - 2);
        for (rows, row) in rows.windows(3).zip(inner) {
            let [above, here, below] = [rows[0], rows[1], rows[2]];
            let smoothed = weighed(below, BESIDE)
                .zip(weighed(here, CENTRE))
                .zip(weighed(above, BESIDE));
            let levels = row.as_flattened_mut()[4..].iter_mut().zip(&here[4..]);
            for ((level, was), ((below, here), above)) in levels.zip(smoothed) {
                // In the order in which Pillow adds: single precision shows it.
                *level = blended((0.5 + below + here + above) as u8, *was, factor);
            }
        }
    });
}

/// Three neighbours of one channel in a row, weighed, for each but the outermost.
fn weighed(row: &[u8], centre: f32) -> impl Iterator<Item = f32> {
    let neighbours = row.iter().zip(&row[4..]).zip(&row[8..]);
    neighbours.map(move |((before, here), after)| {
        f32::from(*before) * BESIDE + f32::from(*here) * centre + f32::from(*after) * BESIDE
    })
}

//! What changes each level by a table: Pillow's `posterize`, `solarize`, `autocontrast` and `equalize`.

use super::canvas::{Canvas, table_of};

/// Keeps the upper `bits` of each level.
pub(super) fn posterize(canvas: &mut Canvas, bits: u32) {
    let mask = u8::MAX << (8 - bits.min(8)).min(7);
    canvas.look_up(&table_of(|level| level & mask));
}

/// Inverts the levels from `threshold` on.
pub(super) fn solarize(canvas: &mut Canvas, threshold: f64) {
    canvas.look_up(&table_of(|level| match f64::from(level) < threshold {
        true => level,
        false => 255 - level,
    }));
}

/// Spreads the levels of each channel over the whole range.
pub(super) fn autocontrast(canvas: &mut Canvas) {
    let tables = canvas.histograms().map(|counts| {
        let least = counts.iter().position(|count| *count > 0).unwrap_or(0);
        let most = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
        if most <= least {
            return identity();
        }
        let scale = 255.0 / (most - least) as f64;
        let offset = -(least as f64) * scale;
        // A cast cuts off what is below 0 or above 255.
        table(|level| (level as f64 * scale + offset) as u8)
    });
    canvas.look_up(&tables);
}

/// Makes all levels of each channel about equally frequent.
pub(super) fn equalize(canvas: &mut Canvas) {
    let tables = canvas.histograms().map(|counts| {
        let occurring = counts.iter().filter(|count| **count > 0);
        let last = occurring.clone().next_back().copied().unwrap_or(0);
        let step = (counts.iter().sum::<usize>() - last) / 255;
        if occurring.count() <= 1 || step == 0 {
            return identity();
        }
        let mut below = step / 2;
        table(|level| {
            let new = (below / step).min(255) as u8;
            below += counts[level];
            new
        })
    });
    canvas.look_up(&tables);
}

fn table(mut level: impl FnMut(usize) -> u8) -> [u8; 256] {
    let mut table = [0; 256];
    table.iter_mut().enumerate().for_each(|(from, to)| *to = level(from));
    table
}

fn identity() -> [u8; 256] {
    table(|level| level as u8)
}

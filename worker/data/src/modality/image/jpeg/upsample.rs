//! Chroma at the resolution of luma, as libjpeg's `jdsample.c`: a triangle filter ("fancy upsampling") for ratios of two, repetition for
//! the others. The rounding constants alternate as they do there. Sums stay below 2^12, so 16 bits hold them.

use super::Plane;

/// Full-resolution rows of one component each.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Vec<u8>>,
    pub(super) sums: Vec<u16>,
}

/// Writes the samples of pixels `left..left + row.len()` of pixel row `y`.
#[inline(always)]
pub(super) fn upsample_row(plane: &Plane, y: usize, left: usize, row: &mut [u8], sums: &mut Vec<u16>) {
    let width = plane.width;
    match (plane.across, plane.down) {
        (1, 1) => row.copy_from_slice(&line(plane, y)[left..left + row.len()]),
        (2, 1) if width > 2 => {
            fill(sums, line(plane, y).iter().map(|sample| u16::from(*sample)));
            widen(
                sums,
                left,
                row,
                Rounding {
                    even: 1,
                    odd: 2,
                    shift: 2,
                },
            );
        }
        (2, 2) if width > 2 => {
            let (near, far) = neighbours(plane, y);
            fill(
                sums,
                near.iter()
                    .zip(far)
                    .map(|(near, far)| (3 * u16::from(*near)).wrapping_add(u16::from(*far))),
            );
            widen(
                sums,
                left,
                row,
                Rounding {
                    even: 8,
                    odd: 7,
                    shift: 4,
                },
            );
        }
        (1, 2) => {
            let (near, far) = neighbours(plane, y);
            let bias = if y.is_multiple_of(2) { 1 } else { 2 };
            for (pixel, (near, far)) in row.iter_mut().zip(near[left..].iter().zip(&far[left..])) {
                *pixel = ((3 * u16::from(*near) + u16::from(*far) + bias) >> 2) as u8;
            }
        }
        (across, down) => {
            let line = line(plane, y / down);
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = line[(left + x) / across];
            }
        }
    }
}

fn line(plane: &Plane, y: usize) -> &[u8] {
    &plane.samples[y * plane.stride..][..plane.width]
}

/// The sample row that pixel row `y` lies in, and the other one that is near.
fn neighbours(plane: &Plane, y: usize) -> (&[u8], &[u8]) {
    let near = y / 2;
    let far = if y.is_multiple_of(2) {
        near.saturating_sub(1)
    } else {
        (near + 1).min(plane.height - 1)
    };
    (line(plane, near), line(plane, far))
}

#[inline(always)]
fn fill(sums: &mut Vec<u16>, values: impl Iterator<Item = u16>) {
    sums.clear();
    sums.extend(values);
}

#[derive(Clone, Copy)]
struct Rounding {
    even: u16,
    odd: u16,
    shift: u32,
}

/// Two pixels for each sum: three quarters of it and one quarter of the neighbour. At the borders the neighbour is the sum itself.
#[inline(always)]
fn widen(sums: &[u16], left: usize, row: &mut [u8], rounding: Rounding) {
    let pixel = |x: usize| {
        let this = x / 2;
        let (other, bias) = if x.is_multiple_of(2) {
            (this.saturating_sub(1), rounding.even)
        } else {
            ((this + 1).min(sums.len() - 1), rounding.odd)
        };
        ((3 * sums[this] + sums[other] + bias) >> rounding.shift) as u8
    };
    let right = left + row.len();
    // The even pixel whose sum has both neighbours, and the end of the run of such pairs.
    let first = left.next_multiple_of(2).max(2).min(right);
    let last = (right / 2 * 2).min(sums.len() * 2 - 2).max(first);
    for x in (left..first).chain(last..right) {
        row[x - left] = pixel(x);
    }
    let pairs = row[first - left..last - left].as_chunks_mut::<2>().0;
    if pairs.is_empty() {
        return;
    }
    let sums = &sums[first / 2 - 1..];
    for (pair, window) in pairs.iter_mut().zip(sums.windows(3)) {
        let centre = window[1].wrapping_mul(3);
        pair[0] = (centre.wrapping_add(window[0]).wrapping_add(rounding.even) >> rounding.shift) as u8;
        pair[1] = (centre.wrapping_add(window[2]).wrapping_add(rounding.odd) >> rounding.shift) as u8;
    }
}

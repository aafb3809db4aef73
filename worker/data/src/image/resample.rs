//! Pillow's antialiased bilinear resize (`Resample.c`) to the bit: a triangle filter widened by the scale, 22-bit integer weights, first
//! along rows, then along columns, with rounding to 8 bits between. Only the wanted part of the result is computed, from only the part
//! of the source that it depends on.

use std::ops::Range;

use super::{Raster, Region};

/// `PRECISION_BITS` of `Resample.c`.
const PRECISION: u32 = 32 - 8 - 2;

/// How wanted output positions along one axis are made from input positions.
pub(crate) struct Axis {
    /// For each output: its first input, counted from the start of `source`.
    starts: Vec<usize>,
    /// Weights of each output: `taps` numbers, zero beyond those it needs.
    weights: Vec<i32>,
    taps: usize,
    /// Input positions that any output needs.
    pub(crate) source: Range<usize>,
    /// The input as it is: Pillow leaves out a pass that would change nothing.
    identity: bool,
}

impl Axis {
    /// Of outputs `wanted` when `input` positions become `output` positions.
    pub(crate) fn new(input: usize, output: usize, wanted: Range<usize>) -> Self {
        if input == output {
            let starts = (0..wanted.len()).collect();
            return Self { starts, weights: vec![1 << PRECISION; wanted.len()], taps: 1, source: wanted, identity: true };
        }
        let scale = input as f64 / output as f64;
        let filter_scale = scale.max(1.0);
        let support = filter_scale;
        let windows: Vec<(usize, Vec<i32>)> = wanted
            .map(|place| {
                let centre = (place as f64 + 0.5) * scale;
                // Truncation towards zero, as the cast of a C compiler.
                let first = (centre - support + 0.5).max(0.0) as usize;
                let end = ((centre + support + 0.5) as usize).min(input);
                (first, triangle(first..end, centre, 1.0 / filter_scale))
            })
            .collect();
        let taps = windows.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let start = windows.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let end = windows.iter().map(|(first, weights)| first + weights.len()).max().unwrap_or(0);
        let mut axis = Self { starts: Vec::new(), weights: Vec::new(), taps, source: start..end, identity: false };
        for (first, weights) in windows {
            // A window that would reach beyond the source starts earlier, with zero weights before its own.
            let begin = first.min((end - taps).max(start));
            let before = first - begin;
            axis.starts.push(begin - start);
            axis.weights.extend(std::iter::repeat_n(0, before));
            axis.weights.extend_from_slice(&weights);
            axis.weights.extend(std::iter::repeat_n(0, taps - before - weights.len()));
        }
        axis
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    fn windows(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.starts.iter().copied().zip(self.weights.chunks_exact(self.taps))
    }
}

fn triangle(window: Range<usize>, centre: f64, inverse_scale: f64) -> Vec<i32> {
    let weight = |place: usize| (1.0 - ((place as f64 - centre + 0.5) * inverse_scale).abs()).max(0.0);
    let weights: Vec<f64> = window.map(weight).collect();
    let sum: f64 = weights.iter().fold(0.0, |sum, weight| sum + weight);
    let fixed = |weight: f64| (0.5 + weight / sum * f64::from(1 << PRECISION)) as i32;
    weights.into_iter().map(fixed).collect()
}

/// The wanted part of the resized image; `source` holds the pixels of `across.source` and `down.source`.
pub(crate) fn resample(source: Raster, across: &Axis, down: &Axis) -> Raster {
    let arch = pulp::Arch::new();
    let narrowed = if across.identity {
        source
    } else {
        let mut narrowed = Raster::new(across.len(), source.height);
        arch.dispatch(|| resample_rows(&source, across, &mut narrowed));
        narrowed
    };
    if down.identity {
        return narrowed;
    }
    let mut result = Raster::new(narrowed.width, down.len());
    arch.dispatch(|| resample_columns(&narrowed, down, &mut result));
    result
}

/// Four rows at once, for independent sums.
#[inline(always)]
fn resample_rows(source: &Raster, axis: &Axis, result: &mut Raster) {
    let (from, to) = (source.width, result.width);
    let mut inputs = source.pixels.chunks_exact(from * 4);
    let mut outputs = result.pixels.chunks_exact_mut(to * 4);
    for (input, output) in (&mut inputs).zip(&mut outputs) {
        let (i0, rest) = input.split_at(from);
        let (i1, rest) = rest.split_at(from);
        let (i2, i3) = rest.split_at(from);
        let (o0, rest) = output.split_at_mut(to);
        let (o1, rest) = rest.split_at_mut(to);
        let (o2, o3) = rest.split_at_mut(to);
        for (x, (start, weights)) in axis.windows().enumerate() {
            let window = |row: &'_ [[u8; 4]]| -> [i32; 4] { weighted(&row[start..start + weights.len()], weights) };
            let sums = [window(i0), window(i1), window(i2), window(i3)];
            o0[x] = sums[0].map(clip);
            o1[x] = sums[1].map(clip);
            o2[x] = sums[2].map(clip);
            o3[x] = sums[3].map(clip);
        }
    }
    let rest = inputs.remainder().chunks_exact(from).zip(outputs.into_remainder().chunks_exact_mut(to));
    for (input, output) in rest {
        for (pixel, (start, weights)) in output.iter_mut().zip(axis.windows()) {
            *pixel = weighted(&input[start..start + weights.len()], weights).map(clip);
        }
    }
}

#[inline(always)]
fn weighted(pixels: &[[u8; 4]], weights: &[i32]) -> [i32; 4] {
    let mut sums = [1i32 << (PRECISION - 1); 4];
    for (pixel, weight) in pixels.iter().zip(weights) {
        for (sum, channel) in sums.iter_mut().zip(pixel) {
            // Weights sum to 2^22 within rounding, so a sum stays below 2^30.
            *sum = sum.wrapping_add(i32::from(*channel).wrapping_mul(*weight));
        }
    }
    sums
}

#[inline(always)]
fn resample_columns(source: &Raster, axis: &Axis, result: &mut Raster) {
    const CHUNK: usize = 8;
    let width = source.width;
    for (output, (start, weights)) in result.pixels.chunks_exact_mut(width).zip(axis.windows()) {
        let rows = &source.pixels[start * width..(start + weights.len()) * width];
        let mut left = 0;
        for chunk in output.as_chunks_mut::<CHUNK>().0 {
            let mut sums = [[1i32 << (PRECISION - 1); 4]; CHUNK];
            for (row, weight) in rows.chunks_exact(width).zip(weights) {
                let pixels: &[[u8; 4]; CHUNK] = row[left..left + CHUNK].try_into().expect("a chunk");
                for (sums, pixel) in sums.iter_mut().zip(pixels) {
                    for (sum, channel) in sums.iter_mut().zip(pixel) {
                        *sum = sum.wrapping_add(i32::from(*channel).wrapping_mul(*weight));
                    }
                }
            }
            *chunk = sums.map(|sums| sums.map(clip));
            left += CHUNK;
        }
        for (x, pixel) in output.iter_mut().enumerate().skip(left) {
            let mut sums = [1i32 << (PRECISION - 1); 4];
            for (row, weight) in rows.chunks_exact(width).zip(weights) {
                for (sum, channel) in sums.iter_mut().zip(&row[x]) {
                    *sum = sum.wrapping_add(i32::from(*channel).wrapping_mul(*weight));
                }
            }
            *pixel = sums.map(clip);
        }
    }
}

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// The rectangle of the source that the two axes need.
pub(crate) fn source_region(across: &Axis, down: &Axis) -> Region {
    Region { left: across.source.start, top: down.source.start, width: across.source.len(), height: down.source.len() }
}

//! Pillow's antialiased resize (`Resample.c`) to the bit: a filter widened by the scale, 22-bit integer weights, first
//! along rows, then along columns (or the other way round), with rounding to 8 bits between. Only the wanted part of the result is computed, from only the part
//! of the source that it depends on.

use std::ops::Range;

use super::raster::{Raster, Region};

/// `PRECISION_BITS` of `Resample.c`.
const PRECISION: u32 = 32 - 8 - 2;

/// The curve that gives a pixel its weight by its distance.
#[derive(Clone, Copy)]
pub(crate) struct Filter {
    /// Distance in pixels beyond which the weight is 0.
    support: f64,
    weight: fn(f64) -> f64,
}

impl Filter {
    /// Bilinear.
    pub(crate) const TRIANGLE: Self = Self {
        support: 1.0,
        weight: |distance| (1.0 - distance).max(0.0),
    };
    /// Bicubic: Keys's cubic with a = -0.5.
    pub(crate) const CUBIC: Self = Self {
        support: 2.0,
        weight: cubic,
    };
}

fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.5;
    if distance < 1.0 {
        ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0
    } else if distance < 2.0 {
        (((distance - 5.0) * distance + 8.0) * distance - 4.0) * A
    } else {
        0.0
    }
}

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
    pub(crate) fn new([input, output]: [usize; 2], wanted: Range<usize>, filter: Filter) -> Self {
        if input == output {
            let starts = (0..wanted.len()).collect();
            return Self {
                starts,
                weights: vec![1 << PRECISION; wanted.len()],
                taps: 1,
                source: wanted,
                identity: true,
            };
        }
        let scale = input as f64 / output as f64;
        let filter_scale = scale.max(1.0);
        let support = filter.support * filter_scale;
        let windows: Vec<(usize, Vec<i32>)> = wanted
            .map(|place| {
                let centre = (place as f64 + 0.5) * scale;
                // Truncation towards zero, as the cast of a C compiler.
                let first = (centre - support + 0.5).max(0.0) as usize;
                let end = ((centre + support + 0.5) as usize).min(input);
                (first, weights(filter, first..end, centre, 1.0 / filter_scale))
            })
            .collect();
        let taps = windows.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let start = windows.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let end = windows
            .iter()
            .map(|(first, weights)| first + weights.len())
            .max()
            .unwrap_or(0);
        let mut axis = Self {
            starts: Vec::new(),
            weights: Vec::new(),
            taps,
            source: start..end,
            identity: false,
        };
        for (first, weights) in windows {
            // A window that would reach beyond the source starts earlier, with zero weights before its own.
            let begin = first.min((end - taps).max(start));
            let before = first - begin;
            axis.starts.push(begin - start);
            axis.weights.extend(std::iter::repeat_n(0, before));
            axis.weights.extend_from_slice(&weights);
            axis.weights
                .extend(std::iter::repeat_n(0, taps - before - weights.len()));
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

fn weights(filter: Filter, window: Range<usize>, centre: f64, inverse_scale: f64) -> Vec<i32> {
    let weight = |place: usize| (filter.weight)(((place as f64 - centre + 0.5) * inverse_scale).abs());
    let weights: Vec<f64> = window.map(weight).collect();
    let sum: f64 = weights.iter().fold(0.0, |sum, weight| sum + weight);
    // Halves away from 0, by the truncation of a C compiler.
    let fixed = |weight: f64| (0.5_f64.copysign(weight) + weight / sum * f64::from(1 << PRECISION)) as i32;
    weights.into_iter().map(fixed).collect()
}

/// Which pass comes first: between them levels are rounded, so the last one shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// Along rows, as Pillow before 13 always has it.
    Rows,
    /// Along columns.
    Columns,
}

impl First {
    /// Pillow 13 begins with columns where the height shrinks by more than twice as many pixels as the width. Widths and heights, before and after.
    pub(crate) fn of([width, new_width]: [usize; 2], [height, new_height]: [usize; 2]) -> Self {
        let shrinks_by = |before: usize, after: usize| before as i64 - after as i64;
        let down = shrinks_by(height, new_height);
        match down > 0 && down > 2 * shrinks_by(width, new_width) {
            true => Self::Columns,
            false => Self::Rows,
        }
    }
}

/// The wanted part of the resized image; `source` holds the pixels of `across.source` and `down.source`.
pub(crate) fn resample(source: Raster, across: &Axis, down: &Axis, first: First) -> Raster {
    match first {
        First::Rows => lowered(narrowed(source, across), down),
        First::Columns => narrowed(lowered(source, down), across),
    }
}

fn narrowed(source: Raster, axis: &Axis) -> Raster {
    if axis.identity {
        return source;
    }
    let mut result = Raster::new(axis.len(), source.height);
    pulp::Arch::new().dispatch(Narrow {
        source: &source,
        axis,
        result: &mut result,
    });
    result
}

fn lowered(source: Raster, axis: &Axis) -> Raster {
    if axis.identity {
        return source;
    }
    let mut result = Raster::new(source.width, axis.len());
    pulp::Arch::new().dispatch(Lower {
        source: &source,
        axis,
        result: &mut result,
    });
    result
}

/// Rows that are narrowed together. They are turned into columns first, so that one weight meets many neighbouring bytes.
const STRIP: usize = 16;

/// One column of a strip.
type Column = [[u8; 4]; STRIP];

/// The pass along rows.
struct Narrow<'a> {
    source: &'a Raster,
    axis: &'a Axis,
    result: &'a mut Raster,
}

impl pulp::WithSimd for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let (from, to) = (self.source.width, self.result.width);
        let mut strip: Vec<Column> = vec![[[0; 4]; STRIP]; from];
        let strips = self
            .source
            .pixels
            .chunks(from * STRIP)
            .zip(self.result.pixels.chunks_mut(to * STRIP));
        for (input, output) in strips {
            for (y, row) in input.chunks_exact(from).enumerate() {
                for (column, pixel) in strip.iter_mut().zip(row) {
                    column[y % STRIP] = *pixel;
                }
            }
            for (x, (start, weights)) in self.axis.windows().enumerate() {
                let mut sums = [1i32 << (PRECISION - 1); STRIP * 4];
                for (column, weight) in strip[start..start + weights.len()].iter().zip(weights) {
                    accumulate(&mut sums, column.as_flattened(), *weight);
                }
                let mut levels = [0; STRIP * 4];
                clip(&sums, &mut levels);
                for (row, pixel) in output.chunks_exact_mut(to).zip(levels.as_chunks::<4>().0) {
                    row[x] = *pixel;
                }
            }
        }
    }
}

/// The pass along columns.
struct Lower<'a> {
    source: &'a Raster,
    axis: &'a Axis,
    result: &'a mut Raster,
}

impl pulp::WithSimd for Lower<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let width = self.source.width;
        let mut sums = vec![0; width * 4];
        for (output, (start, weights)) in self.result.pixels.chunks_exact_mut(width).zip(self.axis.windows()) {
            sums.fill(1 << (PRECISION - 1));
            for (row, weight) in self.source.pixels[start * width..].chunks_exact(width).zip(weights) {
                accumulate(&mut sums, row.as_flattened(), *weight);
            }
            clip(&sums, output.as_flattened_mut());
        }
    }
}

/// Weights sum to 2^22 within rounding, and those of the cubic that are above 0 to no more than 1.3 times that, so a sum stays below 2^31.
#[inline(always)]
fn accumulate(sums: &mut [i32], bytes: &[u8], weight: i32) {
    for (sum, byte) in sums.iter_mut().zip(bytes) {
        *sum = sum.wrapping_add(i32::from(*byte).wrapping_mul(weight));
    }
}

#[inline(always)]
fn clip(sums: &[i32], bytes: &mut [u8]) {
    for (byte, sum) in bytes.iter_mut().zip(sums) {
        *byte = (sum >> PRECISION).clamp(0, 255) as u8;
    }
}

/// The rectangle of the source that the two axes need.
pub(crate) fn source_region(across: &Axis, down: &Axis) -> Region {
    Region {
        left: across.source.start,
        top: down.source.start,
        width: across.source.len(),
        height: down.source.len(),
    }
}

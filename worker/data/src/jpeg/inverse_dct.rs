//! The inverse DCT of libjpeg's `jidctint.c` (Loeffler, Ligtenberg & Moschytz 1989, 12 multiplications, 13-bit constants), to the bit.
//!
//! Written over rows of eight lanes, which the compiler turns into vector instructions. Sums wrap: only damaged files come near, and
//! they must not stop the process.

use std::ops::{Add, Mul, Range, Sub};

#[derive(Clone, Copy)]
struct Lanes([i32; 8]);

macro_rules! lanewise {
    ($operator:ident, $method:ident, $wrapping:ident) => {
        impl $operator for Lanes {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let mut result = self;
                for (lane, other) in result.0.iter_mut().zip(other.0) {
                    *lane = lane.$wrapping(other);
                }
                result
            }
        }
    };
}

lanewise!(Add, add, wrapping_add);
lanewise!(Sub, sub, wrapping_sub);

impl Mul<i32> for Lanes {
    type Output = Self;

    #[inline(always)]
    fn mul(self, factor: i32) -> Self {
        Self(self.0.map(|lane| lane.wrapping_mul(factor)))
    }
}

impl Lanes {
    #[inline(always)]
    fn shift_left(self, bits: u32) -> Self {
        Self(self.0.map(|lane| lane << bits))
    }

    #[inline(always)]
    fn round_shift(self, bits: u32) -> Self {
        Self(self.0.map(|lane| lane.wrapping_add(1 << (bits - 1)) >> bits))
    }
}

/// Constants of `jidctint.c`, times 2^13.
mod fix {
    pub(super) const F0_298631336: i32 = 2446;
    pub(super) const F0_390180644: i32 = 3196;
    pub(super) const F0_541196100: i32 = 4433;
    pub(super) const F0_765366865: i32 = 6270;
    pub(super) const F0_899976223: i32 = 7373;
    pub(super) const F1_175875602: i32 = 9633;
    pub(super) const F1_501321110: i32 = 12299;
    pub(super) const F1_847759065: i32 = 15137;
    pub(super) const F1_961570560: i32 = 16069;
    pub(super) const F2_053119869: i32 = 16819;
    pub(super) const F2_562915447: i32 = 20995;
    pub(super) const F3_072711026: i32 = 25172;
}

/// Dequantises and transforms the blocks `across` of one block row, and writes their samples: eight rows of `stride`.
#[inline(always)]
pub(super) fn reconstruct_blocks(values: &[i16], table: &[u16; 64], across: Range<usize>, samples: &mut [u8], stride: usize) {
    let first = across.start;
    for (place, block) in values.as_chunks::<64>().0[across].iter().enumerate() {
        let left = (first + place) * 8;
        if block[1..].iter().fold(0, |seen, value| seen | value) == 0 {
            // Both passes over a constant give this exactly.
            let level = i32::from(block[0]).wrapping_mul(i32::from(table[0])) << 2;
            let level = ((level.wrapping_add(16) >> 5) + 128).clamp(0, 255) as u8;
            for row in samples.chunks_exact_mut(stride) {
                row[left..left + 8].fill(level);
            }
            continue;
        }
        let output = inverse_dct(block, table);
        for (row, output) in samples.chunks_exact_mut(stride).zip(output.as_chunks::<8>().0) {
            row[left..left + 8].copy_from_slice(output);
        }
    }
}

#[inline(always)]
fn inverse_dct(block: &[i16; 64], table: &[u16; 64]) -> [u8; 64] {
    let mut rows = [Lanes([0; 8]); 8];
    for (row, (values, factors)) in rows.iter_mut().zip(block.as_chunks::<8>().0.iter().zip(table.as_chunks::<8>().0)) {
        for (lane, (value, factor)) in row.0.iter_mut().zip(values.iter().zip(factors)) {
            *lane = i32::from(*value) * i32::from(*factor);
        }
    }
    let columns = transpose(pass(rows).map(|row| row.round_shift(11)));
    let rows = transpose(pass(columns).map(|row| row.round_shift(18)));
    let mut output = [0; 64];
    for (output, row) in output.as_chunks_mut::<8>().0.iter_mut().zip(rows) {
        for (sample, lane) in output.iter_mut().zip(row.0) {
            *sample = (lane + 128).clamp(0, 255) as u8;
        }
    }
    output
}

#[inline(always)]
fn transpose(rows: [Lanes; 8]) -> [Lanes; 8] {
    let mut columns = [Lanes([0; 8]); 8];
    for (r, row) in rows.iter().enumerate() {
        for (c, column) in columns.iter_mut().enumerate() {
            column.0[r] = row.0[c];
        }
    }
    columns
}

/// One pass of eight one-dimensional transforms, one a lane; the result is scaled by 2^13.
#[inline(always)]
fn pass(input: [Lanes; 8]) -> [Lanes; 8] {
    let z1 = (input[2] + input[6]) * fix::F0_541196100;
    let even2 = z1 - input[6] * fix::F1_847759065;
    let even3 = z1 + input[2] * fix::F0_765366865;
    let even0 = (input[0] + input[4]).shift_left(13);
    let even1 = (input[0] - input[4]).shift_left(13);
    let (e0, e3, e1, e2) = (even0 + even3, even0 - even3, even1 + even2, even1 - even2);

    let z5 = (input[7] + input[3] + input[5] + input[1]) * fix::F1_175875602;
    let z1 = (input[7] + input[1]) * -fix::F0_899976223;
    let z2 = (input[5] + input[3]) * -fix::F2_562915447;
    let z3 = (input[7] + input[3]) * -fix::F1_961570560 + z5;
    let z4 = (input[5] + input[1]) * -fix::F0_390180644 + z5;
    let o0 = input[7] * fix::F0_298631336 + z1 + z3;
    let o1 = input[5] * fix::F2_053119869 + z2 + z4;
    let o2 = input[3] * fix::F3_072711026 + z2 + z3;
    let o3 = input[1] * fix::F1_501321110 + z1 + z4;
    [e0 + o3, e1 + o2, e2 + o1, e3 + o0, e3 - o0, e2 - o1, e1 - o2, e0 - o3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_block_is_the_same_either_way() {
        for dc in [-1024, -700, -3, 0, 1, 2, 555, 1016] {
            let mut block = [0i16; 64];
            block[0] = dc;
            let slow = inverse_dct(&block, &[3; 64]);
            let mut fast = vec![0; 64];
            reconstruct_blocks(&block, &[3; 64], 0..1, &mut fast, 8);
            assert_eq!(slow[..], fast[..]);
        }
    }

    #[test]
    fn samples_are_within_one_of_the_exact_transform() {
        let block: [i16; 64] = std::array::from_fn(|i| if i < 20 { (i as i16 * 37) % 61 - 30 } else { 0 });
        let output = inverse_dct(&block, &[4; 64]);
        for (place, sample) in output.iter().enumerate() {
            let (y, x) = ((place / 8) as f64, (place % 8) as f64);
            let mut exact = 128.0;
            for (k, value) in block.iter().enumerate() {
                let (v, u) = ((k / 8) as f64, (k % 8) as f64);
                let scale = |n: f64| if n == 0.0 { 0.5f64.sqrt() } else { 1.0 };
                let cosine = |p: f64, n: f64| ((2.0 * p + 1.0) * n * std::f64::consts::PI / 16.0).cos();
                exact += f64::from(*value) * 4.0 * scale(u) * scale(v) * cosine(x, u) * cosine(y, v) / 4.0;
            }
            assert!((f64::from(*sample) - exact.clamp(0.0, 255.0)).abs() <= 1.0, "sample {place}: {sample} for {exact}");
        }
    }
}

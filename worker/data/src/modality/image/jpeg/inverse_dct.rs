//! The inverse DCT of libjpeg's `jidctint.c` (Loeffler, Ligtenberg & Moschytz 1989, 12 multiplications, 13-bit constants), to the bit.
//!
//! The blocks of a group are transformed side by side, one a lane: the loops over lanes become vector instructions of whatever width the
//! CPU has, and neither pass needs a transposition. Sums wrap: only damaged files come near, and they must not stop the process.

use std::num::Wrapping;
use std::ops::Range;

use super::coefficients::{GROUP, Group};

type Lanes = [Wrapping<i32>; GROUP];

/// Dequantises and transforms the blocks `across` of one block row, and writes their samples.
pub(super) struct Reconstruct<'a> {
    /// The block row.
    pub(super) groups: &'a [Group],
    /// In natural order.
    pub(super) table: &'a [u16; 64],
    pub(super) across: Range<usize>,
    /// Eight rows of `stride`.
    pub(super) samples: &'a mut [u8],
    pub(super) stride: usize,
}

impl pulp::WithSimd for Reconstruct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let mut between = [[Wrapping(0); GROUP]; 64];
        for index in self.across.start / GROUP..self.across.end.div_ceil(GROUP) {
            for column in 0..8 {
                columns(&self.groups[index], self.table, column, &mut between);
            }
            let left = index * GROUP * 8;
            let right = (left + GROUP * 8).min(self.stride);
            for (y, row) in self.samples.chunks_exact_mut(self.stride).enumerate() {
                let rows: &[Lanes; 8] = between[y * 8..y * 8 + 8].try_into().expect("eight columns");
                let (first, last) = samples_of_row(rows);
                let targets = row[left..right].as_chunks_mut::<8>().0;
                for (target, (first, last)) in targets.iter_mut().zip(first.iter().zip(last)) {
                    *target = (u64::from(*first) | u64::from(last) << 32).to_le_bytes();
                }
            }
        }
    }
}

/// Dequantises one column of each block, and the first pass down it.
#[inline(always)]
fn columns(group: &Group, table: &[u16; 64], column: usize, between: &mut [Lanes; 64]) {
    let runs = group.as_chunks::<GROUP>().0;
    let input: [&[i16; GROUP]; 8] = std::array::from_fn(|row| &runs[row * 8 + column]);
    let factors: [i32; 8] = std::array::from_fn(|row| i32::from(table[row * 8 + column]));
    let mut output = [[Wrapping(0); GROUP]; 8];
    for lane in 0..GROUP {
        let value = |row: usize| Wrapping(i32::from(input[row][lane])) * Wrapping(factors[row]);
        let transformed = transform::<11>([
            value(0),
            value(1),
            value(2),
            value(3),
            value(4),
            value(5),
            value(6),
            value(7),
        ]);
        for row in 0..8 {
            output[row][lane] = transformed[row];
        }
    }
    for (row, output) in output.iter().enumerate() {
        between[row * 8 + column] = *output;
    }
}

/// The second pass: along one row of each block. Gives the first four samples of each block's row, and the last four, the left one lowest.
#[inline(always)]
fn samples_of_row(input: &[Lanes; 8]) -> ([u32; GROUP], [u32; GROUP]) {
    let mut first = [0u32; GROUP];
    let mut last = [0u32; GROUP];
    for lane in 0..GROUP {
        let value = |column: usize| input[column][lane];
        let samples = transform::<18>([
            value(0),
            value(1),
            value(2),
            value(3),
            value(4),
            value(5),
            value(6),
            value(7),
        ])
        .map(level);
        first[lane] = samples[0] | samples[1] << 8 | samples[2] << 16 | samples[3] << 24;
        last[lane] = samples[4] | samples[5] << 8 | samples[6] << 16 | samples[7] << 24;
    }
    (first, last)
}

#[inline(always)]
fn level(value: Wrapping<i32>) -> u32 {
    (value + Wrapping(128)).0.clamp(0, 255) as u32
}

/// Constants of `jidctint.c`, times 2^13.
mod fix {
    use std::num::Wrapping;

    pub(super) const F0_298631336: Wrapping<i32> = Wrapping(2446);
    pub(super) const F0_390180644: Wrapping<i32> = Wrapping(3196);
    pub(super) const F0_541196100: Wrapping<i32> = Wrapping(4433);
    pub(super) const F0_765366865: Wrapping<i32> = Wrapping(6270);
    pub(super) const F0_899976223: Wrapping<i32> = Wrapping(7373);
    pub(super) const F1_175875602: Wrapping<i32> = Wrapping(9633);
    pub(super) const F1_501321110: Wrapping<i32> = Wrapping(12299);
    pub(super) const F1_847759065: Wrapping<i32> = Wrapping(15137);
    pub(super) const F1_961570560: Wrapping<i32> = Wrapping(16069);
    pub(super) const F2_053119869: Wrapping<i32> = Wrapping(16819);
    pub(super) const F2_562915447: Wrapping<i32> = Wrapping(20995);
    pub(super) const F3_072711026: Wrapping<i32> = Wrapping(25172);
}

/// One transform of eight values. `BITS` takes off, with rounding, what the constants and the passes scale by.
#[inline(always)]
fn transform<const BITS: usize>(input: [Wrapping<i32>; 8]) -> [Wrapping<i32>; 8] {
    let [i0, i1, i2, i3, i4, i5, i6, i7] = input;
    let z1 = (i2 + i6) * fix::F0_541196100;
    let even2 = z1 - i6 * fix::F1_847759065;
    let even3 = z1 + i2 * fix::F0_765366865;
    let half = Wrapping(1 << (BITS - 1));
    let even0 = ((i0 + i4) << 13) + half;
    let even1 = ((i0 - i4) << 13) + half;
    let (e0, e3, e1, e2) = (even0 + even3, even0 - even3, even1 + even2, even1 - even2);

    let z5 = (i7 + i3 + i5 + i1) * fix::F1_175875602;
    let z1 = (i7 + i1) * fix::F0_899976223;
    let z2 = (i5 + i3) * fix::F2_562915447;
    let z3 = z5 - (i7 + i3) * fix::F1_961570560;
    let z4 = z5 - (i5 + i1) * fix::F0_390180644;
    let o0 = i7 * fix::F0_298631336 - z1 + z3;
    let o1 = i5 * fix::F2_053119869 - z2 + z4;
    let o2 = i3 * fix::F3_072711026 - z2 + z3;
    let o3 = i1 * fix::F1_501321110 - z1 + z4;
    [
        (e0 + o3) >> BITS,
        (e1 + o2) >> BITS,
        (e2 + o1) >> BITS,
        (e3 + o0) >> BITS,
        (e3 - o0) >> BITS,
        (e2 - o1) >> BITS,
        (e1 - o2) >> BITS,
        (e0 - o3) >> BITS,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row `y`, column `x` of block 1 of three, of which the others are empty.
    fn middle_block(block: &[i16; 64], factor: u16) -> Vec<u8> {
        let mut group = [0; 64 * GROUP];
        for (position, value) in block.iter().enumerate() {
            group[position * GROUP + 1] = *value;
        }
        let mut samples = vec![0; 24 * 8];
        let table = &[factor; 64];
        pulp::Arch::new().dispatch(Reconstruct {
            groups: &[group],
            table,
            across: 0..3,
            samples: &mut samples,
            stride: 24,
        });
        assert!(
            samples
                .chunks(24)
                .all(|row| row[..8].iter().chain(&row[16..]).all(|sample| *sample == 128)),
            "empty blocks are grey"
        );
        samples.chunks(24).flat_map(|row| row[8..16].to_vec()).collect()
    }

    #[test]
    fn a_constant_block_has_the_level_of_its_mean() {
        for dc in [-1024i16, -700, -3, 0, 1, 2, 555, 1016] {
            let mut block = [0; 64];
            block[0] = dc;
            let expected = ((f64::from(dc) * 3.0 / 8.0).round() + 128.0).clamp(0.0, 255.0) as u8;
            assert!(
                middle_block(&block, 3)
                    .iter()
                    .all(|sample| sample.abs_diff(expected) <= 1),
                "{dc}"
            );
        }
    }

    #[test]
    fn samples_are_within_one_of_the_exact_transform() {
        let block: [i16; 64] = std::array::from_fn(|i| if i < 20 { (i as i16 * 37) % 61 - 30 } else { 0 });
        for (place, sample) in middle_block(&block, 4).iter().enumerate() {
            let (y, x) = ((place / 8) as f64, (place % 8) as f64);
            let mut exact = 128.0;
            for (k, value) in block.iter().enumerate() {
                let (v, u) = ((k / 8) as f64, (k % 8) as f64);
                let scale = |n: f64| if n == 0.0 { 0.5f64.sqrt() } else { 1.0 };
                let cosine = |p: f64, n: f64| ((2.0 * p + 1.0) * n * std::f64::consts::PI / 16.0).cos();
                exact += f64::from(*value) * 4.0 * scale(u) * scale(v) * cosine(x, u) * cosine(y, v) / 4.0;
            }
            assert!(
                (f64::from(*sample) - exact.clamp(0.0, 255.0)).abs() <= 1.0,
                "sample {place}: {sample} for {exact}"
            );
        }
    }

    #[test]
    fn damaged_coefficients_wrap_instead_of_panicking() {
        middle_block(&[i16::MIN; 64], u16::MAX);
        middle_block(&[i16::MAX; 64], u16::MAX);
    }
}

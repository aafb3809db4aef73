//! How bits become the coefficients of a block (ITU-T T.81, annex F): the code of baseline and extended files, and what the first scans of
//! progressive ones share with it.

use std::ops::Range;

use super::coefficients::Block;
use super::entropy::{BadCode, Bits, Table};

/// How the bits of one block become coefficients.
pub(super) trait Code {
    /// At a restart marker.
    fn restart(&mut self);

    /// Reads one block of the scan's component `slot`.
    fn block(&mut self, bits: &mut Bits<'_>, slot: usize, block: &mut Block<'_>) -> Result<(), BadCode>;
}

/// The code of baseline and extended files.
pub(super) struct Sequential<'a> {
    dc: Vec<&'a Table>,
    ac: Vec<&'a Table>,
    predictors: [i32; 4],
}

impl<'a> Sequential<'a> {
    /// With the tables of the scan's components, in its order.
    pub(super) fn new(dc: Vec<&'a Table>, ac: Vec<&'a Table>) -> Self {
        Self {
            dc,
            ac,
            predictors: [0; 4],
        }
    }
}

impl Code for Sequential<'_> {
    fn restart(&mut self) {
        self.predictors = [0; 4];
    }

    #[inline(always)]
    fn block(&mut self, bits: &mut Bits<'_>, slot: usize, block: &mut Block<'_>) -> Result<(), BadCode> {
        let predictor = &mut self.predictors[slot & 3];
        *predictor = predictor.wrapping_add(dc_difference(self.dc[slot], bits)?);
        *block.at(0) = *predictor as i16;
        read_run_levels(self.ac[slot], bits, 1..64, 0, block)?;
        Ok(())
    }
}

/// The change of the first coefficient from one block to the next.
#[inline(always)]
pub(super) fn dc_difference(table: &Table, bits: &mut Bits<'_>) -> Result<i32, BadCode> {
    bits.refill();
    let size = u32::from(table.symbol(bits)?);
    if size > 15 {
        return Err(BadCode);
    }
    Ok(bits.signed(size))
}

/// Reads coefficients of `band` up to an end of block, and answers its symbol's high half: the exponent of the number of blocks that end.
#[inline(always)]
pub(super) fn read_run_levels(
    table: &Table,
    bits: &mut Bits<'_>,
    band: Range<usize>,
    low: u8,
    block: &mut Block<'_>,
) -> Result<u32, BadCode> {
    let mut place = band.start;
    'filled: while place < band.end {
        bits.refill();
        // Two short codes of at most `LOOK` bits leave enough for one of any length.
        for _ in 0..3 {
            let entry = table.value(bits);
            if entry == 0 {
                let symbol = u32::from(table.symbol(bits)?);
                let (run, size) = (symbol >> 4, symbol & 15);
                if size == 0 && run < 15 {
                    return Ok(run);
                }
                place += run as usize;
                let level = bits.signed(size);
                if place < band.end {
                    *block.at(place) = (level << low) as i16;
                }
                place += 1;
                continue 'filled;
            }
            place += ((entry >> 8) & 0xFF) as usize;
            bits.consume(entry & 0xFF);
            if place >= band.end {
                break 'filled;
            }
            *block.at(place) = (((entry as i32) >> 16) << low) as i16;
            place += 1;
            if place >= band.end {
                break 'filled;
            }
        }
    }
    Ok(0)
}

//! The four codes of progressive scans (ITU-T T.81, annex G): first values and refinements, of the first coefficient and of the others.

use super::coefficients::Block;
use super::entropy::{BadCode, Bits, Table};
use super::header::Scan;
use super::sequential::{Code, dc_difference, read_run_levels};

pub(super) struct DcFirst<'a> {
    tables: Vec<&'a Table>,
    low: u8,
    predictors: [i32; 4],
}

impl<'a> DcFirst<'a> {
    pub(super) fn new(tables: Vec<&'a Table>, low: u8) -> Self {
        Self {
            tables,
            low,
            predictors: [0; 4],
        }
    }
}

impl Code for DcFirst<'_> {
    fn restart(&mut self) {
        self.predictors = [0; 4];
    }

    #[inline(always)]
    fn block(&mut self, bits: &mut Bits<'_>, slot: usize, block: &mut Block<'_>) -> Result<(), BadCode> {
        let predictor = &mut self.predictors[slot & 3];
        *predictor = predictor.wrapping_add(dc_difference(self.tables[slot], bits)?);
        *block.at(0) = (*predictor << self.low) as i16;
        Ok(())
    }
}

pub(super) struct DcRefine {
    low: u8,
}

impl DcRefine {
    pub(super) fn new(low: u8) -> Self {
        Self { low }
    }
}

impl Code for DcRefine {
    fn restart(&mut self) {}

    #[inline(always)]
    fn block(&mut self, bits: &mut Bits<'_>, _slot: usize, block: &mut Block<'_>) -> Result<(), BadCode> {
        *block.at(0) |= i16::from(bits.bit()) << self.low;
        Ok(())
    }
}

/// The coefficients of a scan and the blocks that an end of band still covers.
struct Band {
    first: usize,
    end: usize,
    low: u8,
    /// Blocks, after the present one, that have no more new coefficients.
    ended: u32,
}

impl Band {
    fn new(scan: &Scan) -> Self {
        Self {
            first: scan.first,
            end: scan.last + 1,
            low: scan.low,
            ended: 0,
        }
    }
}

pub(super) struct AcFirst<'a> {
    table: &'a Table,
    band: Band,
}

impl<'a> AcFirst<'a> {
    pub(super) fn new(table: &'a Table, scan: &Scan) -> Self {
        Self {
            table,
            band: Band::new(scan),
        }
    }
}

impl Code for AcFirst<'_> {
    fn restart(&mut self) {
        self.band.ended = 0;
    }

    #[inline(always)]
    fn block(&mut self, bits: &mut Bits<'_>, _slot: usize, block: &mut Block<'_>) -> Result<(), BadCode> {
        let band = &mut self.band;
        if band.ended > 0 {
            band.ended -= 1;
            return Ok(());
        }
        let exponent = read_run_levels(self.table, bits, band.first..band.end, band.low, block)?;
        if exponent > 0 {
            band.ended = (1 << exponent) + bits.take(exponent) as u32 - 1;
        }
        Ok(())
    }
}

pub(super) struct AcRefine<'a> {
    table: &'a Table,
    band: Band,
}

impl<'a> AcRefine<'a> {
    pub(super) fn new(table: &'a Table, scan: &Scan) -> Self {
        Self {
            table,
            band: Band::new(scan),
        }
    }

    /// Refines the coefficients that are known, from `place` on, and stops at the zero after `zeros` others, or at the band's end.
    #[inline(always)]
    fn refine(&self, bits: &mut Bits<'_>, block: &mut Block<'_>, mut place: usize, mut zeros: u32) -> usize {
        let step = 1i16 << self.band.low;
        while place < self.band.end {
            let value = block.at(place);
            if *value == 0 {
                if zeros == 0 {
                    break;
                }
                zeros -= 1;
            } else if bits.bit() && *value & step == 0 {
                *value = value.wrapping_add(if *value > 0 { step } else { -step });
            }
            place += 1;
        }
        place
    }
}

impl Code for AcRefine<'_> {
    fn restart(&mut self) {
        self.band.ended = 0;
    }

    #[inline(always)]
    fn block(&mut self, bits: &mut Bits<'_>, _slot: usize, block: &mut Block<'_>) -> Result<(), BadCode> {
        let mut place = self.band.first;
        while self.band.ended == 0 && place < self.band.end {
            bits.refill();
            let symbol = u32::from(self.table.symbol(bits)?);
            let (run, size) = (symbol >> 4, symbol & 15);
            if size == 0 && run < 15 {
                self.band.ended = (1 << run) + bits.take(run) as u32;
                break;
            }
            let step = 1i16 << self.band.low;
            let new = match size {
                0 => 0,
                _ if bits.bit() => step,
                _ => -step,
            };
            place = self.refine(bits, block, place, run);
            if place < self.band.end && new != 0 {
                *block.at(place) = new;
            }
            place += 1;
        }
        if self.band.ended > 0 {
            self.refine(bits, block, place, u32::MAX);
            self.band.ended -= 1;
        }
        Ok(())
    }
}

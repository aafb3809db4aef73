//! From bits to coefficients to samples.
//!
//! The usual file, one sequential scan, goes through a row of MCUs at a time, so that coefficients stay in the cache. Progressive files,
//! and sequential ones with a scan for each component, need all coefficients in memory.

use std::ops::Range;

use super::entropy::{BadCode, Bits, Stream, Table};
use super::header::{Component, Frame, Header, Scan, ZIGZAG};
use super::inverse_dct::reconstruct_blocks;
use super::progressive::{AcFirst, AcRefine, DcFirst, DcRefine};
use super::{Plane, Scratch};
use crate::image::{ImageError, Region};

/// Coefficients of one component: 64 a block in natural order, blocks in rows.
#[derive(Default)]
pub(super) struct Coefficients {
    values: Vec<i16>,
}

impl Coefficients {
    pub(super) fn reset(&mut self, blocks: usize) {
        self.values.clear();
        self.values.resize(blocks * 64, 0);
    }
}

/// How the bits of one block become coefficients.
pub(super) trait Code {
    /// At a restart marker.
    fn restart(&mut self);

    /// Reads one block of the scan's component `slot`.
    fn block(&mut self, bits: &mut Bits<'_>, slot: usize, block: &mut [i16; 64]) -> Result<(), BadCode>;
}

/// The blocks of one unit of a scan: an MCU, or, when the scan has one component, a single block.
struct Layout {
    units_across: usize,
    units_down: usize,
    components: Vec<Place>,
}

struct Place {
    component: usize,
    across: usize,
    down: usize,
    /// Blocks from one block row to the next.
    stride: usize,
}

impl Layout {
    fn new(frame: &Frame, scan: &Scan) -> Self {
        let place = |component: usize, across, down| Place { component, across, down, stride: frame.components[component].blocks_across };
        if let [single] = &scan.components[..] {
            let component = &frame.components[single.component];
            return Self {
                units_across: component.width.div_ceil(8),
                units_down: component.height.div_ceil(8),
                components: vec![place(single.component, 1, 1)],
            };
        }
        let whole = |scanned: &super::header::ScanComponent| {
            let component = &frame.components[scanned.component];
            place(scanned.component, component.across, component.down)
        };
        Self {
            units_across: frame.mcus_across(),
            units_down: frame.mcus_down(),
            components: scan.components.iter().map(whole).collect(),
        }
    }
}

/// Where the reading of a scan stands.
struct Walk<'a> {
    stream: &'a Stream,
    bits: Bits<'a>,
    interval: usize,
    /// Units between restart markers; 0: none.
    restart_interval: usize,
    /// Until the next marker.
    left: usize,
}

impl<'a> Walk<'a> {
    fn new(stream: &'a Stream, restart_interval: usize) -> Self {
        let bits = stream.interval(0).expect("a scan has an interval");
        Self { stream, bits, interval: 0, restart_interval, left: restart_interval }
    }

    /// Reads a row of units into `rows`, one slice for each component that starts at its first block row.
    #[inline(always)]
    fn row<C: Code>(&mut self, layout: &Layout, code: &mut C, rows: &mut [&mut [i16]]) -> Result<(), BadCode> {
        for unit in 0..layout.units_across {
            if self.restart_interval > 0 {
                if self.left == 0 {
                    self.restart(code)?;
                }
                self.left -= 1;
            }
            for (slot, (place, row)) in layout.components.iter().zip(rows.iter_mut()).enumerate() {
                for down in 0..place.down {
                    let first = (down * place.stride + unit * place.across) * 64;
                    for block in row[first..first + place.across * 64].as_chunks_mut::<64>().0 {
                        code.block(&mut self.bits, slot, block)?;
                    }
                }
            }
        }
        if self.bits.overrun() { Err(BadCode) } else { Ok(()) }
    }

    #[inline(never)]
    fn restart<C: Code>(&mut self, code: &mut C) -> Result<(), BadCode> {
        if self.bits.overrun() {
            return Err(BadCode);
        }
        self.interval += 1;
        self.bits = self.stream.interval(self.interval).ok_or(BadCode)?;
        self.left = self.restart_interval;
        code.restart();
        Ok(())
    }
}

/// Decodes the only scan of a sequential file and gives its samples, a row of MCUs at a time.
pub(super) fn decode_streamed(
    header: &Header,
    frame: &Frame,
    scan: &Scan,
    tables: &[Option<[u16; 64]>],
    (region, scratch): (Region, &mut Scratch),
) -> Result<(), ImageError> {
    let Scratch { entropy, coefficients, planes, .. } = scratch;
    let layout = Layout::new(frame, scan);
    coefficients.resize_with(frame.components.len(), Coefficients::default);
    let needed: Vec<Blocks> = planes.iter().map(|plane| Blocks::needed(plane, region)).collect();
    let mut code = Sequential::new(header, scan)?;
    let mut walk = Walk::new(entropy, header.restart_interval);
    let arch = pulp::Arch::new();
    for unit_row in 0..layout.units_down {
        for place in &layout.components {
            coefficients[place.component].reset(place.stride * place.down);
        }
        let mut rows = rows_from(coefficients, &layout, 0);
        arch.dispatch(|| walk.row(&layout, &mut code, &mut rows)).map_err(|BadCode| ends_early(unit_row, &layout))?;
        for place in &layout.components {
            let table = tables[place.component].as_ref().expect("the caller found the table");
            for down in 0..place.down {
                let block_row = unit_row * place.down + down;
                let values = &coefficients[place.component].values[down * place.stride * 64..][..place.stride * 64];
                reconstruct(&mut planes[place.component], &needed[place.component], block_row, values, table);
            }
        }
    }
    Ok(())
}

/// Decodes one of several scans into the coefficients that are kept.
pub(super) fn decode_stored(header: &Header, frame: &Frame, scan: &Scan, scratch: &mut Scratch) -> Result<(), ImageError> {
    let Scratch { entropy, coefficients, .. } = scratch;
    let layout = Layout::new(frame, scan);
    let walk = Walk::new(entropy, header.restart_interval);
    if !frame.progressive {
        return walk_all(walk, &layout, Sequential::new(header, scan)?, coefficients);
    }
    match (scan.first, scan.high) {
        (0, 0) => walk_all(walk, &layout, DcFirst::new(dc_tables(header, scan)?, scan.low), coefficients),
        (0, _) => walk_all(walk, &layout, DcRefine::new(scan.low), coefficients),
        (_, 0) => walk_all(walk, &layout, AcFirst::new(ac_tables(header, scan)?[0], scan), coefficients),
        (_, _) => walk_all(walk, &layout, AcRefine::new(ac_tables(header, scan)?[0], scan), coefficients),
    }
}

fn walk_all<C: Code>(mut walk: Walk<'_>, layout: &Layout, mut code: C, stores: &mut [Coefficients]) -> Result<(), ImageError> {
    let arch = pulp::Arch::new();
    for unit_row in 0..layout.units_down {
        let mut rows = rows_from(stores, layout, unit_row);
        arch.dispatch(|| walk.row(layout, &mut code, &mut rows)).map_err(|BadCode| ends_early(unit_row, layout))?;
    }
    Ok(())
}

/// The coefficients of the scan's components from unit row `unit_row` on, in the scan's order.
fn rows_from<'a>(stores: &'a mut [Coefficients], layout: &Layout, unit_row: usize) -> Vec<&'a mut [i16]> {
    let mut slices: Vec<Option<&mut [i16]>> = stores.iter_mut().map(|store| Some(&mut store.values[..])).collect();
    let rows = layout.components.iter().map(|place| {
        let slice = slices[place.component].take().expect("a scan names a component once");
        &mut slice[unit_row * place.down * place.stride * 64..]
    });
    rows.collect()
}

/// Gives the samples of a file whose coefficients were kept.
pub(super) fn reconstruct_stored(frame: &Frame, tables: &[Option<[u16; 64]>], region: Region, scratch: &mut Scratch) -> Result<(), ImageError> {
    for (index, component) in frame.components.iter().enumerate() {
        let Some(table) = &tables[index] else {
            return Err(ImageError::damaged("JPEG", "a component has no data"));
        };
        let Component { blocks_across, blocks_down, .. } = *component;
        let plane = &mut scratch.planes[index];
        let needed = Blocks::needed(plane, region);
        for block_row in 0..blocks_down {
            let values = &scratch.coefficients[index].values[block_row * blocks_across * 64..][..blocks_across * 64];
            reconstruct(plane, &needed, block_row, values, table);
        }
    }
    Ok(())
}

fn reconstruct(plane: &mut Plane, needed: &Blocks, block_row: usize, values: &[i16], table: &[u16; 64]) {
    if !needed.down.contains(&block_row) {
        return;
    }
    let stride = plane.stride;
    let samples = &mut plane.samples[block_row * 8 * stride..][..8 * stride];
    let across = needed.across.clone();
    pulp::Arch::new().dispatch(|| reconstruct_blocks(values, table, across, samples, stride));
}

/// The blocks of a component that a region's pixels depend on.
struct Blocks {
    across: Range<usize>,
    down: Range<usize>,
}

impl Blocks {
    /// One sample more on each side, for the chroma filter.
    fn needed(plane: &Plane, region: Region) -> Self {
        let blocks = |start: usize, end: usize, ratio: usize, samples: usize| {
            let first = (start / ratio).saturating_sub(1);
            let last = (end.div_ceil(ratio) + 1).min(samples);
            first / 8..last.div_ceil(8)
        };
        Self {
            across: blocks(region.left, region.left + region.width, plane.across, plane.width),
            down: blocks(region.top, region.top + region.height, plane.down, plane.height),
        }
    }
}

fn ends_early(unit_row: usize, layout: &Layout) -> ImageError {
    let percent = unit_row * 100 / layout.units_down;
    ImageError::damaged("JPEG", &format!("its data breaks off or is damaged after {percent}% of the rows"))
}

fn dc_tables<'a>(header: &'a Header, scan: &Scan) -> Result<Vec<&'a Table>, ImageError> {
    let table = |slot: usize| header.dc[slot].as_ref().ok_or_else(missing_table);
    scan.components.iter().map(|component| table(component.dc)).collect()
}

fn ac_tables<'a>(header: &'a Header, scan: &Scan) -> Result<Vec<&'a Table>, ImageError> {
    let table = |slot: usize| header.ac[slot].as_ref().ok_or_else(missing_table);
    scan.components.iter().map(|component| table(component.ac)).collect()
}

fn missing_table() -> ImageError {
    ImageError::damaged("JPEG", "a Huffman table is missing")
}

/// The code of baseline and extended files.
struct Sequential<'a> {
    dc: Vec<&'a Table>,
    ac: Vec<&'a Table>,
    predictors: [i32; 4],
}

impl<'a> Sequential<'a> {
    fn new(header: &'a Header, scan: &Scan) -> Result<Self, ImageError> {
        Ok(Self { dc: dc_tables(header, scan)?, ac: ac_tables(header, scan)?, predictors: [0; 4] })
    }
}

impl Code for Sequential<'_> {
    fn restart(&mut self) {
        self.predictors = [0; 4];
    }

    #[inline(always)]
    fn block(&mut self, bits: &mut Bits<'_>, slot: usize, block: &mut [i16; 64]) -> Result<(), BadCode> {
        let predictor = &mut self.predictors[slot & 3];
        *predictor = predictor.wrapping_add(dc_difference(self.dc[slot], bits)?);
        block[0] = *predictor as i16;
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
    block: &mut [i16; 64],
) -> Result<u32, BadCode> {
    let mut place = band.start;
    while place < band.end {
        bits.refill();
        let entry = table.value(bits);
        let level = if entry != 0 {
            place += ((entry >> 8) & 0xFF) as usize;
            bits.consume(entry & 0xFF);
            (entry as i32) >> 16
        } else {
            let symbol = u32::from(table.symbol(bits)?);
            let (run, size) = (symbol >> 4, symbol & 15);
            if size == 0 && run < 15 {
                return Ok(run);
            }
            place += run as usize;
            bits.signed(size)
        };
        if place >= band.end {
            break;
        }
        block[usize::from(ZIGZAG[place])] = (level << low) as i16;
        place += 1;
    }
    Ok(0)
}

//! From bits to coefficients to samples.
//!
//! The usual file, one sequential scan, goes through a row of MCUs at a time, so that coefficients stay in the cache. Progressive files,
//! and sequential ones with a scan for each component, need all coefficients in memory.

use std::ops::Range;

use super::coefficients::{Block, Coefficients, GROUP, Group};
use super::entropy::{BadCode, Bits, Stream, Table};
use super::frame::{Component, Frame};
use super::header::{Header, Scan, ScanComponent};
use super::inverse_dct::Reconstruct;
use super::progressive::{AcFirst, AcRefine, DcFirst, DcRefine};
use super::sequential::{Code, Sequential};
use super::{Plane, Scratch};
use crate::modality::image::error::ImageError;
use crate::modality::image::raster::Region;

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
    /// Groups of a block row.
    groups: usize,
}

impl Layout {
    fn new(frame: &Frame, scan: &Scan) -> Self {
        let place = |component: usize, across, down| Place {
            component,
            across,
            down,
            groups: frame.components[component].blocks_across.div_ceil(GROUP),
        };
        if let [single] = &scan.components[..] {
            let component = &frame.components[single.component];
            return Self {
                units_across: component.width.div_ceil(8),
                units_down: component.height.div_ceil(8),
                components: vec![place(single.component, 1, 1)],
            };
        }
        let whole = |scanned: &ScanComponent| {
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
        Self {
            stream,
            bits,
            interval: 0,
            restart_interval,
            left: restart_interval,
        }
    }

    /// Reads a row of units into `rows`, one slice for each component that starts at its first block row.
    #[inline(always)]
    fn row<C: Code>(&mut self, layout: &Layout, code: &mut C, rows: &mut [&mut [Group]]) -> Result<(), BadCode> {
        // A copy, so that it can live in registers.
        let mut bits = self.bits;
        for unit in 0..layout.units_across {
            if self.restart_interval > 0 {
                if self.left == 0 {
                    bits = self.restart(bits)?;
                    code.restart();
                }
                self.left -= 1;
            }
            for (slot, (place, row)) in layout.components.iter().zip(rows.iter_mut()).enumerate() {
                for down in 0..place.down {
                    for across in unit * place.across..(unit + 1) * place.across {
                        let group = &mut row[down * place.groups + across / GROUP];
                        code.block(
                            &mut bits,
                            slot,
                            &mut Block {
                                group,
                                lane: across % GROUP,
                            },
                        )?;
                    }
                }
            }
        }
        self.bits = bits;
        if bits.overrun() { Err(BadCode) } else { Ok(()) }
    }

    #[inline(never)]
    fn restart(&mut self, bits: Bits<'a>) -> Result<Bits<'a>, BadCode> {
        if bits.overrun() {
            return Err(BadCode);
        }
        self.interval += 1;
        self.left = self.restart_interval;
        self.stream.interval(self.interval).ok_or(BadCode)
    }
}

/// A row of units, for CPUs that have more instructions than the oldest of their kind.
struct ReadRow<'w, 'a, 'r, C> {
    walk: &'w mut Walk<'a>,
    layout: &'w Layout,
    code: &'w mut C,
    rows: &'w mut [&'r mut [Group]],
}

impl<C: Code> pulp::WithSimd for ReadRow<'_, '_, '_, C> {
    type Output = Result<(), BadCode>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) -> Self::Output {
        self.walk.row(self.layout, self.code, self.rows)
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
    let Scratch {
        entropy,
        coefficients,
        planes,
        ..
    } = scratch;
    let layout = Layout::new(frame, scan);
    coefficients.resize_with(frame.components.len(), Coefficients::default);
    let needed: Vec<Blocks> = planes.iter().map(|plane| Blocks::needed(plane, region)).collect();
    let mut code = Sequential::new(dc_tables(header, scan)?, ac_tables(header, scan)?);
    let mut walk = Walk::new(entropy, header.restart_interval);
    let arch = pulp::Arch::new();
    for unit_row in 0..layout.units_down {
        for place in &layout.components {
            let blocks = frame.components[place.component].blocks_across;
            coefficients[place.component].reset(blocks, place.down);
        }
        let mut rows = rows_from(coefficients, &layout, 0);
        arch.dispatch(ReadRow {
            walk: &mut walk,
            layout: &layout,
            code: &mut code,
            rows: &mut rows,
        })
        .map_err(|BadCode| ends_early(unit_row, &layout))?;
        for place in &layout.components {
            let table = tables[place.component].as_ref().expect("the caller found the table");
            for down in 0..place.down {
                let block_row = unit_row * place.down + down;
                let groups = &coefficients[place.component].groups[down * place.groups..][..place.groups];
                reconstruct(
                    &mut planes[place.component],
                    &needed[place.component],
                    block_row,
                    groups,
                    table,
                );
            }
        }
    }
    Ok(())
}

/// Decodes one of several scans into the coefficients that are kept.
pub(super) fn decode_stored(
    header: &Header,
    frame: &Frame,
    scan: &Scan,
    scratch: &mut Scratch,
) -> Result<(), ImageError> {
    let Scratch {
        entropy, coefficients, ..
    } = scratch;
    let layout = Layout::new(frame, scan);
    let walk = Walk::new(entropy, header.restart_interval);
    if !frame.progressive {
        return walk_all(
            walk,
            &layout,
            Sequential::new(dc_tables(header, scan)?, ac_tables(header, scan)?),
            coefficients,
        );
    }
    match (scan.first, scan.high) {
        (0, 0) => walk_all(
            walk,
            &layout,
            DcFirst::new(dc_tables(header, scan)?, scan.low),
            coefficients,
        ),
        (0, _) => walk_all(walk, &layout, DcRefine::new(scan.low), coefficients),
        (_, 0) => walk_all(
            walk,
            &layout,
            AcFirst::new(ac_tables(header, scan)?[0], scan),
            coefficients,
        ),
        (_, _) => walk_all(
            walk,
            &layout,
            AcRefine::new(ac_tables(header, scan)?[0], scan),
            coefficients,
        ),
    }
}

fn walk_all<C: Code>(
    mut walk: Walk<'_>,
    layout: &Layout,
    mut code: C,
    stores: &mut [Coefficients],
) -> Result<(), ImageError> {
    let arch = pulp::Arch::new();
    for unit_row in 0..layout.units_down {
        let mut rows = rows_from(stores, layout, unit_row);
        arch.dispatch(ReadRow {
            walk: &mut walk,
            layout,
            code: &mut code,
            rows: &mut rows,
        })
        .map_err(|BadCode| ends_early(unit_row, layout))?;
    }
    Ok(())
}

/// The coefficients of the scan's components from unit row `unit_row` on, in the scan's order.
fn rows_from<'a>(stores: &'a mut [Coefficients], layout: &Layout, unit_row: usize) -> Vec<&'a mut [Group]> {
    let mut slices: Vec<Option<&mut [Group]>> = stores.iter_mut().map(|store| Some(&mut store.groups[..])).collect();
    let rows = layout.components.iter().map(|place| {
        let slice = slices[place.component].take().expect("a scan names a component once");
        &mut slice[unit_row * place.down * place.groups..]
    });
    rows.collect()
}

/// Gives the samples of a file whose coefficients were kept.
pub(super) fn reconstruct_stored(
    frame: &Frame,
    tables: &[Option<[u16; 64]>],
    region: Region,
    scratch: &mut Scratch,
) -> Result<(), ImageError> {
    for (index, component) in frame.components.iter().enumerate() {
        let Some(table) = &tables[index] else {
            return Err(ImageError::damaged("JPEG", "a component has no data"));
        };
        let Component {
            blocks_across,
            blocks_down,
            ..
        } = *component;
        let width = blocks_across.div_ceil(GROUP);
        let plane = &mut scratch.planes[index];
        let needed = Blocks::needed(plane, region);
        for block_row in 0..blocks_down {
            let groups = &scratch.coefficients[index].groups[block_row * width..][..width];
            reconstruct(plane, &needed, block_row, groups, table);
        }
    }
    Ok(())
}

fn reconstruct(plane: &mut Plane, needed: &Blocks, block_row: usize, groups: &[Group], table: &[u16; 64]) {
    if !needed.down.contains(&block_row) {
        return;
    }
    let stride = plane.stride;
    let samples = &mut plane.samples[block_row * 8 * stride..][..8 * stride];
    pulp::Arch::new().dispatch(Reconstruct {
        groups,
        table,
        across: needed.across.clone(),
        samples,
        stride,
    });
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
    ImageError::damaged(
        "JPEG",
        &format!("its data breaks off or is damaged after {percent}% of the rows"),
    )
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

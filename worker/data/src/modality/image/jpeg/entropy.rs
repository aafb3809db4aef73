//! Bits and Huffman codes.
//!
//! The data of a scan is first copied without its byte stuffing and cut at restart markers, so that the reader in the hot loop loads eight
//! bytes at a time and never looks for a marker. A code and its value are mostly found with one look into a table of 1024 entries.

use crate::modality::image::error::ImageError;

/// Bits that one look resolves.
const LOOK: usize = 10;
/// Zero bytes after the data, so that a load of eight never leaves it.
const PADDING: usize = 16;

/// The entropy-coded data of one scan, without stuffing.
#[derive(Default)]
pub(super) struct Stream {
    data: Vec<u8>,
    /// End of each restart interval.
    ends: Vec<usize>,
}

impl Stream {
    /// Copies the scan that starts at `position`; answers where its next marker is.
    pub(super) fn read_scan(&mut self, bytes: &[u8], position: usize) -> Result<usize, ImageError> {
        self.data.clear();
        self.ends.clear();
        let mut rest = bytes.get(position..).unwrap_or(&[]);
        loop {
            let Some(place) = find_marker_byte(rest) else {
                self.data.extend_from_slice(rest);
                rest = &[];
                break;
            };
            self.data.extend_from_slice(&rest[..place]);
            rest = &rest[place..];
            match rest.get(1) {
                Some(0) => {
                    self.data.push(0xFF);
                    rest = &rest[2..];
                }
                Some(0xFF) => rest = &rest[1..],
                Some(0xD0..=0xD7) => {
                    self.ends.push(self.data.len());
                    rest = &rest[2..];
                }
                Some(_) => break,
                None => {
                    rest = &[];
                    break;
                }
            }
        }
        self.ends.push(self.data.len());
        self.data.resize(self.data.len() + PADDING, 0);
        if self.data.len() == PADDING {
            return Err(ImageError::damaged("JPEG", "a scan has no data"));
        }
        Ok(bytes.len() - rest.len())
    }

    /// A reader of restart interval `index`.
    pub(super) fn interval(&self, index: usize) -> Option<Bits<'_>> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(Bits {
            data: &self.data,
            position: start,
            end,
            buffer: 0,
            count: 0,
        })
    }
}

fn find_marker_byte(bytes: &[u8]) -> Option<usize> {
    // Sixteen at a time: the comparison of a whole chunk becomes a few vector instructions.
    let mut chunks = bytes.chunks_exact(16);
    let mut before = 0;
    for chunk in &mut chunks {
        if chunk.iter().fold(false, |found, byte| found | (*byte == 0xFF)) {
            break;
        }
        before += 16;
    }
    bytes[before..]
        .iter()
        .position(|byte| *byte == 0xFF)
        .map(|place| before + place)
}

/// Reads bits, most significant first. Past the end of its interval it gives whatever follows; [`Bits::overrun`] tells.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    position: usize,
    end: usize,
    /// The next `count` bits, from the top.
    buffer: u64,
    count: u32,
}

impl Bits<'_> {
    /// Makes at least 56 bits available.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        // Only the data of a damaged file ends here.
        let word = self
            .data
            .get(self.position..)
            .and_then(|rest| rest.first_chunk::<8>())
            .copied()
            .unwrap_or_default();
        self.buffer |= u64::from_be_bytes(word) >> (self.count & 63);
        self.position = self
            .position
            .wrapping_add((63u32.wrapping_sub(self.count) >> 3) as usize);
        self.count |= 56;
    }

    /// The next `count` bits, 1 to 32, which stay.
    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> u32 {
        ((self.buffer >> 32) as u32) >> (32 - count)
    }

    #[inline(always)]
    pub(super) fn consume(&mut self, count: u32) {
        self.buffer <<= count;
        self.count = self.count.wrapping_sub(count);
    }

    /// `count` bits, 0 to 16, as a number. The caller has refilled.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> i32 {
        if count == 0 {
            return 0;
        }
        let value = self.peek(count);
        self.consume(count);
        value as i32
    }

    /// One bit; refills by itself.
    #[inline(always)]
    pub(super) fn bit(&mut self) -> bool {
        if self.count == 0 {
            self.refill();
        }
        self.take(1) != 0
    }

    /// `size` bits in JPEG's signed notation. The caller has refilled.
    #[inline(always)]
    pub(super) fn signed(&mut self, size: u32) -> i32 {
        let value = self.take(size);
        extend(value, size)
    }

    /// Whether more was read than the interval holds.
    pub(super) fn overrun(&self) -> bool {
        self.position * 8 > self.end * 8 + self.count as usize
    }
}

#[inline(always)]
fn extend(value: i32, size: u32) -> i32 {
    if size > 0 && value < 1 << (size - 1) {
        value - (1 << size) + 1
    } else {
        value
    }
}

/// One Huffman table.
#[derive(Clone)]
pub(super) struct Table {
    /// By the next `LOOK` bits: symbol << 8 | length, or 0 for a longer code.
    symbols: Box<[u16; 1 << LOOK]>,
    /// By the next `LOOK` bits: value << 16 | run << 8 | length of code and value together, or 0 when they do not fit.
    /// An end of block has a run of 64.
    values: Box<[u32; 1 << LOOK]>,
    /// Codes of each length are below this, left-aligned in 16 bits.
    limits: [u32; 17],
    /// Position of a length's first symbol less its first code.
    offsets: [i32; 17],
    listed: Box<[u8]>,
}

impl Table {
    /// `None` when the lengths do not make a prefix code.
    pub(super) fn new(counts: &[u8; 16], listed: &[u8]) -> Option<Self> {
        let mut table = Self {
            symbols: Box::new([0; 1 << LOOK]),
            values: Box::new([0; 1 << LOOK]),
            limits: [0; 17],
            offsets: [0; 17],
            listed: listed.into(),
        };
        let (mut code, mut place) = (0u32, 0usize);
        for length in 1..=16usize {
            let count = usize::from(counts[length - 1]);
            table.offsets[length] = i32::try_from(place).ok()? - i32::try_from(code).ok()?;
            for symbol in &listed[place..place + count] {
                if length <= LOOK {
                    let first = (code as usize) << (LOOK - length);
                    let entry = (u16::from(*symbol) << 8) | u16::try_from(length).ok()?;
                    table
                        .symbols
                        .get_mut(first..first + (1 << (LOOK - length)))?
                        .fill(entry);
                }
                code += 1;
            }
            place += count;
            if code > 1 << length {
                return None;
            }
            table.limits[length] = code << (16 - length);
            code <<= 1;
        }
        table.combine();
        Some(table)
    }

    fn combine(&mut self) {
        for (bits, value) in self.values.iter_mut().enumerate() {
            let (symbol, length) = (self.symbols[bits] >> 8, u32::from(self.symbols[bits] & 0xFF));
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if length == 0 || length + size > LOOK as u32 {
                continue;
            }
            let (run, level) = match (run, size) {
                (15, 0) => (15, 0),
                (0, 0) => (64, 0),
                // Ends several blocks in progressive files; never in the table of a sequential one.
                (_, 0) => continue,
                _ => (
                    run,
                    extend((bits as i32 >> (LOOK as u32 - length - size)) & ((1 << size) - 1), size),
                ),
            };
            *value = ((level as u32) << 16) | (run << 8) | (length + size);
        }
    }

    /// A coefficient with its run in one look, or 0.
    #[inline(always)]
    pub(super) fn value(&self, bits: &Bits<'_>) -> u32 {
        self.values[bits.peek(LOOK as u32) as usize]
    }

    /// The next symbol. The caller has refilled.
    #[inline(always)]
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Result<u8, BadCode> {
        let entry = self.symbols[bits.peek(LOOK as u32) as usize];
        let entry = if entry != 0 {
            entry
        } else {
            self.long_symbol(bits.peek(16))?
        };
        bits.consume(u32::from(entry & 0xFF));
        Ok((entry >> 8) as u8)
    }

    /// As `symbols`, for a code of more than `LOOK` bits. Takes the bits by value, so that the reader stays in registers.
    #[cold]
    #[inline(never)]
    fn long_symbol(&self, code: u32) -> Result<u16, BadCode> {
        let length = (LOOK + 1..=16)
            .find(|length| code < self.limits[*length])
            .ok_or(BadCode)?;
        let place = (code >> (16 - length)) as i32 + self.offsets[length];
        let symbol = usize::try_from(place)
            .ok()
            .and_then(|place| self.listed.get(place))
            .ok_or(BadCode)?;
        Ok((u16::from(*symbol) << 8) | length as u16)
    }
}

/// Bits that are no code of their table.
pub(super) struct BadCode;

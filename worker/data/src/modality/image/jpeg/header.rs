//! The segments before and between scans: frame, tables, restart interval, and what Adobe and JFIF say about colour.

use super::entropy::Table;
use super::frame::{Component, Frame};
use crate::modality::image::error::ImageError;

/// All that is known when a scan starts.
pub(crate) struct Header {
    pub(super) frame: Frame,
    pub(super) scan: Option<Scan>,
    /// Where the entropy-coded data of `scan` starts.
    pub(super) position: usize,
    pub(super) restart_interval: usize,
    pub(super) dc: [Option<Table>; 4],
    pub(super) ac: [Option<Table>; 4],
    quantization: [Option<[u16; 64]>; 4],
    jfif: bool,
    adobe: Option<u8>,
    exif: Option<(usize, usize)>,
}

pub(super) struct Scan {
    pub(super) components: Vec<ScanComponent>,
    /// Spectral selection.
    pub(super) first: usize,
    pub(super) last: usize,
    /// Successive approximation: bits that were known before, and bits that stay unknown.
    pub(super) high: u8,
    pub(super) low: u8,
}

pub(super) struct ScanComponent {
    pub(super) component: usize,
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// How components become colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Colour {
    Grey,
    YCbCr,
    Rgb,
    Cmyk,
    Ycck,
}

/// Why reading stopped.
pub(super) enum Segment {
    Scan,
    End,
}

/// Natural position of each coefficient in zigzag order.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

impl Header {
    /// Reads up to the first scan.
    ///
    /// # Errors
    ///
    /// When the segments are damaged, or name a kind of JPEG that is not read.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        let mut header = Self {
            frame: Frame::default(),
            scan: None,
            position: 2,
            restart_interval: 0,
            dc: Default::default(),
            ac: Default::default(),
            quantization: Default::default(),
            jfif: false,
            adobe: None,
            exif: None,
        };
        match header.read_segments(bytes)? {
            Segment::Scan => Ok(header),
            Segment::End => Err(damaged("it ends before its first scan")),
        }
    }

    /// Pixels of a row, before orientation.
    pub(crate) fn width(&self) -> usize {
        self.frame.width
    }

    /// Rows, before orientation.
    pub(crate) fn height(&self) -> usize {
        self.frame.height
    }

    /// The TIFF structure of the EXIF segment.
    pub(crate) fn exif<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (start, end) = self.exif?;
        bytes.get(start..end)
    }

    pub(super) fn sequential_in_one_scan(&self) -> bool {
        let scanned = self.scan.as_ref().map_or(0, |scan| scan.components.len());
        !self.frame.progressive && scanned == self.frame.components.len()
    }

    pub(super) fn quantization(&self, slot: usize) -> Result<[u16; 64], ImageError> {
        self.quantization[slot].ok_or_else(|| damaged("a quantization table is missing"))
    }

    /// As libjpeg guesses it (`default_decompress_parms` in `jdapimin.c`).
    pub(super) fn colour(&self) -> Colour {
        let ids: Vec<u8> = self.frame.components.iter().map(|component| component.id).collect();
        match (self.frame.components.len(), self.adobe) {
            (1, _) => Colour::Grey,
            (3, _) if self.jfif => Colour::YCbCr,
            (3, Some(0)) => Colour::Rgb,
            (3, None) if ids == *b"RGB" => Colour::Rgb,
            (3, _) => Colour::YCbCr,
            (_, Some(2)) => Colour::Ycck,
            _ => Colour::Cmyk,
        }
    }

    /// Reads segments until the data of a scan begins or the image ends. A file that stops without its end marker after a progressive
    /// scan is damaged: what is missing cannot be told from what never was.
    pub(super) fn read_segments(&mut self, bytes: &[u8]) -> Result<Segment, ImageError> {
        loop {
            let marker = self.next_marker(bytes)?;
            match marker {
                0xD9 => return Ok(Segment::End),
                0x01 | 0xD0..=0xD8 => continue,
                _ => {}
            }
            let length = self.word(bytes, self.position)?;
            let start = self.position + 2;
            let end = self.position + usize::from(length);
            if length < 2 || end > bytes.len() {
                return Err(damaged("it ends within a segment"));
            }
            let body = &bytes[start..end];
            self.position = end;
            match marker {
                0xC0..=0xC2 => self.read_frame(body, marker == 0xC2)?,
                0xC3 | 0xC5..=0xC7 | 0xC8 | 0xC9..=0xCB | 0xCD..=0xCF => return Err(unsupported_frame(marker)),
                0xC4 => self.read_huffman(body)?,
                0xDB => self.read_quantization(body)?,
                0xDD => self.restart_interval = usize::from(self.word(body, 0)?),
                0xDA => {
                    self.scan = Some(self.read_scan(body)?);
                    return Ok(Segment::Scan);
                }
                0xE0 if body.starts_with(b"JFIF\0") => self.jfif = true,
                0xE1 if body.starts_with(b"Exif\0\0") && self.exif.is_none() => self.exif = Some((start + 6, end)),
                0xEE if body.starts_with(b"Adobe") && body.len() >= 12 => self.adobe = Some(body[11]),
                _ => {}
            }
        }
    }

    fn next_marker(&mut self, bytes: &[u8]) -> Result<u8, ImageError> {
        // Bytes between segments are passed over, as libjpeg does.
        while let Some(&byte) = bytes.get(self.position) {
            self.position += 1;
            if byte != 0xFF {
                continue;
            }
            while bytes.get(self.position) == Some(&0xFF) {
                self.position += 1;
            }
            match bytes.get(self.position) {
                Some(0) => {}
                Some(&marker) => {
                    self.position += 1;
                    return Ok(marker);
                }
                None => break,
            }
        }
        Err(damaged("it ends before its end marker"))
    }

    fn word(&self, bytes: &[u8], at: usize) -> Result<u16, ImageError> {
        match bytes.get(at..at + 2) {
            Some(word) => Ok(u16::from_be_bytes([word[0], word[1]])),
            None => Err(damaged("it ends within a segment")),
        }
    }

    fn read_frame(&mut self, body: &[u8], progressive: bool) -> Result<(), ImageError> {
        if !self.frame.components.is_empty() {
            return Err(damaged("it has two frames"));
        }
        let [precision, h1, h0, w1, w0, count, rest @ ..] = body else {
            return Err(damaged("its frame header is too short"));
        };
        if *precision != 8 {
            return Err(ImageError::unsupported(&format!("JPEG with {precision} bits a sample")));
        }
        let (height, width) = (u16::from_be_bytes([*h1, *h0]), u16::from_be_bytes([*w1, *w0]));
        if width == 0 || height == 0 {
            return Err(damaged(&format!("its size is {width}x{height}")));
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(ImageError::unsupported(&format!("JPEG with {count} components")));
        }
        if rest.len() < usize::from(*count) * 3 {
            return Err(damaged("its frame header is too short"));
        }
        let mut frame = Frame {
            width: width.into(),
            height: height.into(),
            progressive,
            ..Frame::default()
        };
        for entry in rest.chunks_exact(3).take(usize::from(*count)) {
            let (across, down) = (usize::from(entry[1] >> 4), usize::from(entry[1] & 15));
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) || entry[2] > 3 {
                return Err(damaged("its frame header has an impossible component"));
            }
            let quantization = usize::from(entry[2]);
            let (width, height, blocks_across, blocks_down) = (0, 0, 0, 0);
            frame.components.push(Component {
                id: entry[0],
                across,
                down,
                quantization,
                width,
                height,
                blocks_across,
                blocks_down,
            });
        }
        frame.measure();
        self.frame = frame;
        Ok(())
    }

    fn read_quantization(&mut self, mut body: &[u8]) -> Result<(), ImageError> {
        while let [kind, rest @ ..] = body {
            let (wide, slot) = (kind >> 4 != 0, usize::from(kind & 15));
            let size = if wide { 128 } else { 64 };
            if slot > 3 || rest.len() < size {
                return Err(damaged("a quantization table is malformed"));
            }
            let mut table = [0u16; 64];
            for (place, natural) in ZIGZAG.iter().enumerate() {
                table[usize::from(*natural)] = if wide {
                    u16::from_be_bytes([rest[place * 2], rest[place * 2 + 1]])
                } else {
                    u16::from(rest[place])
                };
            }
            self.quantization[slot] = Some(table);
            body = &rest[size..];
        }
        Ok(())
    }

    fn read_huffman(&mut self, mut body: &[u8]) -> Result<(), ImageError> {
        while let [kind, rest @ ..] = body {
            let (class, slot) = (kind >> 4, usize::from(kind & 15));
            let Some((counts, rest)) = rest.split_first_chunk::<16>() else {
                return Err(damaged("a Huffman table is malformed"));
            };
            let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
            if class > 1 || slot > 3 || total > 256 || rest.len() < total {
                return Err(damaged("a Huffman table is malformed"));
            }
            let table = Table::new(counts, &rest[..total]).ok_or_else(|| damaged("a Huffman table is malformed"))?;
            if class == 0 {
                self.dc[slot] = Some(table);
            } else {
                self.ac[slot] = Some(table);
            }
            body = &rest[total..];
        }
        Ok(())
    }

    fn read_scan(&self, body: &[u8]) -> Result<Scan, ImageError> {
        let malformed = || damaged("a scan header is malformed");
        let (&count, rest) = body.split_first().ok_or_else(malformed)?;
        let count = usize::from(count);
        if count == 0 || count > self.frame.components.len() || rest.len() < count * 2 + 3 {
            return Err(malformed());
        }
        let mut components = Vec::with_capacity(count);
        for entry in rest.chunks_exact(2).take(count) {
            let component = self
                .frame
                .components
                .iter()
                .position(|component| component.id == entry[0])
                .ok_or_else(malformed)?;
            let (dc, ac) = (usize::from(entry[1] >> 4), usize::from(entry[1] & 15));
            if dc > 3
                || ac > 3
                || components
                    .iter()
                    .any(|known: &ScanComponent| known.component == component)
            {
                return Err(malformed());
            }
            components.push(ScanComponent { component, dc, ac });
        }
        let tail = &rest[count * 2..];
        let (first, last, high, low) = (usize::from(tail[0]), usize::from(tail[1]), tail[2] >> 4, tail[2] & 15);
        if !self.frame.progressive {
            return Ok(Scan {
                components,
                first: 0,
                last: 63,
                high: 0,
                low: 0,
            });
        }
        if first > last
            || last > 63
            || low > 13
            || (first == 0 && last != 0)
            || (first > 0 && count != 1)
            || (high != 0 && high != low + 1)
        {
            return Err(malformed());
        }
        Ok(Scan {
            components,
            first,
            last,
            high,
            low,
        })
    }
}

fn damaged(reason: &str) -> ImageError {
    ImageError::damaged("JPEG", reason)
}

fn unsupported_frame(marker: u8) -> ImageError {
    ImageError::unsupported(match marker {
        0xC3 | 0xCB => "lossless JPEG",
        0xC9 | 0xCA => "JPEG with arithmetic coding",
        _ => "hierarchical JPEG",
    })
}

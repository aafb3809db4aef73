//! From the bytes of an image file to RGB pixels, upright, as `PIL.ImageOps.exif_transpose(image).convert("RGB")` gives them.
//!
//! The kind of file is told by its first bytes, never by its name. A file that cannot be decoded is an [`ImageError`]; a decoder that
//! panics counts as one, so that no file can stop a job.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::jpeg;
use super::orientation::Orientation;
use super::portable::{self, Format};
use crate::loader::panic_message;

/// Most pixels that an image may have: Pillow's limit for decompression bombs, 2 · (1 GiB / 4 / 3).
pub const MAX_PIXELS: u64 = 178_956_970;

/// Why a file gives no pixels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageError {
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// Bytes of something else.
    #[error("not an image: the file starts with {start}, expected JPEG, PNG, BMP, PNM or WebP")]
    NotAnImage {
        /// The first bytes.
        start: String,
    },
    /// A decompression bomb, or a scan that is too large to train on.
    #[error("{width}x{height} pixels, more than the {MAX_PIXELS} that are decoded")]
    TooLarge {
        /// Pixels of a row.
        width: u64,
        /// Rows.
        height: u64,
    },
    /// The file breaks its format's rules, or ends early.
    #[error("damaged {format}: {reason}")]
    Damaged {
        /// The format.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A variant that is not read.
    #[error("{variant} is not supported")]
    Unsupported {
        /// What it is.
        variant: String,
    },
    /// A bug of a decoder.
    #[error("the decoder panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
}

impl ImageError {
    pub(crate) fn damaged(format: &'static str, reason: &str) -> Self {
        Self::Damaged {
            format,
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn unsupported(variant: &str) -> Self {
        Self::Unsupported {
            variant: variant.to_owned(),
        }
    }
}

/// Pixels in rows from the top: red, green, blue, and a byte that is not used (four bytes make vectors simple).
pub(crate) struct Raster {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<[u8; 4]>,
}

impl Raster {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: vec![[0; 4]; width * height],
        }
    }
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) left: usize,
    pub(crate) top: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Width and height of an upright image, without decoding it.
///
/// # Errors
///
/// When the file is empty, no image, too large, or its header is damaged.
pub(crate) fn dimensions(bytes: &[u8]) -> Result<(usize, usize), ImageError> {
    guarded(|| {
        let (width, height, orientation) = match Format::of(bytes)? {
            Format::Jpeg => {
                let header = jpeg::Header::read(bytes)?;
                (
                    header.width(),
                    header.height(),
                    Orientation::of_exif(header.exif(bytes)),
                )
            }
            other => portable::measure(other, bytes)?,
        };
        check_size(width, height)?;
        Ok(orientation.upright(width, height))
    })
}

/// Decodes the part of an image that `choose` asks for, given the upright width and height.
///
/// # Errors
///
/// When the file gives no pixels.
pub(crate) fn decode_region(
    bytes: &[u8],
    scratch: &mut jpeg::Scratch,
    choose: impl FnOnce(usize, usize) -> Region,
) -> Result<Raster, ImageError> {
    guarded(|| match Format::of(bytes)? {
        Format::Jpeg => {
            let header = jpeg::Header::read(bytes)?;
            let (width, height) = (header.width(), header.height());
            check_size(width, height)?;
            let orientation = Orientation::of_exif(header.exif(bytes));
            let (upright_width, upright_height) = orientation.upright(width, height);
            let region = choose(upright_width, upright_height);
            let stored = orientation.stored_region(region, width, height);
            Ok(orientation.turn(jpeg::decode(bytes, header, stored, scratch)?))
        }
        other => {
            let (width, height, _) = portable::measure(other, bytes)?;
            check_size(width, height)?;
            let (raster, orientation) = portable::decode(other, bytes)?;
            let (upright_width, upright_height) = orientation.upright(raster.width, raster.height);
            let region = choose(upright_width, upright_height);
            let stored = orientation.stored_region(region, raster.width, raster.height);
            Ok(orientation.turn(cut(raster, stored)))
        }
    })
}

/// A whole image: rows of three bytes a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes: red, green, blue.
    pub bytes: Vec<u8>,
}

/// Decodes a whole image, upright.
///
/// # Errors
///
/// The sentence that a [`crate::CorruptSample`] would carry.
pub fn decode_rgb(bytes: &[u8]) -> Result<Rgb, String> {
    let whole = |width, height| Region {
        left: 0,
        top: 0,
        width,
        height,
    };
    let raster = decode_region(bytes, &mut jpeg::Scratch::default(), whole).map_err(|error| error.to_string())?;
    let bytes = raster
        .pixels
        .iter()
        .flat_map(|[red, green, blue, _]| [*red, *green, *blue])
        .collect();
    Ok(Rgb {
        width: raster.width,
        height: raster.height,
        bytes,
    })
}

fn check_size(width: usize, height: usize) -> Result<(), ImageError> {
    let (width, height) = (width as u64, height as u64);
    if width.saturating_mul(height) > MAX_PIXELS {
        return Err(ImageError::TooLarge { width, height });
    }
    Ok(())
}

pub(super) fn cut(raster: Raster, region: Region) -> Raster {
    if region
        == (Region {
            left: 0,
            top: 0,
            width: raster.width,
            height: raster.height,
        })
    {
        return raster;
    }
    let mut part = Raster {
        width: region.width,
        height: region.height,
        pixels: Vec::with_capacity(region.width * region.height),
    };
    for row in raster
        .pixels
        .chunks_exact(raster.width)
        .skip(region.top)
        .take(region.height)
    {
        part.pixels
            .extend_from_slice(&row[region.left..region.left + region.width]);
    }
    part
}

fn guarded<T>(decode: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|payload| {
        Err(ImageError::Panicked {
            message: panic_message(&*payload),
        })
    })
}

//! From the bytes of an image file to RGB pixels, upright, as `PIL.ImageOps.exif_transpose(image).convert("RGB")` gives them.
//!
//! The kind of file is told by its first bytes, never by its name. A file that cannot be decoded is an [`ImageError`]; a decoder that
//! panics counts as one, so that no file can stop a job.

use super::error::{ImageError, MAX_PIXELS};
use super::jpeg;
use super::orientation::Orientation;
use super::portable::{self, Format};
use super::raster::{Raster, Region};
use crate::panics::caught;

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
            Ok(orientation.turn(raster.cut(stored)))
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

fn guarded<T>(decode: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    caught(decode, |message| ImageError::Panicked { message })
}

//! Formats other than JPEG, through the `image` crate. All but lossy WebP are exact by nature.
//!
//! Conversion to RGB is Pillow's: grey is repeated, alpha is dropped (not blended), palettes are expanded. One thing differs on purpose:
//! of 16-bit grey the high byte is used, as for 16-bit colour, where Pillow clips at 255 and so turns such images white.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::error::{ImageError, MAX_PIXELS};
use super::orientation::Orientation;
use super::raster::Raster;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg,
    Png,
    Bmp,
    Pnm,
    WebP,
}

impl Format {
    /// By the first bytes.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, ImageError> {
        match bytes {
            [] => Err(ImageError::Empty),
            [0xFF, 0xD8, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => Ok(Self::Png),
            [b'B', b'M', ..] => Ok(Self::Bmp),
            [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n', ..] => Ok(Self::Pnm),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            _ => match unread(bytes) {
                Some(format) => Err(ImageError::unsupported(&format!(
                    "{format} (convert it to JPEG or PNG)"
                ))),
                None => Err(ImageError::NotAnImage {
                    start: beginning(bytes),
                }),
            },
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Bmp => "BMP",
            Self::Pnm => "PNM",
            Self::WebP => "WebP",
        }
    }

    fn as_image(self) -> ImageFormat {
        match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Bmp => ImageFormat::Bmp,
            Self::Pnm => ImageFormat::Pnm,
            Self::WebP => ImageFormat::WebP,
        }
    }
}

/// The name of a format that is known and not read.
fn unread(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.get(..4)? {
            b"avif" | b"avis" => Some("AVIF"),
            b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"mif1" | b"msf1" => Some("HEIC"),
            _ => None,
        },
        [b'G', b'I', b'F', b'8', ..] => Some("GIF"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some("TIFF"),
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => Some("JPEG XL"),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => Some("JPEG 2000"),
        [b'8', b'B', b'P', b'S', ..] => Some("Photoshop"),
        _ => None,
    }
}

fn beginning(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(8)];
    if start.iter().all(|byte| (0x20..0x7F).contains(byte)) {
        return format!("{:?}", String::from_utf8_lossy(start));
    }
    start
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Width, height and orientation as stored.
pub(super) fn measure(format: Format, bytes: &[u8]) -> Result<(usize, usize, Orientation), ImageError> {
    let mut decoder = decoder(format, bytes)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(ImageError::damaged(
            format.name(),
            &format!("its size is {width}x{height}"),
        ));
    }
    let orientation = orientation_of(format, bytes, &mut decoder);
    Ok((width as usize, height as usize, orientation))
}

/// The whole image as stored, and how it is to be turned.
pub(super) fn decode(format: Format, bytes: &[u8]) -> Result<(Raster, Orientation), ImageError> {
    let mut decoder = decoder(format, bytes)?;
    let orientation = orientation_of(format, bytes, &mut decoder);
    let image = DynamicImage::from_decoder(decoder).map_err(|error| refused(format, &error))?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pixels = match image {
        DynamicImage::ImageLuma8(image) => image.pixels().map(|pixel| grey(pixel.0[0])).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().map(|pixel| grey(pixel.0[0])).collect(),
        DynamicImage::ImageRgb8(image) => image.pixels().map(|pixel| colour(pixel.0)).collect(),
        DynamicImage::ImageRgba8(image) => image
            .pixels()
            .map(|pixel| colour([pixel.0[0], pixel.0[1], pixel.0[2]]))
            .collect(),
        DynamicImage::ImageLuma16(image) => image.pixels().map(|pixel| grey(high(pixel.0[0]))).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().map(|pixel| grey(high(pixel.0[0]))).collect(),
        DynamicImage::ImageRgb16(image) => image.pixels().map(|pixel| colour(pixel.0.map(high))).collect(),
        DynamicImage::ImageRgba16(image) => image
            .pixels()
            .map(|pixel| colour([high(pixel.0[0]), high(pixel.0[1]), high(pixel.0[2])]))
            .collect(),
        other => {
            return Err(ImageError::unsupported(&format!(
                "{} with {:?} samples",
                format.name(),
                other.color()
            )));
        }
    };
    Ok((Raster { width, height, pixels }, orientation))
}

fn decoder(format: Format, bytes: &[u8]) -> Result<impl ImageDecoder + '_, ImageError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.as_image());
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| refused(format, &error))
}

fn orientation_of(format: Format, bytes: &[u8], decoder: &mut impl ImageDecoder) -> Orientation {
    if format == Format::Png {
        return Orientation::of_exif(exif_of_png(bytes));
    }
    let exif = decoder.exif_metadata().ok().flatten();
    Orientation::of_exif(exif.as_deref())
}

/// The contents of the last `eXIf` chunk: it may stand before the pixels, where decoders find it, or after them.
fn exif_of_png(bytes: &[u8]) -> Option<&[u8]> {
    let mut exif = None;
    let mut rest = bytes.get(8..)?;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((name, after)) = after.split_first_chunk::<4>() else {
            break;
        };
        let Some(data) = after.get(..length) else { break };
        if name == b"eXIf" {
            exif = Some(data);
        }
        // Four bytes of checksum follow.
        rest = after.get(length + 4..).unwrap_or_default();
    }
    exif
}

fn refused(format: Format, error: &image::ImageError) -> ImageError {
    match error {
        image::ImageError::Unsupported(_) => ImageError::unsupported(&format!("{} ({error})", format.name())),
        _ => ImageError::damaged(format.name(), &error.to_string()),
    }
}

fn high(value: u16) -> u8 {
    (value >> 8) as u8
}

fn grey(value: u8) -> [u8; 4] {
    [value, value, value, 0]
}

fn colour([red, green, blue]: [u8; 3]) -> [u8; 4] {
    [red, green, blue, 0]
}

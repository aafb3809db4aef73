//! A JPEG decoder whose pixels equal libjpeg-turbo's, the decoder behind Pillow and torchvision.
//!
//! Other decoders use an inverse DCT or a chroma filter of their own, and on sharp edges differ by up to 30 of 255 levels: enough to see
//! in a network's features. This one follows libjpeg's arithmetic to the bit (`jidctint.c`, `jdsample.c` "fancy upsampling", `jdcolor.c`)
//! and reconstructs only the region that the crop needs, which is where it saves time. Baseline, extended and progressive Huffman files
//! of 8 bits are read; arithmetic coding, 12 bits and lossless JPEG, which Pillow's build also rarely meets, are refused by name.
//!
//! `header` reads the segments, `entropy` the bits, `scan`, `sequential` and `progressive` the coefficients, `inverse_dct` gives samples, `upsample` and
//! `colour` pixels.

mod coefficients;
mod colour;
mod entropy;
mod frame;
mod header;
mod inverse_dct;
mod progressive;
mod scan;
mod sequential;
mod upsample;

pub(crate) use header::Header;

use crate::modality::image::error::ImageError;
use crate::modality::image::raster::{Raster, Region};
use coefficients::Coefficients;
use frame::Frame;
use header::Segment;

/// Buffers that one thread uses again for each image.
#[derive(Default)]
pub(crate) struct Scratch {
    entropy: entropy::Stream,
    coefficients: Vec<Coefficients>,
    planes: Vec<Plane>,
    chroma: upsample::Rows,
}

/// The samples of one component, in whole blocks. Only those that the region needs are written.
#[derive(Default)]
struct Plane {
    samples: Vec<u8>,
    stride: usize,
    /// Samples of the component that belong to the image: libjpeg's `downsampled_width` and `_height`.
    width: usize,
    height: usize,
    /// Pixels per sample.
    across: usize,
    down: usize,
}

/// Decodes the pixels of `region`.
///
/// # Errors
///
/// When the file is damaged or of a kind that is not read.
pub(crate) fn decode(
    bytes: &[u8],
    header: Header,
    region: Region,
    scratch: &mut Scratch,
) -> Result<Raster, ImageError> {
    let mut header = header;
    let frame = header.frame.clone();
    prepare(&frame, scratch)?;
    let streamed = header.sequential_in_one_scan();
    if !streamed {
        scratch
            .coefficients
            .resize_with(frame.components.len(), Coefficients::default);
        for (store, component) in scratch.coefficients.iter_mut().zip(&frame.components) {
            store.reset(component.blocks_across, component.blocks_down);
        }
    }
    let mut tables = vec![None; frame.components.len()];
    let mut seen_scans = 0usize;
    loop {
        let scan = header.scan.take().expect("the header stops at a scan");
        seen_scans += 1;
        if seen_scans > MAX_SCANS {
            return Err(ImageError::damaged("JPEG", "it has more than 1000 scans"));
        }
        for place in &scan.components {
            if tables[place.component].is_none() {
                tables[place.component] = Some(header.quantization(frame.components[place.component].quantization)?);
            }
        }
        let next = scratch.entropy.read_scan(bytes, header.position)?;
        if streamed {
            scan::decode_streamed(&header, &frame, &scan, &tables, (region, scratch))?;
            break;
        }
        scan::decode_stored(&header, &frame, &scan, scratch)?;
        header.position = next;
        match header.read_segments(bytes)? {
            Segment::Scan => {}
            Segment::End => break,
        }
    }
    if !streamed {
        scan::reconstruct_stored(&frame, &tables, region, scratch)?;
    }
    Ok(colour::render(&frame, header.colour(), region, scratch))
}

/// More is an attack: each scan of a progressive file costs a pass over the image.
const MAX_SCANS: usize = 1000;

fn prepare(frame: &Frame, scratch: &mut Scratch) -> Result<(), ImageError> {
    scratch.planes.resize_with(frame.components.len(), Plane::default);
    for (plane, component) in scratch.planes.iter_mut().zip(&frame.components) {
        if !frame.across_max.is_multiple_of(component.across) || !frame.down_max.is_multiple_of(component.down) {
            return Err(ImageError::unsupported("JPEG with a fractional chroma ratio"));
        }
        plane.stride = component.blocks_across * 8;
        plane.samples.resize(plane.stride * component.blocks_down * 8, 0);
        plane.width = component.width;
        plane.height = component.height;
        plane.across = frame.across_max / component.across;
        plane.down = frame.down_max / component.down;
    }
    Ok(())
}

//! Pixels in memory, and rectangles of them.

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

    /// The pixels of a region.
    pub(crate) fn cut(self, region: Region) -> Self {
        if region
            == (Region {
                left: 0,
                top: 0,
                width: self.width,
                height: self.height,
            })
        {
            return self;
        }
        let mut part = Self {
            width: region.width,
            height: region.height,
            pixels: Vec::with_capacity(region.width * region.height),
        };
        for row in self
            .pixels
            .chunks_exact(self.width)
            .skip(region.top)
            .take(region.height)
        {
            part.pixels
                .extend_from_slice(&row[region.left..region.left + region.width]);
        }
        part
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

//! Why a file gives no pixels, in the words that the sample's reason carries.

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

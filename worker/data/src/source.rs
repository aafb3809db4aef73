//! Where the bytes of a sample are. A format says where, a modality makes numbers of them; neither knows the other.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::digest::update_with_length;

/// What the network looks at, before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A whole file.
    File {
        /// Where it is on this worker.
        path: PathBuf,
        /// Bytes, when it was indexed.
        size: u64,
    },
    /// The text itself, out of a row.
    Text(String),
    /// Nothing: the row of the sample has a label and no input, as this sentence says.
    Unusable(String),
}

impl Source {
    /// All of its bytes.
    ///
    /// # Errors
    ///
    /// The sentence that a [`crate::CorruptSample`] carries.
    pub fn read(&self) -> Result<Cow<'_, [u8]>, String> {
        match self {
            Self::File { path, .. } => match std::fs::read(path) {
                Ok(bytes) => Ok(Cow::Owned(bytes)),
                Err(error) => Err(format!("cannot read {}: {error}", path.display())),
            },
            Self::Text(text) => Ok(Cow::Borrowed(text.as_bytes())),
            Self::Unusable(reason) => Err(reason.clone()),
        }
    }

    /// Adds to the digest of a split what is known without reading: the size of a file, or the text.
    pub(crate) fn update(&self, hasher: &mut blake3::Hasher) {
        match self {
            Self::File { size, .. } => {
                hasher.update(&[0]);
                hasher.update(&size.to_le_bytes());
            }
            Self::Text(text) => {
                hasher.update(&[1]);
                update_with_length(hasher, text.as_bytes());
            }
            Self::Unusable(reason) => {
                hasher.update(&[2]);
                update_with_length(hasher, reason.as_bytes());
            }
        }
    }
}

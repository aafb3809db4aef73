//! Reads what a split names, before the first step: every byte once, so that a file that is missing, empty or no image is found while it
//! costs nothing, and so that two workers with different files under the same names are told apart.

use std::ops::Range;

use crate::dataset::update_with_length;
use crate::{Content, CorruptSample, Split, image};

/// What a range of samples holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOutcome {
    /// Of files and texts.
    pub bytes_read: u64,
    /// BLAKE3, hex, over the contents of the range's samples in order; a sample that cannot be read counts as such.
    pub content_digest: String,
    /// In manifest order.
    pub corrupt: Vec<CorruptSample>,
}

/// Reads samples `range` of manifest order; positions beyond the split are left out. `moved` is called after each.
///
/// An image's header is read and its size checked; its pixels are not decoded, which is left to the loader.
pub fn scan(split: &Split, range: Range<u64>, moved: impl Fn()) -> ScanOutcome {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"firn scan v1");
    let mut outcome = ScanOutcome {
        bytes_read: 0,
        content_digest: String::new(),
        corrupt: Vec::new(),
    };
    for index in range.start..range.end.min(split.len()) {
        let sample = &split.samples[index as usize];
        let reason = match &sample.content {
            Content::Text(text) => {
                outcome.bytes_read += text.len() as u64;
                update_with_length(&mut hasher, text.as_bytes());
                None
            }
            Content::File { path, .. } => match std::fs::read(path) {
                Ok(bytes) => {
                    outcome.bytes_read += bytes.len() as u64;
                    update_with_length(&mut hasher, &bytes);
                    image::dimensions(&bytes).err().map(|error| error.to_string())
                }
                Err(error) => {
                    hasher.update(&u64::MAX.to_le_bytes());
                    Some(format!("cannot read {}: {error}", path.display()))
                }
            },
        };
        if let Some(reason) = reason {
            outcome.corrupt.push(CorruptSample {
                index,
                id: sample.id.clone(),
                reason,
            });
        }
        moved();
    }
    outcome.content_digest = hasher.finalize().to_hex().to_string();
    outcome
}

//! Reads what a split names, before the first step: every byte once, so that a file that is missing, empty or no image is found while it
//! costs nothing, and so that two workers with different files under the same names are told apart.

use std::ops::Range;

use crate::digest::update_with_length;
use crate::{CorruptSample, Preprocessor, Split};

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
/// What can be told without preparing a sample is checked: an image's header and size, but not its pixels, which is left to the loader.
pub fn scan(split: &Split, range: Range<u64>, preprocessor: &Preprocessor, moved: impl Fn()) -> ScanOutcome {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"firn scan v1");
    let mut outcome = ScanOutcome {
        bytes_read: 0,
        content_digest: String::new(),
        corrupt: Vec::new(),
    };
    for index in range.start..range.end.min(split.len()) {
        let sample = &split.samples[index as usize];
        let inspected = match sample.source.read() {
            Ok(content) => {
                for bytes in content.parts() {
                    outcome.bytes_read += bytes.len() as u64;
                    update_with_length(&mut hasher, bytes);
                }
                preprocessor.inspect(&content)
            }
            Err(reason) => {
                hasher.update(&u64::MAX.to_le_bytes());
                Err(reason)
            }
        };
        if let Err(reason) = inspected {
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

//! What a job knows of its data: the manifest, the shards that it is cut into, the samples that were set aside.
//!
//! Shards are cut by sample count alone, never by the number of ranks, so that the ledger of one run can be laid beside that of another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::task::{Schema, regression::Target};

/// A part of the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitName {
    /// The samples that train.
    Train,
    /// The samples that choose the best checkpoint.
    Validation,
    /// The samples that are scored once, at the end.
    Test,
}

impl SplitName {
    /// All splits, in the order in which they are scanned.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for SplitName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for SplitName {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|split| split.as_str() == text)
            .ok_or_else(|| UnknownName {
                expected: "train, validation or test",
                found: text.to_owned(),
            })
    }
}

/// A word that is none of the expected ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct UnknownName {
    /// What could have stood there.
    pub expected: &'static str,
    /// What stood there.
    pub found: String,
}

/// The manifest of a job's dataset, as the first rank that indexed it found it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Class names in the order of the model's outputs.
    pub classes: Vec<String>,
    /// Of a regression: what is learned, in the order of the model's outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Manifests in the order train, validation, test; those that exist.
    pub splits: Vec<SplitManifest>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Dataset {
    /// What its labels are, before any threshold was tuned.
    pub fn schema(&self) -> Schema<'_> {
        Schema {
            classes: &self.classes,
            targets: &self.targets,
            thresholds: &[],
        }
    }

    /// The manifest of a split, if the dataset has it and it holds any sample.
    pub fn split(&self, name: SplitName) -> Option<&SplitManifest> {
        self.splits
            .iter()
            .find(|split| split.split == name && split.samples > 0)
    }
}

/// The index of one split. The samples themselves stay where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitManifest {
    /// Its name.
    pub split: SplitName,
    /// How many samples.
    pub samples: u64,
    /// Samples of each class, in the order of the classes.
    pub class_counts: Vec<u64>,
    /// BLAKE3, hex, over ids, sizes and labels in manifest order.
    pub digest: String,
}

/// Samples `[begin, end)` of manifest order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Position in the split's shard table.
    pub index: u32,
    /// First sample.
    pub begin: u64,
    /// One past the last sample.
    pub end: u64,
}

/// How a split is cut: shards of `shard_size` samples, the last one shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardTable {
    /// Samples of the split.
    pub samples: u64,
    /// Samples of a shard, at least 1.
    pub shard_size: u64,
}

/// Bytes that the predictions of one shard may take on the wire.
const LARGEST_REPORT: u64 = 2 << 20;
/// Bytes of one prediction beside its scores: index, label, the sample's name.
const PREDICTION_OVERHEAD: u64 = 64;

impl ShardTable {
    /// Cuts `samples` samples, of whose predictions so many numbers are kept: about 64 shards, in multiples of 16 samples, small enough that
    /// the report of one fits a message.
    pub fn cut(samples: u64, numbers: usize) -> Self {
        let wanted = samples.div_ceil(64).next_multiple_of(16).clamp(16, 4096);
        let fitting = LARGEST_REPORT / (PREDICTION_OVERHEAD + 8 * numbers as u64);
        let largest = if fitting >= 16 {
            fitting / 16 * 16
        } else {
            fitting.max(1)
        };
        Self {
            samples,
            shard_size: wanted.min(largest),
        }
    }

    /// How many shards.
    pub fn count(&self) -> u32 {
        u32::try_from(self.samples.div_ceil(self.shard_size.max(1))).unwrap_or(u32::MAX)
    }

    /// The shard at `index`, if there is one.
    pub fn shard(&self, index: u32) -> Option<Shard> {
        let begin = u64::from(index).checked_mul(self.shard_size)?;
        (begin < self.samples).then(|| Shard {
            index,
            begin,
            end: self.samples.min(begin + self.shard_size),
        })
    }
}

/// A sample that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedSample {
    /// Its split.
    pub split: SplitName,
    /// Position in manifest order.
    pub index: u64,
    /// Path or `file:line`.
    pub sample: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What a rank loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSummary {
    /// Parameters below the cut.
    pub frozen_parameters: u64,
    /// Parameters above the cut.
    pub trainable_parameters: u64,
    /// Name of the last frozen stage, or `none`.
    pub cut: String,
    /// BLAKE3, hex, over names, shapes and bytes of all parameters and buffers below the cut.
    pub frozen_digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_cut_by_sample_count_alone_and_cover_the_split_once() {
        // samples, numbers of a prediction, shard size, shards
        let table = [
            (1, 2, 16, 1),
            (16, 2, 16, 1),
            (17, 2, 16, 2),
            (1_024, 2, 16, 64),
            (1_025, 2, 32, 33),
            (6_920, 2, 112, 62),
            (1_281_167, 2, 4_096, 313),
            (1_281_167, 1_000, 256, 5_005),
            (100, 40_000, 6, 17),
            (3, 10_000_000, 1, 3),
        ];
        for (samples, numbers, shard_size, count) in table {
            let cut = ShardTable::cut(samples, numbers);
            assert_eq!(
                (cut.shard_size, cut.count()),
                (shard_size, count),
                "{samples} samples of {numbers} numbers"
            );
            let mut next = 0;
            for index in 0..cut.count() {
                let shard = cut.shard(index).unwrap();
                assert_eq!(shard.begin, next);
                assert!(shard.end > shard.begin);
                next = shard.end;
            }
            assert_eq!(next, samples);
            assert_eq!(cut.shard(cut.count()), None);
        }
    }
}

//! What an indexed dataset is: classes, and splits of samples in manifest order.

use std::fmt;
use std::sync::Arc;

use firn_core::task::regression;

use crate::digest::update_with_length;
use crate::{Source, Target};

/// An indexed dataset. The classes of all splits are positions in `classes`.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// In the order of the network's outputs.
    pub classes: Vec<String>,
    /// Of a regression, which has no classes: what is learned, in the order of the network's outputs.
    pub targets: Vec<regression::Target>,
    /// What the head learns from; never empty.
    pub train: Arc<Split>,
    /// What chooses the best checkpoint.
    pub validation: Option<Arc<Split>>,
    /// What is scored once, at the end.
    pub test: Option<Arc<Split>>,
    /// What a person should know and the job survives.
    pub warnings: Vec<String>,
}

impl Dataset {
    /// Those that it has, in the order train, validation, test.
    pub fn splits(&self) -> impl Iterator<Item = &Arc<Split>> {
        std::iter::once(&self.train).chain(&self.validation).chain(&self.test)
    }

    /// The split of that name, if the dataset has it.
    pub fn split(&self, name: SplitName) -> Option<&Arc<Split>> {
        match name {
            SplitName::Train => Some(&self.train),
            SplitName::Validation => self.validation.as_ref(),
            SplitName::Test => self.test.as_ref(),
        }
    }
}

/// Which part of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SplitName {
    /// Learned from.
    Train,
    /// Chooses the best checkpoint.
    Validation,
    /// Scored once.
    Test,
}

impl SplitName {
    /// `train`, `validation` or `test`, as on the wire.
    pub const fn as_str(self) -> &'static str {
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

/// Samples in manifest order: the order of their ids (folders) or of their lines (tables).
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Which part of the dataset.
    pub name: SplitName,
    /// In manifest order.
    pub samples: Vec<Sample>,
}

/// One example and what is expected of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Path relative to the split's folder, with `/`; or `file:line`, with the file's name and the line, from 1, on which the row starts.
    pub id: String,
    /// What is expected of the network.
    pub target: Target,
    /// What the network looks at.
    pub source: Source,
}

/// A sample that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptSample {
    /// Position in manifest order.
    pub index: u64,
    /// The sample's id.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Split {
    /// Number of samples.
    pub fn len(&self) -> u64 {
        self.samples.len() as u64
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// BLAKE3, hex, over ids, sizes (images) or texts, and labels, in manifest order. Two workers that see the same split agree on it,
    /// wherever the split lies on their disks.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"firn split v1");
        hasher.update(&self.len().to_le_bytes());
        for sample in &self.samples {
            update_with_length(&mut hasher, sample.id.as_bytes());
            sample.target.update(&mut hasher);
            sample.source.update(&mut hasher);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The class of each sample, in manifest order; of a classification.
    pub fn classes(&self) -> Vec<u32> {
        let targets = self.samples.iter().map(|sample| sample.target.classes());
        targets.filter_map(|classes| classes.first().copied()).collect()
    }

    /// Samples of each of the first `classes` classes, or with each of the first labels.
    pub fn class_counts(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        for class in self.samples.iter().flat_map(|sample| sample.target.classes()) {
            if let Some(count) = counts.get_mut(*class as usize) {
                *count += 1;
            }
        }
        counts
    }
}

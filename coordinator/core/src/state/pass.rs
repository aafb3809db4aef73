//! A pass is one walk over all samples of a split, in shards. Each shard counts once, however often it is delivered.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identifiers::Generation;
use crate::state::dataset::{ShardTable, SplitName, UnknownName};
use crate::task::Statistics;

/// Which walk. Written `scan/train` or `evaluate/validation/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Pass {
    /// Read every sample's bytes.
    Scan(SplitName),
    /// Score every sample of validation or test.
    Evaluate {
        /// Validation or test.
        split: SplitName,
        /// After which the model is evaluated, from 0. Of test: the best epoch.
        epoch: u32,
    },
}

impl Pass {
    /// The validation after an epoch.
    pub fn validation(epoch: u32) -> Self {
        Self::Evaluate {
            split: SplitName::Validation,
            epoch,
        }
    }

    /// The test of the best epoch.
    pub fn test(epoch: u32) -> Self {
        Self::Evaluate {
            split: SplitName::Test,
            epoch,
        }
    }

    /// The split that is walked.
    pub fn split(self) -> SplitName {
        match self {
            Self::Scan(split) | Self::Evaluate { split, .. } => split,
        }
    }

    /// The word for what is done with each sample.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Scan(_) => "scan",
            Self::Evaluate { .. } => "evaluate",
        }
    }

    /// The epoch after which it is, from 0; `None`: it is done once, before the first step.
    pub fn round(self) -> Option<u32> {
        match self {
            Self::Scan(_) => None,
            Self::Evaluate { epoch, .. } => Some(epoch),
        }
    }

    /// The pass of that kind, split and round.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(kind: &str, split: SplitName, round: Option<u32>) -> Result<Self, UnknownName> {
        match (kind, split, round) {
            ("scan", split, None) => Ok(Self::Scan(split)),
            ("evaluate", SplitName::Validation | SplitName::Test, Some(epoch)) => Ok(Self::Evaluate { split, epoch }),
            _ => Err(UnknownName {
                expected: "scan/SPLIT, evaluate/validation/EPOCH or evaluate/test/EPOCH",
                found: written(kind, split, round),
            }),
        }
    }

    /// Whether it still counts when a job goes back to a state with so many complete epochs.
    pub fn is_kept(self, epochs: u32) -> bool {
        self.round().is_none_or(|epoch| epoch < epochs)
    }
}

fn written(kind: &str, split: SplitName, round: Option<u32>) -> String {
    match round {
        None => format!("{kind}/{split}"),
        Some(round) => format!("{kind}/{split}/{round}"),
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&written(self.kind(), self.split(), self.round()))
    }
}

impl From<Pass> for String {
    fn from(pass: Pass) -> Self {
        pass.to_string()
    }
}

impl FromStr for Pass {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName {
            expected: "KIND/SPLIT or KIND/SPLIT/EPOCH",
            found: text.to_owned(),
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [kind, split] => Self::of(kind, split.parse()?, None),
            [kind, split, round] => Self::of(kind, split.parse()?, Some(round.parse().map_err(|_| unknown())?)),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Pass {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Self, UnknownName> {
        text.parse()
    }
}

/// How far a pass is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassProgress {
    /// How its split is cut.
    pub shards: ShardTable,
    /// What each complete shard gave.
    pub complete: BTreeMap<u32, CompletedShard>,
}

impl PassProgress {
    /// Nothing is complete yet.
    pub fn new(shards: ShardTable) -> Self {
        Self {
            shards,
            complete: BTreeMap::new(),
        }
    }

    /// Whether every shard is complete.
    pub fn is_complete(&self) -> bool {
        self.complete.len() == self.shards.count() as usize
    }
}

/// A shard that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletedShard {
    /// The rank that delivered it.
    pub rank: u32,
    /// In which formation.
    pub generation: Generation,
    /// What was found.
    pub outcome: ShardOutcome,
}

/// What a shard gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ShardOutcome {
    /// All bytes were read.
    Scanned {
        /// Bytes of its samples.
        bytes_read: u64,
        /// BLAKE3, hex, of the contents in order.
        content_digest: String,
    },
    /// All samples were scored. Kept by shard and summed in shard order, so that the sums do not depend on who was faster.
    Evaluated(Statistics),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_reads_back_from_its_name() {
        for pass in [
            Pass::Scan(SplitName::Train),
            Pass::validation(12),
            Pass::Evaluate {
                split: SplitName::Test,
                epoch: 0,
            },
        ] {
            assert_eq!(pass.to_string().parse(), Ok(pass));
        }
        for text in [
            "",
            "scan",
            "scan/train/0",
            "evaluate/test",
            "evaluate/test/x",
            "evaluate/all/1",
            "evaluate/test/1/2",
            "evaluate/train/0",
        ] {
            assert!(text.parse::<Pass>().is_err(), "{text}");
        }
    }
}

//! Statistics that are refused.

use thiserror::Error;

use super::ConfusionCell;
use crate::metrics::{ClassCounts, Moments};

/// Statistics that cannot be those of a part of this split.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum StatisticsError {
    /// Counts that say something else than the sample count.
    #[error("expected confusion counts of {samples} samples, found {counted}")]
    Samples {
        /// Samples that the part says it scored.
        samples: u64,
        /// Sum of its counts.
        counted: u128,
    },
    /// Moments of more or fewer targets.
    #[error("expected moments of {targets} targets, found {found}")]
    Targets {
        /// Targets of the training schema.
        targets: usize,
        /// Those of the part.
        found: usize,
    },
    /// Moments of more or fewer samples, or that are no numbers.
    #[error("expected finite moments of {samples} samples, found {found:?}")]
    Moments {
        /// Samples that the part says it scored.
        samples: u64,
        /// What came.
        found: Box<Moments>,
    },
    /// Counts of more or fewer labels.
    #[error("expected counts of {labels} labels, found {found}")]
    Labels {
        /// Labels of the training schema.
        labels: usize,
        /// Those of the part.
        found: usize,
    },
    /// Counts that cannot be those of a label.
    #[error("expected counts of a label among {samples} samples, found {found:?}")]
    LabelCounts {
        /// Samples that the part says it scored.
        samples: u64,
        /// What came.
        found: ClassCounts,
    },
    /// Counts of more or fewer types of entities.
    #[error("expected counts of {types} types of entities, found {found}")]
    EntityTypes {
        /// Types in the tags of the training schema.
        types: usize,
        /// Those of the part.
        found: usize,
    },
    /// Words that cannot be those of the texts.
    #[error(
        "expected a word of each of {samples} samples at least, and no more right words than words, found {right} of {words}"
    )]
    Words {
        /// Texts that the part says it scored.
        samples: u64,
        /// Words of them.
        words: u64,
        /// Words whose tag is right.
        right: u64,
    },
    /// Counts that cannot be those of a type of entity.
    #[error("expected counts of entities among {words} words, found {found:?}")]
    EntityCounts {
        /// Words that the part says it scored.
        words: u64,
        /// What came.
        found: ClassCounts,
    },
    /// A class that the schema does not have.
    #[error("expected classes below {classes}, found {cell:?}")]
    Class {
        /// Classes of the training schema.
        classes: usize,
        /// The cell that came.
        cell: ConfusionCell,
    },
    /// Cells that are not in order, or twice there.
    #[error("expected each cell once, by true and then by predicted class, found {cell:?} out of order")]
    Order {
        /// The first cell that does not come after the one before it.
        cell: ConfusionCell,
    },
}

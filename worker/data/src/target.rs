//! What is expected of the network for a sample. A kind of task has its own variant here, and a column of the same kind in a batch.

/// Of one sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Position in the dataset's classes.
    Class(u32),
}

impl Target {
    /// Its position in the dataset's classes, if it is one.
    pub fn class(&self) -> Option<u32> {
        match self {
            Self::Class(class) => Some(*class),
        }
    }

    /// Adds it to the digest of a split.
    pub(crate) fn update(&self, hasher: &mut blake3::Hasher) {
        match self {
            Self::Class(class) => hasher.update(&class.to_le_bytes()),
        };
    }
}

/// Of the samples of a batch, in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The class of each sample.
    Classes(Vec<i64>),
}

impl Targets {
    /// Of samples of one dataset, whose targets are all of one kind.
    pub(crate) fn collect<'a>(targets: impl Iterator<Item = &'a Target>) -> Self {
        let class = |target: &Target| match target {
            Target::Class(class) => i64::from(*class),
        };
        Self::Classes(targets.map(class).collect())
    }

    /// Those of the first samples.
    #[must_use]
    pub fn first(&self, samples: usize) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(classes[..samples].to_vec()),
        }
    }
}

//! What is expected of the network for a sample. A kind of task has its own variant here, and a column of the same kind in a batch.

/// Of one sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Position in the dataset's classes.
    Class(u32),
    /// The number of each of the dataset's targets, in the units of the data.
    Numbers(Vec<f64>),
}

impl Target {
    /// Its position in the dataset's classes, if it is one.
    pub fn class(&self) -> Option<u32> {
        match self {
            Self::Class(class) => Some(*class),
            Self::Numbers(_) => None,
        }
    }

    /// Its numbers, if it is any.
    pub fn numbers(&self) -> &[f64] {
        match self {
            Self::Class(_) => &[],
            Self::Numbers(numbers) => numbers,
        }
    }

    /// Adds it to the digest of a split.
    pub(crate) fn update(&self, hasher: &mut blake3::Hasher) {
        match self {
            Self::Class(class) => {
                hasher.update(&class.to_le_bytes());
            }
            Self::Numbers(numbers) => {
                for number in numbers {
                    hasher.update(&number.to_le_bytes());
                }
            }
        }
    }
}

/// Of the samples of a batch, in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The class of each sample.
    Classes(Vec<i64>),
    /// The numbers of each sample, sample after sample.
    Numbers {
        /// Samples × targets.
        numbers: Vec<f64>,
        /// Of a sample.
        targets: usize,
    },
}

impl Targets {
    /// Of samples of one dataset, whose targets are all of one kind.
    pub(crate) fn collect<'a>(targets: impl Iterator<Item = &'a Target>) -> Self {
        let (mut classes, mut numbers, mut width) = (Vec::new(), Vec::new(), 0);
        for target in targets {
            classes.extend(target.class().map(i64::from));
            numbers.extend_from_slice(target.numbers());
            width = target.numbers().len();
        }
        match width {
            0 => Self::Classes(classes),
            targets => Self::Numbers { numbers, targets },
        }
    }

    /// Those of the first samples.
    #[must_use]
    pub fn first(&self, samples: usize) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(classes[..samples].to_vec()),
            Self::Numbers { numbers, targets } => Self::Numbers {
                numbers: numbers[..samples * targets].to_vec(),
                targets: *targets,
            },
        }
    }
}

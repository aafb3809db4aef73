//! What is expected of the network for a sample. A kind of task has its own variant here, and a column of the same kind in a batch.

/// Of one sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Position in the dataset's classes.
    Class(u32),
    /// The number of each of the dataset's targets, in the units of the data.
    Numbers(Vec<f64>),
    /// Positions in the dataset's classes, which do not exclude each other, in rising order; none: the sample has no label.
    Labels(Vec<u32>),
    /// Of each word of a text its position in the dataset's classes.
    Tags(Vec<u32>),
}

impl Target {
    /// Its position in the dataset's classes, if it is one.
    pub fn class(&self) -> Option<u32> {
        match self {
            Self::Class(class) => Some(*class),
            Self::Numbers(_) | Self::Labels(_) | Self::Tags(_) => None,
        }
    }

    /// Its positions in the dataset's classes, of a class, of labels, or of the tags of its words.
    pub fn classes(&self) -> &[u32] {
        match self {
            Self::Class(class) => std::slice::from_ref(class),
            Self::Numbers(_) => &[],
            Self::Labels(labels) | Self::Tags(labels) => labels,
        }
    }

    /// Its numbers, if it is any.
    pub fn numbers(&self) -> &[f64] {
        match self {
            Self::Class(_) | Self::Labels(_) | Self::Tags(_) => &[],
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
            Self::Labels(labels) | Self::Tags(labels) => {
                hasher.update(&(labels.len() as u64).to_le_bytes());
                for label in labels {
                    hasher.update(&label.to_le_bytes());
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
    /// The labels of each sample, in rising order.
    Labels(Vec<Vec<u32>>),
    /// The tags of the words of each sample, also of words that were cut off.
    Tags(Vec<Vec<u32>>),
}

impl Targets {
    /// Of samples of one dataset, whose targets are all of one kind.
    pub(crate) fn collect<'a>(targets: impl Iterator<Item = &'a Target>) -> Self {
        let mut targets = targets.peekable();
        match targets.peek() {
            Some(Target::Numbers(first)) => Self::Numbers {
                targets: first.len(),
                numbers: targets.flat_map(Target::numbers).copied().collect(),
            },
            Some(Target::Labels(_)) => Self::Labels(targets.map(|target| target.classes().to_vec()).collect()),
            Some(Target::Tags(_)) => Self::Tags(targets.map(|target| target.classes().to_vec()).collect()),
            Some(Target::Class(_)) | None => Self::Classes(targets.filter_map(Target::class).map(i64::from).collect()),
        }
    }

    /// Those of the samples at these places, in this order.
    #[must_use]
    pub fn rows(&self, places: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(places.map(|place| classes[place]).collect()),
            Self::Numbers { numbers, targets } => Self::Numbers {
                numbers: places
                    .flat_map(|place| numbers[place * targets..(place + 1) * targets].iter().copied())
                    .collect(),
                targets: *targets,
            },
            Self::Labels(labels) => Self::Labels(places.map(|place| labels[place].clone()).collect()),
            Self::Tags(tags) => Self::Tags(places.map(|place| tags[place].clone()).collect()),
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
            Self::Labels(labels) => Self::Labels(labels[..samples].to_vec()),
            Self::Tags(tags) => Self::Tags(tags[..samples].to_vec()),
        }
    }
}

//! What of a file is not as its library writes it today, and is taken all the same. Nothing of it is taken in silence: each is a line in the
//! job's log.

use std::{collections::BTreeMap, fmt};

use safetensors::Dtype;

use super::{file::WeightFile, fit::Leftover, naming::Naming};
use crate::{
    error::first_of,
    parameter_builder::{NamedTensor, Role},
};

/// Something that was taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsNote {
    /// All names stand behind that of a program which wrapped the network.
    Wrapper {
        /// With its dot.
        prefix: String,
    },
    /// Tensors of another precision than that of computation.
    Precision {
        /// As safetensors calls it: `F16`, `BF16` or `F64`.
        dtype: String,
        /// Tensors of the network that have it.
        tensors: usize,
    },
    /// Tensors whose parameters have the names of older files, such as `LayerNorm.gamma`.
    OldNames {
        /// Of the first one, in the file.
        key: String,
        /// What it is called today.
        usual: String,
        /// Tensors with such a name.
        tensors: usize,
    },
    /// BatchNorm layers without `num_batches_tracked`.
    NoCounters {
        /// Layers without one.
        layers: usize,
    },
    /// Outputs of other tasks, poolers and losses, which a job has no use for.
    Unused {
        /// Their names in the file.
        names: Vec<String>,
    },
}

impl fmt::Display for WeightsNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrapper { prefix } => {
                write!(
                    formatter,
                    "the names begin with `{prefix}`, which a training program put there: it is left out"
                )
            }
            Self::Precision { dtype, tensors } => {
                write!(formatter, "{tensors} tensors are {dtype}: they are computed in fp32")
            }
            Self::OldNames { key, usual, tensors } => {
                write!(
                    formatter,
                    "{tensors} tensors have names of older files: `{key}` is taken for `{usual}`"
                )
            }
            Self::NoCounters { layers } => {
                write!(
                    formatter,
                    "`num_batches_tracked` is missing in {layers} BatchNorm layers: nothing here reads it, and the export has 0"
                )
            }
            Self::Unused { names } => {
                write!(
                    formatter,
                    "the job has a head of its own, and no use for {}",
                    first_of(names)
                )
            }
        }
    }
}

/// All that there is to note of a file that fits.
pub(crate) fn of(file: &WeightFile, naming: &Naming, entries: &[NamedTensor], leftover: Leftover) -> Vec<WeightsNote> {
    let wrapper = Some(&naming.wrapper).filter(|wrapper| !wrapper.is_empty());
    let wrapper = wrapper.map(|prefix| WeightsNote::Wrapper { prefix: prefix.clone() });
    let unused = Some(leftover.unused).filter(|names| !names.is_empty());
    let unused = unused.map(|names| WeightsNote::Unused { names });
    let mut notes: Vec<_> = wrapper.into_iter().collect();
    notes.extend(precisions(file, entries));
    notes.extend(old_names(naming, entries));
    notes.extend(no_counters(file, entries));
    notes.extend(unused);
    notes
}

fn precisions(file: &WeightFile, entries: &[NamedTensor]) -> impl Iterator<Item = WeightsNote> {
    let mut counts = BTreeMap::new();
    let found = entries.iter().filter_map(|entry| file.entry(&entry.key));
    for entry in found.filter(|entry| entry.dtype != Dtype::F32) {
        *counts.entry(format!("{:?}", entry.dtype)).or_default() += 1;
    }
    let note = |(dtype, tensors)| WeightsNote::Precision { dtype, tensors };
    counts.into_iter().map(note)
}

/// Only where a parameter itself has another name. Whole layers are called in several ways that are all of today.
fn old_names(naming: &Naming, entries: &[NamedTensor]) -> Option<WeightsNote> {
    fn parameter(name: &str) -> Option<&str> {
        name.rsplit('.').next()
    }
    let renamed = entries.iter().filter_map(|entry| {
        let usual = naming.candidates(&entry.name).remove(0);
        (parameter(&usual) != parameter(&entry.key)).then(|| (entry.key.clone(), usual))
    });
    let renamed: Vec<_> = renamed.collect();
    let tensors = renamed.len();
    let (key, usual) = renamed.into_iter().next()?;
    Some(WeightsNote::OldNames { key, usual, tensors })
}

fn no_counters(file: &WeightFile, entries: &[NamedTensor]) -> Option<WeightsNote> {
    let means = entries
        .iter()
        .filter(|entry| entry.role == Role::Statistic)
        .filter_map(|entry| entry.key.strip_suffix("running_mean"));
    let without = means.filter(|norm| file.entry(&format!("{norm}num_batches_tracked")).is_none());
    let layers = without.count();
    (layers > 0).then_some(WeightsNote::NoCounters { layers })
}

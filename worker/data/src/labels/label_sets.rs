//! Any number of labels for each sample: a list in one column, whose labels train names, or a column for each label.

use std::collections::{BTreeSet, HashMap};

use firn_core::task::multi_label::MOST_LABELS;

use super::class_names;
use crate::format::{Listed, Listing};
use crate::{DataError, Split, SplitName, Target, names};

pub(crate) struct LabelSets {
    /// In the order of the network's outputs.
    names: Vec<String>,
    written: Written,
}

enum Written {
    /// As the names of those that a sample has.
    Lists(HashMap<String, u32>),
    /// As a yes or no for each.
    Flags,
}

impl LabelSets {
    /// The columns are the labels.
    pub(super) fn of_columns(columns: &[String]) -> Self {
        Self {
            names: columns.to_vec(),
            written: Written::Flags,
        }
    }

    /// The labels are those that stand in the lists of train.
    pub(super) fn of_lists(train: &Listing, column: &str) -> Result<Self, DataError> {
        let all: BTreeSet<&String> = train.samples.iter().flat_map(|listed| &listed.labels).collect();
        if all.is_empty() {
            return Err(DataError::NoLabels {
                path: train.path.clone(),
                column: column.to_owned(),
            });
        }
        if all.len() > MOST_LABELS {
            return Err(DataError::TooManyLabels {
                path: train.path.clone(),
                column: column.to_owned(),
                count: all.len(),
                most: MOST_LABELS,
            });
        }
        let mut names: Vec<String> = all.into_iter().cloned().collect();
        names::sort_labels(&mut names);
        Ok(Self::known(&names))
    }

    /// Of these names, in the order of the network's outputs.
    pub(super) fn known(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            written: Written::Lists(names.iter().cloned().zip(0..).collect()),
        }
    }

    pub(super) fn targets(&self, listing: &Listing) -> Result<Vec<Target>, DataError> {
        let samples = listing.samples.iter();
        match &self.written {
            Written::Lists(numbers) => samples.map(|listed| self.of_list(listing, listed, numbers)).collect(),
            Written::Flags => samples.map(|listed| self.of_flags(listing, listed)).collect(),
        }
    }

    /// A label that stands twice in a list is there once.
    fn of_list(&self, listing: &Listing, listed: &Listed, numbers: &HashMap<String, u32>) -> Result<Target, DataError> {
        let number = |label: &String| {
            numbers.get(label).copied().ok_or_else(|| DataError::UnknownLabel {
                split: listing.split,
                hint: class_names::hint(label, &self.names),
                label: label.clone(),
                sample: listed.id.clone(),
                count: self.names.len(),
                known: names::enumerate(&self.names),
            })
        };
        let labels: BTreeSet<u32> = listed.labels.iter().map(number).collect::<Result<_, _>>()?;
        Ok(Target::Labels(labels.into_iter().collect()))
    }

    fn of_flags(&self, listing: &Listing, listed: &Listed) -> Result<Target, DataError> {
        let mut labels = Vec::new();
        for ((label, name), written) in (0..).zip(&self.names).zip(&listed.labels) {
            let is_true = flag(written).ok_or_else(|| DataError::NotAFlag {
                split: listing.split,
                sample: listed.id.clone(),
                column: name.clone(),
                found: written.clone(),
            })?;
            if is_true {
                labels.push(label);
            }
        }
        Ok(Target::Labels(labels))
    }

    /// Names that look alike are warned of where people write them sample by sample.
    pub(super) fn warnings_of_train(&self, train: &Listing) -> Vec<String> {
        match self.written {
            Written::Lists(_) => class_names::warnings(&train.path, &self.names),
            Written::Flags => Vec::new(),
        }
    }

    pub(super) fn warning<'a>(&self, split: SplitName, targets: impl Iterator<Item = &'a Target>) -> Option<String> {
        let absent = super::absent(&self.names, targets);
        (!absent.is_empty()).then(|| {
            format!(
                "{split}: no sample has {} of {} labels ({}); in macro means they count as 0, and the area under the ROC curve is undefined",
                absent.len(),
                self.names.len(),
                names::enumerate(&absent)
            )
        })
    }

    /// In the order of the network's outputs, if `train` has samples with each of them and without.
    pub(super) fn into_names(self, train: &Split) -> Result<Vec<String>, DataError> {
        let samples = train.len();
        let counts = train.class_counts(self.names.len());
        match self
            .names
            .iter()
            .zip(counts)
            .find(|(_, count)| *count == 0 || *count == samples)
        {
            None => Ok(self.names),
            Some((label, count)) => Err(DataError::ConstantLabel {
                label: label.clone(),
                having: if count == 0 { "no" } else { "each" },
                samples,
            }),
        }
    }
}

/// What people and their tools write for yes and no.
fn flag(written: &str) -> Option<bool> {
    match written {
        "1" | "1.0" | "true" | "True" | "TRUE" => Some(true),
        "0" | "0.0" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

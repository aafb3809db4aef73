//! What the labels of a dataset mean: train fixes it, and the other splits keep to it.
//!
//! A format lists labels as they are written, one text for each label column; here they become what is expected of the network. A kind of task
//! has its own file, and its arm in each match.

mod class_names;
mod classes;
mod label_sets;
mod numbers;
mod tags;

use firn_core::spec::{DataFormat, DataSpec, LabelColumns};
use firn_core::task::regression;

use crate::format::Listing;
use crate::{DataError, Split, Target};
use classes::Classes;
use label_sets::LabelSets;
use numbers::Numbers;
use tags::Tags;

/// As train fixes them.
pub(crate) enum Labels {
    Classes(Classes),
    Numbers(Numbers),
    Sets(LabelSets),
    Tags(Tags),
}

impl Labels {
    /// Of the listing of train, before anything is drawn from it.
    pub(crate) fn of_train(train: &Listing, data: &DataSpec) -> Result<Self, DataError> {
        let label = match &data.format {
            DataFormat::ImageFolder => None,
            DataFormat::Rows(rows) => Some(&rows.label),
        };
        match label {
            Some(LabelColumns::Numbers(columns)) => Ok(Self::Numbers(Numbers::new(columns))),
            Some(LabelColumns::Flags(columns)) => Ok(Self::Sets(LabelSets::of_columns(columns))),
            Some(LabelColumns::List { column, .. }) => LabelSets::of_lists(train, column).map(Self::Sets),
            Some(LabelColumns::Tags(column)) => Tags::of_train(train, data, column).map(Self::Tags),
            Some(LabelColumns::Class(_)) | None => Classes::of_train(train, data).map(Self::Classes),
        }
    }

    /// Those that a network was trained with: of classes or labels these names, in the order of its outputs.
    pub(crate) fn known(names: &[String], data: &DataSpec) -> Self {
        match &data.format {
            DataFormat::ImageFolder => Self::Classes(Classes::known(names)),
            DataFormat::Rows(rows) => match &rows.label {
                LabelColumns::Numbers(columns) => Self::Numbers(Numbers::new(columns)),
                LabelColumns::Flags(columns) => Self::Sets(LabelSets::of_columns(columns)),
                LabelColumns::List { .. } => Self::Sets(LabelSets::known(names)),
                LabelColumns::Tags(column) => Self::Tags(Tags::known(names, column)),
                LabelColumns::Class(_) => Self::Classes(Classes::known(names)),
            },
        }
    }

    /// What is expected of the network for each sample of a listing.
    pub(crate) fn targets(&self, listing: &Listing) -> Result<Vec<Target>, DataError> {
        match self {
            Self::Classes(classes) => classes.targets(listing),
            Self::Numbers(numbers) => numbers.targets(listing),
            Self::Sets(sets) => sets.targets(listing),
            Self::Tags(tags) => tags.targets(listing),
        }
    }

    /// What a person should know of the labels of train.
    pub(crate) fn warnings_of_train(&self, train: &Listing) -> Vec<String> {
        match self {
            Self::Classes(classes) => classes.warnings_of_train(train),
            Self::Numbers(_) => Vec::new(),
            Self::Sets(sets) => sets.warnings_of_train(train),
            Self::Tags(tags) => tags.warnings_of_train(train),
        }
    }

    /// What a person should know of a split other than train.
    pub(crate) fn warnings(&self, listing: &Listing, targets: &[Target]) -> Vec<String> {
        match self {
            Self::Classes(classes) => classes.warnings(listing, targets),
            Self::Numbers(_) => Vec::new(),
            Self::Sets(sets) => sets.warning(listing.split, targets.iter()).into_iter().collect(),
            Self::Tags(tags) => tags.warning(listing.split, targets.iter()).into_iter().collect(),
        }
    }

    /// What a person should know of a split that was drawn from train.
    pub(crate) fn warnings_of_drawn(&self, split: &Split) -> Option<String> {
        match self {
            Self::Classes(classes) => classes.warning_of_drawn(split),
            Self::Numbers(_) => None,
            Self::Sets(sets) => sets.warning(split.name, split.samples.iter().map(|sample| &sample.target)),
            Self::Tags(tags) => tags.warning_of_drawn(split),
        }
    }

    /// What the outputs of the network are, in their order, once `train` is what is trained on: classes or targets.
    pub(crate) fn outputs(self, train: &Split) -> Result<(Vec<String>, Vec<regression::Target>), DataError> {
        match self {
            Self::Classes(classes) => Ok((classes.into_names(), Vec::new())),
            Self::Numbers(numbers) => Ok((Vec::new(), numbers.scales(train)?)),
            Self::Sets(sets) => Ok((sets.into_names(train)?, Vec::new())),
            Self::Tags(tags) => Ok((tags.into_names(), Vec::new())),
        }
    }
}

/// The classes, or labels, of these names that no target has.
fn absent<'a>(names: &[String], targets: impl Iterator<Item = &'a Target>) -> Vec<&str> {
    let mut is_there = vec![false; names.len()];
    for class in targets.flat_map(Target::classes) {
        is_there[*class as usize] = true;
    }
    let classes = names.iter().zip(is_there);
    classes
        .filter(|(_, is_there)| !is_there)
        .map(|(name, _)| name.as_str())
        .collect()
}

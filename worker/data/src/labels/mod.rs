//! What the labels of a dataset mean: train fixes it, and the other splits keep to it.
//!
//! A format lists labels as they are written, one text for each label column; here they become what is expected of the network. A kind of task
//! has its own file, and its arm in each match.

mod class_names;
mod classes;

use firn_core::spec::DataSpec;

use crate::format::Listing;
use crate::{DataError, Split, Target};
use classes::Classes;

/// As train fixes them.
pub(crate) enum Labels {
    Classes(Classes),
}

impl Labels {
    /// Of the listing of train, before anything is drawn from it.
    pub(crate) fn of_train(train: &Listing, data: &DataSpec) -> Result<Self, DataError> {
        Classes::of_train(train, &data.format).map(Self::Classes)
    }

    /// What is expected of the network for each sample of a listing.
    pub(crate) fn targets(&self, listing: &Listing) -> Result<Vec<Target>, DataError> {
        match self {
            Self::Classes(classes) => classes.targets(listing),
        }
    }

    /// What a person should know of the labels of train.
    pub(crate) fn warnings_of_train(&self, train: &Listing) -> Vec<String> {
        match self {
            Self::Classes(classes) => classes.warnings_of_train(train),
        }
    }

    /// What a person should know of a split other than train.
    pub(crate) fn warnings(&self, listing: &Listing, targets: &[Target]) -> Vec<String> {
        match self {
            Self::Classes(classes) => classes.warnings(listing, targets),
        }
    }

    /// What a person should know of a split that was drawn from train.
    pub(crate) fn warnings_of_drawn(&self, split: &Split) -> Option<String> {
        match self {
            Self::Classes(classes) => classes.warning_of_drawn(split),
        }
    }

    /// The names of the classes, in the order of the network's outputs.
    pub(crate) fn into_classes(self) -> Vec<String> {
        match self {
            Self::Classes(classes) => classes.into_names(),
        }
    }
}

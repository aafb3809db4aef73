//! A tag for each word of a text: train names the tags, as it names classes.

use firn_core::spec::DataSpec;
use firn_core::task::tokens::MOST_TAGS;

use super::classes::Classes;
use crate::format::Listing;
use crate::{DataError, Split, SplitName, Target, names};

pub(crate) struct Tags {
    classes: Classes,
    /// The field that holds them.
    column: String,
}

impl Tags {
    pub(super) fn of_train(train: &Listing, data: &DataSpec, column: &str) -> Result<Self, DataError> {
        let tags = Self {
            classes: Classes::of_train(train, data)?,
            column: column.to_owned(),
        };
        match tags.classes.names().len() {
            count if count > MOST_TAGS => Err(DataError::TooManyTags {
                path: train.path.clone(),
                column: column.to_owned(),
                count,
                most: MOST_TAGS,
            }),
            _ => Ok(tags),
        }
    }

    /// Of these names, in the order of the network's outputs.
    pub(super) fn known(names: &[String], column: &str) -> Self {
        Self {
            classes: Classes::known(names),
            column: column.to_owned(),
        }
    }

    pub(super) fn targets(&self, listing: &Listing) -> Result<Vec<Target>, DataError> {
        let target = |listed| {
            let tags = self.classes.numbers_of(listed);
            tags.map(Target::Tags).map_err(|wrong| DataError::UnknownTag {
                split: listing.split,
                column: self.column.as_str().into(),
                tag: wrong.name,
                sample: wrong.sample.into(),
                hint: wrong.hint.into(),
                count: self.classes.names().len(),
                known: names::enumerate(self.classes.names()).into(),
            })
        };
        listing.samples.iter().map(target).collect()
    }

    pub(super) fn warnings_of_train(&self, train: &Listing) -> Vec<String> {
        self.classes.warnings_of_train(train)
    }

    /// Of a tag that no word has nothing is measured.
    pub(super) fn warning<'a>(&self, split: SplitName, targets: impl Iterator<Item = &'a Target>) -> Option<String> {
        let absent = super::absent(self.classes.names(), targets);
        (!absent.is_empty()).then(|| {
            format!(
                "{split}: no word has {} of {} tags ({})",
                absent.len(),
                self.classes.names().len(),
                names::enumerate(&absent)
            )
        })
    }

    pub(super) fn warning_of_drawn(&self, split: &Split) -> Option<String> {
        self.warning(split.name, split.samples.iter().map(|sample| &sample.target))
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.classes.into_names()
    }
}

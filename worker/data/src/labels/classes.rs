//! One class for each sample: train names the classes, another split may not add one.

use std::collections::{HashMap, HashSet};

use firn_core::spec::{DataFormat, DataSpec};

use super::class_names;
use crate::format::{EmptyClass, Listed, Listing};
use crate::{DataError, Split, Target, names};

pub(crate) struct Classes {
    /// In the order of the network's outputs.
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Classes {
    pub(super) fn of_train(train: &Listing, data: &DataSpec) -> Result<Self, DataError> {
        if let Some(class) = train.empty_classes.first() {
            return Err(DataError::EmptyClass {
                class: class.name.clone(),
                path: train.path.join(&class.name),
                hint: class.unread.clone(),
            });
        }
        let mut names: Vec<String> = train.samples.iter().map(|listed| class_of(listed).to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        // Folders keep ImageFolder's order, so that a head trained there still fits; a table's ratings 1 to 10 read better by value.
        if !matches!(data.format, DataFormat::ImageFolder) {
            names::sort_labels(&mut names);
        }
        if let [class] = &names[..] {
            return Err(DataError::OneClass {
                path: train.path.clone(),
                class: class.clone(),
            });
        }
        match &data.classes[..] {
            [] => Ok(Self::known(&names)),
            order => Self::in_order(order, &names, train),
        }
    }

    /// In the order of the spec, which has to name those of train, and no others.
    fn in_order(order: &[String], found: &[String], train: &Listing) -> Result<Self, DataError> {
        let present: HashSet<&String> = found.iter().collect();
        if let Some(class) = order.iter().find(|class| !present.contains(class)) {
            return Err(DataError::AbsentClass {
                class: class.clone(),
                hint: names::suggestion(class, found),
                known: names::enumerate(found),
            });
        }
        let named: HashSet<&str> = order.iter().map(String::as_str).collect();
        let mut samples = train.samples.iter();
        if let Some(listed) = samples.find(|listed| !named.contains(class_of(listed))) {
            return Err(DataError::UnlistedClass {
                class: class_of(listed).to_owned(),
                sample: listed.id.clone(),
                hint: names::suggestion(class_of(listed), order),
            });
        }
        Ok(Self::known(order))
    }

    /// Of these names, in the order of the network's outputs.
    pub(super) fn known(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            numbers: names.iter().cloned().zip(0..).collect(),
        }
    }

    pub(super) fn targets(&self, listing: &Listing) -> Result<Vec<Target>, DataError> {
        let target = |listed: &Listed| match self.numbers.get(class_of(listed)) {
            Some(&class) => Ok(Target::Class(class)),
            None => Err(DataError::UnknownClass {
                split: listing.split,
                hint: class_names::hint(class_of(listed), &self.names),
                class: class_of(listed).to_owned(),
                sample: listed.id.clone(),
                count: self.names.len(),
                known: names::enumerate(&self.names),
            }),
        };
        listing.samples.iter().map(target).collect()
    }

    pub(super) fn warnings_of_train(&self, train: &Listing) -> Vec<String> {
        class_names::warnings(&train.path, &self.names)
    }

    pub(super) fn warnings(&self, listing: &Listing, targets: &[Target]) -> Vec<String> {
        let split = listing.split;
        let empty = listing.empty_classes.iter();
        let sentence =
            |class: &EmptyClass| format!("{split}: class folder `{}` holds no images{}", class.name, class.unread);
        let empty = empty.map(sentence);
        empty.chain(self.absent_class_warning(listing, targets)).collect()
    }

    /// scikit-learn's macro means count such a class as 0, which surprises.
    fn absent_class_warning(&self, listing: &Listing, targets: &[Target]) -> Option<String> {
        let absent = super::absent(&self.names, targets.iter());
        (!absent.is_empty()).then(|| {
            format!(
                "{}: no sample of {} of {} classes ({}); in macro means they count as 0",
                listing.split,
                absent.len(),
                self.names.len(),
                names::enumerate(&absent)
            )
        })
    }

    pub(super) fn warning_of_drawn(&self, split: &Split) -> Option<String> {
        let absent = super::absent(&self.names, split.samples.iter().map(|sample| &sample.target));
        (!absent.is_empty()).then(|| {
            format!(
                "{}: too few samples in train to draw from: {}",
                split.name,
                names::enumerate(&absent)
            )
        })
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}

/// A folder's name, or the text of the one label column.
fn class_of(listed: &Listed) -> &str {
    listed.labels.first().map_or("", String::as_str)
}

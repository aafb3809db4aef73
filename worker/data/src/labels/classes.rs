//! Classes: train names them, another split may not add one. One for each sample here; of words, see `tags`.

use std::collections::{BTreeSet, HashMap, HashSet};

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
        let names: BTreeSet<&String> = train.samples.iter().flat_map(|listed| &listed.labels).collect();
        let mut names: Vec<String> = names.into_iter().cloned().collect();
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
        let mut labels = train
            .samples
            .iter()
            .flat_map(|listed| listed.labels.iter().map(move |class| (listed, class)));
        match labels.find(|(_, class)| !named.contains(class.as_str())) {
            Some((listed, class)) => Err(DataError::UnlistedClass {
                class: class.clone(),
                sample: listed.id.clone(),
                hint: names::suggestion(class, order),
            }),
            None => Ok(Self::known(order)),
        }
    }

    /// Of these names, in the order of the network's outputs.
    pub(super) fn known(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            numbers: names.iter().cloned().zip(0..).collect(),
        }
    }

    pub(super) fn targets(&self, listing: &Listing) -> Result<Vec<Target>, DataError> {
        let target = |listed: &Listed| {
            let numbers = self.numbers_of(listed).map_err(|wrong| DataError::UnknownClass {
                split: listing.split,
                hint: wrong.hint,
                class: wrong.name,
                sample: wrong.sample,
                count: self.names.len(),
                known: names::enumerate(&self.names),
            })?;
            Ok(Target::Class(numbers.first().copied().unwrap_or_default()))
        };
        listing.samples.iter().map(target).collect()
    }

    /// Of each label of a sample.
    pub(super) fn numbers_of(&self, listed: &Listed) -> Result<Vec<u32>, Unknown> {
        let number = |name: &String| {
            self.numbers.get(name).copied().ok_or_else(|| Unknown {
                hint: class_names::hint(name, &self.names),
                name: name.clone(),
                sample: listed.id.clone(),
            })
        };
        listed.labels.iter().map(number).collect()
    }

    /// In the order of the network's outputs.
    pub(super) fn names(&self) -> &[String] {
        &self.names
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

/// A name that no output has.
pub(super) struct Unknown {
    pub(super) name: String,
    /// The first sample that has it.
    pub(super) sample: String,
    /// One of the names that it looks like; empty if none does.
    pub(super) hint: String,
}

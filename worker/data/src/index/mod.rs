//! Finds the samples of a dataset, fixes its classes, and refuses what cannot be trained on.
//!
//! A format only lists one split ([`Listing`]). What the lists mean together is decided here, once for all formats: train fixes the classes, another split may not add one, and a split without samples is an error, because a
//! metric over nothing is worse than none.

mod class_names;
mod duplicates;
mod fraction;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use firn_core::spec::{DataFormat, DataSpec, SplitSource};

use crate::format::{self, EmptyClass, Listing};
use crate::{DataError, Dataset, Sample, Split, SplitName, Target, names};

/// Indexes a dataset: reads folders or tables, fixes the classes by train, and draws the splits that are fractions of train.
///
/// `seed` only matters for such fractions. Image files are not opened here; see [`crate::scan`].
///
/// # Errors
///
/// Everything that makes the data unusable, with its place; see [`DataError`].
pub fn index(data: &DataSpec, seed: u64) -> Result<Dataset, DataError> {
    let train = format::list(data, SplitName::Train, Path::new(&data.train))?;
    let mut warnings = passed_over_warnings(&train);
    let classes = classes_of_train(&train, &data.format)?;
    warnings.extend(class_names::warnings(&train.path, &classes));
    let numbers: BTreeMap<&str, u32> = (0u32..)
        .zip(&classes)
        .map(|(number, class)| (class.as_str(), number))
        .collect();
    let mut train = number(train, &classes, &numbers)?;

    let mut drawn = fraction::draw(&mut train, data, &classes, seed, &mut warnings)?;
    let mut other = |name: SplitName, source: &Option<SplitSource>| -> Result<Option<Split>, DataError> {
        match source {
            None => Ok(None),
            Some(SplitSource::FractionOfTrain(_)) => Ok(drawn.remove(&name)),
            Some(SplitSource::Path(path)) => {
                let listing = format::list(data, name, Path::new(path))?;
                warnings.extend(passed_over_warnings(&listing));
                warnings.extend(empty_class_warnings(&listing));
                let split = number(listing, &classes, &numbers)?;
                warnings.extend(absent_class_warning(&split, &classes));
                Ok(Some(split))
            }
        }
    };
    let validation = other(SplitName::Validation, &data.validation)?;
    let test = other(SplitName::Test, &data.test)?;
    warnings.extend(duplicates::warnings(&train, validation.as_ref(), test.as_ref()));
    Ok(Dataset {
        classes,
        train: Arc::new(train),
        validation: validation.map(Arc::new),
        test: test.map(Arc::new),
        warnings,
    })
}

/// The class list, in the order of the network's outputs.
fn classes_of_train(train: &Listing, format: &DataFormat) -> Result<Vec<String>, DataError> {
    if let Some(class) = train.empty_classes.first() {
        return Err(DataError::EmptyClass {
            class: class.name.clone(),
            path: train.path.join(&class.name),
            hint: class.unread.clone(),
        });
    }
    let mut classes: Vec<String> = train.samples.iter().map(|sample| sample.class.clone()).collect();
    classes.sort_unstable();
    classes.dedup();
    // Folders keep ImageFolder's order, so that a head trained there still fits; a table's ratings 1 to 10 read better by value.
    if !matches!(format, DataFormat::ImageFolder) {
        names::sort_labels(&mut classes);
    }
    match &classes[..] {
        [] => Err(empty_split(train)),
        [class] => Err(DataError::OneClass {
            path: train.path.clone(),
            class: class.clone(),
        }),
        _ => Ok(classes),
    }
}

fn number(listing: Listing, classes: &[String], numbers: &BTreeMap<&str, u32>) -> Result<Split, DataError> {
    if listing.samples.is_empty() {
        return Err(empty_split(&listing));
    }
    let split = listing.split;
    let samples = listing
        .samples
        .into_iter()
        .map(|listed| match numbers.get(listed.class.as_str()) {
            Some(&class) => Ok(Sample {
                id: listed.id,
                target: Target::Class(class),
                source: listed.source,
            }),
            None => Err(DataError::UnknownClass {
                split,
                hint: class_names::hint(&listed.class, classes),
                class: listed.class,
                sample: listed.id,
                count: classes.len(),
                known: names::enumerate(classes),
            }),
        });
    Ok(Split {
        name: split,
        samples: samples.collect::<Result<_, _>>()?,
    })
}

fn empty_split(listing: &Listing) -> DataError {
    let hint: String = listing
        .passed_over
        .iter()
        .map(|sentence| format!("; {sentence}"))
        .collect();
    DataError::EmptySplit {
        split: listing.split,
        path: listing.path.clone(),
        hint,
    }
}

fn passed_over_warnings(listing: &Listing) -> Vec<String> {
    let warning = |sentence| format!("{}: {sentence}", listing.split);
    listing.passed_over.iter().map(warning).collect()
}

fn empty_class_warnings(listing: &Listing) -> Vec<String> {
    let classes = listing.empty_classes.iter();
    let sentence = |class: &EmptyClass| {
        format!(
            "{}: class folder `{}` holds no images{}",
            listing.split, class.name, class.unread
        )
    };
    classes.map(sentence).collect()
}

/// scikit-learn's macro means count such a class as 0, which surprises.
fn absent_class_warning(split: &Split, classes: &[String]) -> Option<String> {
    let counts = split.class_counts(classes.len());
    let absent: Vec<String> = classes
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count == 0)
        .map(|(class, _)| class.clone())
        .collect();
    if absent.is_empty() {
        return None;
    }
    let names = names::enumerate(&absent);
    Some(format!(
        "{}: no sample of {} of {} classes ({names}); in macro means they count as 0",
        split.name,
        absent.len(),
        classes.len()
    ))
}

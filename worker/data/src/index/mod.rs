//! Finds the samples of a dataset, joins its splits, and refuses what cannot be trained on.
//!
//! A format only lists one split ([`Listing`]). What the lists mean together is decided here, once for all formats: train fixes what the
//! labels mean, and a split without samples is an error, because a metric over nothing is worse than none.

mod duplicates;
mod fraction;

use std::path::Path;
use std::sync::Arc;

use firn_core::compatibility::DataRules;
use firn_core::spec::{DataFormat, DataSpec, LabelColumns, MissingLabels, SplitSource};

use crate::format::{self, Listed, Listing};
use crate::labels::Labels;
use crate::{DataError, Dataset, Sample, Split, SplitName, Target};

/// Indexes a dataset: reads folders or tables, fixes the labels by train, and draws the splits that are fractions of train.
///
/// `seed` only matters for such fractions. Image files are not opened here; see [`crate::scan`].
///
/// # Errors
///
/// Everything that makes the data unusable, with its place; see [`DataError`].
pub fn index(data: &DataSpec, seed: u64) -> Result<Dataset, DataError> {
    index_by(DataRules::Current, data, seed)
}

/// The same by the rules under which a job began.
///
/// # Errors
///
/// As [`index`].
pub fn index_by(rules: DataRules, data: &DataSpec, seed: u64) -> Result<Dataset, DataError> {
    let list = |split, path: &str| format::list(data, rules, split, Path::new(path));
    let train = list(SplitName::Train, &data.train)?;
    let mut warnings = passed_over_warnings(&train);
    if train.samples.is_empty() && train.empty_classes.is_empty() {
        return Err(empty_split(&train));
    }
    let labels = Labels::of_train(&train, data)?;
    warnings.extend(labels.warnings_of_train(&train));
    let mut train = split_of(train, &labels, &mut warnings)?;

    let mut drawn = fraction::draw(&mut train, data, &labels, seed, &mut warnings)?;
    let mut other = |name: SplitName, source: &Option<SplitSource>| -> Result<Option<Split>, DataError> {
        match source {
            None => Ok(None),
            Some(SplitSource::FractionOfTrain(_)) => Ok(drawn.remove(&name)),
            Some(SplitSource::Path(path)) => {
                let listing = list(name, path)?;
                warnings.extend(passed_over_warnings(&listing));
                split_of(listing, &labels, &mut warnings).map(Some)
            }
        }
    };
    let validation = other(SplitName::Validation, &data.validation)?;
    let test = other(SplitName::Test, &data.test)?;
    warnings.extend(duplicates::warnings(&train, validation.as_ref(), test.as_ref()));
    let (classes, targets) = labels.outputs(&train)?;
    Ok(Dataset {
        classes,
        targets,
        train: Arc::new(train),
        validation: validation.map(Arc::new),
        test: test.map(Arc::new),
        warnings,
    })
}

/// What a network knows of the labels: what it was trained with.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Names of classes or labels, in the order of its outputs; of a regression empty.
    pub classes: &'a [String],
}

/// Reads what lies at `path` in the format of `data` as a split of its own, and gives it with what a person should know. Its labels are among
/// those that are `known`; with `None` no label is read, and every target is empty. A row whose input is missing is a sample that cannot be used.
///
/// # Errors
///
/// As [`index`]; a label that is not known.
pub fn read_split(data: &DataSpec, known: Option<Known<'_>>, path: &Path) -> Result<(Split, Vec<String>), DataError> {
    let mut data = data.clone();
    // Nobody who asks for predictions wants rows to be left out, or none because of one.
    data.missing_labels = data.missing_labels.map(|rule| match rule {
        MissingLabels::Drop => MissingLabels::Error,
        kept => kept,
    });
    data.quarantine.max_samples = u32::MAX;
    if let (None, DataFormat::Rows(rows)) = (known, &mut data.format) {
        rows.label = LabelColumns::Numbers(Vec::new());
    }
    let listing = format::list(&data, DataRules::Current, SplitName::Test, path)?;
    let mut warnings = passed_over_warnings(&listing);
    let classes = known.map_or(&[][..], |known| known.classes);
    let split = split_of(listing, &Labels::known(classes, &data), &mut warnings)?;
    Ok((split, warnings))
}

/// A listing becomes a split once it is known what its labels mean.
fn split_of(listing: Listing, labels: &Labels, warnings: &mut Vec<String>) -> Result<Split, DataError> {
    if listing.samples.is_empty() {
        return Err(empty_split(&listing));
    }
    let targets = labels.targets(&listing)?;
    if listing.split != SplitName::Train {
        warnings.extend(labels.warnings(&listing, &targets));
    }
    let sample = |(listed, target): (Listed, Target)| Sample {
        id: listed.id,
        target,
        source: listed.source,
    };
    Ok(Split {
        name: listing.split,
        samples: listing.samples.into_iter().zip(targets).map(sample).collect(),
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

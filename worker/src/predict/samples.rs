//! What is to be predicted: found where a person points, with its labels if it has them.

use std::{
    io::{self, BufRead as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use firn_core::spec::{DataFormat, InputColumn, Modality, Task};
use firn_data::{DataError, Known, Sample, Source, Split, SplitName, Target};

use super::artifact::Artifact;

/// Samples that were found.
pub(super) struct Found {
    pub(super) split: Arc<Split>,
    pub(super) labelled: bool,
    pub(super) warnings: Vec<String>,
}

/// Looks at `place`: `-` is standard input.
pub(super) fn find(artifact: &Artifact, place: &Path, must_be_labelled: bool) -> anyhow::Result<Found> {
    let modality = artifact.spec.data.format.modality();
    let is_folder = place.is_dir();
    let unlabelled = match modality {
        Modality::Text if place == Path::new("-") => Some(texts()?),
        Modality::Text if is_folder => bail!("{}: expected a file of texts, found a folder", place.display()),
        Modality::Image if place == Path::new("-") => {
            bail!("standard input holds texts, and this network takes images: name a file or a folder")
        }
        Modality::Image if is_one_image(artifact, place) => Some(one_image(place)?),
        Modality::Image if is_folder && !has_class_folders(artifact, place) => Some(firn_data::images_below(place)?),
        _ => None,
    };
    match unlabelled {
        Some(_) if must_be_labelled => bail!("{}: expected samples with labels, found none", place.display()),
        Some(split) => Ok(Found {
            split: Arc::new(without_labels(artifact, split)),
            labelled: false,
            warnings: Vec::new(),
        }),
        None => rows(artifact, place, must_be_labelled),
    }
}

/// A table, JSON lines, or folders of classes. Labels that it lacks altogether are left out; one that is wrong is an error.
fn rows(artifact: &Artifact, place: &Path, must_be_labelled: bool) -> anyhow::Result<Found> {
    let data = &artifact.spec.data;
    let known = Known {
        classes: &artifact.classes,
    };
    let ((split, warnings), labelled) = match firn_data::read_split(data, Some(known), place) {
        Err(error) if !must_be_labelled && lacks_labels(&error) => (firn_data::read_split(data, None, place)?, false),
        indexed => (indexed?, true),
    };
    let split = match labelled {
        true => split,
        false => without_labels(artifact, split),
    };
    Ok(Found {
        split: Arc::new(split),
        labelled,
        warnings,
    })
}

/// With what the task expects in the place of labels, which nobody reads.
fn without_labels(artifact: &Artifact, mut split: Split) -> Split {
    let nothing = match artifact.spec.task {
        Task::Classification => Target::Class(0),
        Task::Regression => Target::Numbers(vec![0.0; artifact.targets.len()]),
        Task::MultiLabel => Target::Labels(Vec::new()),
    };
    split
        .samples
        .iter_mut()
        .for_each(|sample| sample.target = nothing.clone());
    split
}

/// Whether a label column is not there at all.
fn lacks_labels(error: &DataError) -> bool {
    match error {
        DataError::MissingColumn { role, .. } => *role == "label",
        DataError::Rows {
            faults, count, rows, ..
        } => count == rows && faults.iter().all(|fault| fault.error.is_missing_field("label")),
        _ => false,
    }
}

/// Of an image network, a file that is no table.
fn is_one_image(artifact: &Artifact, place: &Path) -> bool {
    let is_table = matches!(
        &artifact.spec.data.format,
        DataFormat::Rows(rows) if matches!(rows.input, InputColumn::Image { .. })
    );
    place.is_file() && (!is_table || firn_data::has_image_name(place))
}

/// Whether a folder holds nothing but folders that are named like classes, as the job's own data did.
fn has_class_folders(artifact: &Artifact, place: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(place) else {
        return false;
    };
    let mut visible = entries
        .flatten()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .peekable();
    let is_class = |name: &str| artifact.classes.iter().any(|class| class == name);
    visible.peek().is_some()
        && visible.all(|entry| entry.path().is_dir() && is_class(&entry.file_name().to_string_lossy()))
}

fn one_image(place: &Path) -> anyhow::Result<Split> {
    let size = std::fs::metadata(place)
        .with_context(|| format!("cannot read {}", place.display()))?
        .len();
    let name = place.file_name().unwrap_or(place.as_os_str());
    Ok(of(vec![Sample {
        id: name.to_string_lossy().into_owned(),
        target: Target::Labels(Vec::new()),
        source: Source::File {
            path: place.to_owned(),
            size,
        },
    }]))
}

/// Each line of standard input that is not blank.
fn texts() -> anyhow::Result<Split> {
    let mut samples = Vec::new();
    for (number, line) in (1u64..).zip(io::stdin().lock().lines()) {
        let text = line.with_context(|| format!("standard input, line {number}"))?;
        if text.trim().is_empty() {
            continue;
        }
        samples.push(Sample {
            id: format!("stdin:{number}"),
            target: Target::Labels(Vec::new()),
            source: Source::Text(text),
        });
    }
    if samples.is_empty() {
        bail!("standard input holds no text");
    }
    Ok(of(samples))
}

fn of(samples: Vec<Sample>) -> Split {
    Split {
        name: SplitName::Test,
        samples,
    }
}

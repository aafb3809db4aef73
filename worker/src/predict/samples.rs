//! What is to be predicted: found where a person points, with its labels if it has them.

use std::{
    io::{self, BufRead as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use firn_core::spec::{DataFormat, DataSpec, InputColumn, LabelColumns, Modality, Task};
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
    let (split, warnings) = match modality {
        Modality::Text if place == Path::new("-") => (texts(&artifact.spec.data.format)?, Vec::new()),
        Modality::Text if is_folder => bail!("{}: expected a file of texts, found a folder", place.display()),
        Modality::Image if place == Path::new("-") => {
            bail!("standard input holds texts, and this network takes images: name a file or a folder")
        }
        Modality::Image if is_one_image(artifact, place) => (one_image(place)?, Vec::new()),
        Modality::Image if is_folder && !has_classes(artifact, place, must_be_labelled) => {
            firn_data::images_below(place)?
        }
        _ => return rows(artifact, place, must_be_labelled),
    };
    if must_be_labelled {
        bail!("{}: expected samples with labels, found none", place.display());
    }
    Ok(Found {
        split: Arc::new(without_labels(artifact, split)),
        labelled: false,
        warnings,
    })
}

/// A table, JSON lines, or folders of classes. Labels that it lacks altogether are left out; one that is wrong is an error.
fn rows(artifact: &Artifact, place: &Path, must_be_labelled: bool) -> anyhow::Result<Found> {
    let data = &artifact.spec.data;
    let known = Known {
        classes: &artifact.outputs.classes,
    };
    let ((split, warnings), labelled) = match firn_data::read_split(data, Some(known), place) {
        Err(error) if !must_be_labelled && lacks_labels(&error) && lacks_each_label(data, place) => {
            (firn_data::read_split(data, None, place)?, false)
        }
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
    for sample in &mut split.samples {
        sample.target = match (artifact.spec.task, &sample.source) {
            (Task::Classification, _) => Target::Class(0),
            (Task::Regression, _) => Target::Numbers(vec![0.0; artifact.outputs.targets.len()]),
            (Task::MultiLabel(_), _) => Target::Labels(Vec::new()),
            (Task::Tokens, Source::Words(words)) => Target::Tags(vec![0; words.len()]),
            (Task::Tokens, _) => Target::Tags(Vec::new()),
        };
    }
    split
}

/// Whether a label column is not there at all, or holds nothing.
fn lacks_labels(error: &DataError) -> bool {
    match error {
        DataError::MissingColumn { role, .. } => *role == "label",
        DataError::Rows {
            faults, count, rows, ..
        } => count == rows && faults.iter().all(|fault| fault.error.is_missing_label()),
        _ => false,
    }
}

/// Whether that is so of every label column: of several, one that is misspelt is no reason to leave the others out.
fn lacks_each_label(data: &DataSpec, place: &Path) -> bool {
    let DataFormat::Rows(rows) = &data.format else {
        return false;
    };
    let is_lacking = |name: &String| {
        let mut alone = data.clone();
        if let DataFormat::Rows(rows) = &mut alone.format {
            rows.label = match &rows.label {
                LabelColumns::Tags(_) => LabelColumns::Tags(name.clone()),
                _ => LabelColumns::Numbers(vec![name.clone()]),
            };
        }
        let read = firn_data::read_split(&alone, Some(Known { classes: &[] }), place);
        read.is_err_and(|error| lacks_labels(&error))
    };
    rows.label.names().iter().all(is_lacking)
}

/// Of an image network, a file that is no table.
fn is_one_image(artifact: &Artifact, place: &Path) -> bool {
    let is_table = matches!(
        &artifact.spec.data.format,
        DataFormat::Rows(rows) if matches!(rows.input, InputColumn::Image { .. })
    );
    place.is_file() && (!is_table || firn_data::has_image_name(place))
}

/// Whether a folder holds folders of classes, as the job's own data did: one at least that is named like a class, or whatever it holds if it must.
fn has_classes(artifact: &Artifact, place: &Path, must_be_labelled: bool) -> bool {
    if !matches!(artifact.spec.data.format, DataFormat::ImageFolder) {
        return false;
    }
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let mut folders = entries.filter(|entry| entry.path().is_dir());
    let is_class = |name: &str| artifact.outputs.classes.iter().any(|class| class == name);
    must_be_labelled || folders.any(|entry| is_class(&entry.file_name().to_string_lossy()))
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

/// Two texts of a line.
fn pair(line: &str) -> anyhow::Result<Source> {
    match line.split('\t').map(str::trim).collect::<Vec<_>>()[..] {
        [first, second] if !first.is_empty() && !second.is_empty() => {
            Ok(Source::TextPair([first, second].map(str::to_owned)))
        }
        ref fields => bail!(
            "expected two texts with a tab between them, found {} field(s)",
            fields.len()
        ),
    }
}

/// What a line holds: a text, two with a tab between them, or words with spaces between them.
fn source(format: &DataFormat, line: String) -> anyhow::Result<Source> {
    if format.has_words() {
        let words = line.split_whitespace().map(str::to_owned);
        return Ok(Source::Words(words.collect()));
    }
    match format.has_pairs() {
        true => pair(&line),
        false => Ok(Source::Text(line)),
    }
}

/// Each line of standard input that is not blank.
fn texts(format: &DataFormat) -> anyhow::Result<Split> {
    let mut samples = Vec::new();
    for (number, line) in (1u64..).zip(io::stdin().lock().lines()) {
        let text = line.with_context(|| format!("standard input, line {number}"))?;
        if text.trim().is_empty() {
            continue;
        }
        samples.push(Sample {
            id: format!("stdin:{number}"),
            target: Target::Labels(Vec::new()),
            source: source(format, text).with_context(|| format!("standard input, line {number}"))?,
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

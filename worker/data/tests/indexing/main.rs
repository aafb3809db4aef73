//! What an index says about data that is in order.

#![allow(clippy::unwrap_used)]

mod images;
mod splits;
mod tables;

use std::fs;
use std::path::Path;

use firn_core::spec::{DataFormat, DataSpec, Preprocessing, QuarantineSpec, RowLayout, SplitSource};
use firn_data::{Sample, Source, Split, Target};

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn spec(root: &Path, format: DataFormat) -> DataSpec {
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    DataSpec {
        format,
        missing_labels: None,
        classes: Vec::new(),
        train: path("train"),
        validation: root.join("val").exists().then(|| SplitSource::Path(path("val"))),
        test: root.join("test").exists().then(|| SplitSource::Path(path("test"))),
        preprocessing: Preprocessing::Text { max_length: None },
        augmentation: None,
        quarantine: QuarantineSpec { max_samples: 0 },
    }
}

fn csv() -> DataFormat {
    DataFormat::texts(
        RowLayout::Delimited {
            delimiter: ',',
            quoted: true,
        },
        "text",
        "label",
    )
}

fn ids(split: &Split) -> Vec<&str> {
    split.samples.iter().map(|sample| sample.id.as_str()).collect()
}

fn texts(split: &Split) -> Vec<(&str, u32)> {
    let text = |sample| match sample {
        &Sample {
            target: Target::Class(label),
            source: Source::Text(ref text),
            ..
        } => (text.as_str(), label),
        Sample { id, .. } => panic!("{id} is no text"),
    };
    split.samples.iter().map(text).collect()
}

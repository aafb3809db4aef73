//! Tables whose labels are numbers: what an index makes of them, and what cannot be learned.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use firn_core::spec::{
    DataFormat, DataSpec, LabelColumns, MissingLabels, Preprocessing, QuarantineSpec, RowLayout, SplitSource,
};
use firn_data::{Dataset, Split, index};

fn spec(train: &Path, format: DataFormat, validation: Option<SplitSource>) -> DataSpec {
    DataSpec {
        format,
        missing_labels: Some(MissingLabels::Error),
        classes: Vec::new(),
        train: train.to_str().unwrap().to_owned(),
        validation,
        test: None,
        preprocessing: Preprocessing::Text { max_length: None },
        augmentation: None,
        quarantine: QuarantineSpec { max_samples: 0 },
    }
}

fn targets(names: &[&str]) -> LabelColumns {
    LabelColumns::Numbers(names.iter().map(|name| (*name).to_owned()).collect())
}

fn table(names: &[&str]) -> DataFormat {
    DataFormat::texts(
        RowLayout::Delimited {
            delimiter: ',',
            quoted: true,
        },
        "text",
        targets(names),
    )
}

fn numbers(split: &Split) -> Vec<&[f64]> {
    split.samples.iter().map(|sample| sample.target.numbers()).collect()
}

fn scales(dataset: &Dataset) -> Vec<(&str, f64, f64)> {
    let targets = dataset.targets.iter();
    targets
        .map(|target| (target.name.as_str(), target.mean, target.std))
        .collect()
}

#[test]
fn numbers_are_read_in_the_order_of_the_spec_and_scaled_by_train() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train.csv");
    fs::write(&train, "price,text,age\n 1e3 ,a,7\n\"3000\",b,-1\n").unwrap();
    let validation = folder.path().join("validation.csv");
    fs::write(&validation, "text,age,price\nc,5,0.25\n").unwrap();
    let source = SplitSource::Path(validation.to_str().unwrap().to_owned());
    let dataset = index(&spec(&train, table(&["age", "price"]), Some(source)), 0).unwrap();
    assert_eq!(numbers(&dataset.train), [[7.0, 1000.0], [-1.0, 3000.0]]);
    assert_eq!(numbers(dataset.validation.as_ref().unwrap()), [[5.0, 0.25]]);
    assert_eq!(scales(&dataset), [("age", 3.0, 4.0), ("price", 2000.0, 1000.0)]);
    assert!(
        dataset.classes.is_empty() && dataset.warnings.is_empty(),
        "{:?}",
        dataset.warnings
    );
}

#[test]
fn json_numbers_keep_all_their_digits() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train.jsonl");
    fs::write(
        &train,
        "{\"text\":\"a\",\"y\":0.1}\n{\"text\":\"b\",\"y\":\"-2.5e-3\"}\n{\"text\":\"c\",\"y\":3}\n",
    )
    .unwrap();
    let format = DataFormat::texts(RowLayout::JsonLines, "text", targets(&["y"]));
    let dataset = index(&spec(&train, format, None), 0).unwrap();
    assert_eq!(numbers(&dataset.train), [[0.1], [-2.5e-3], [3.0]]);
}

#[test]
fn what_is_drawn_for_validation_has_no_part_in_the_scale() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train.csv");
    let rows: String = (0..50).map(|row| format!("t{row},{}\n", row * row)).collect();
    fs::write(&train, format!("text,y\n{rows}")).unwrap();
    let dataset = index(&spec(&train, table(&["y"]), Some(SplitSource::FractionOfTrain(0.2))), 4).unwrap();
    assert_eq!(
        (dataset.train.len(), dataset.validation.as_ref().unwrap().len()),
        (40, 10)
    );
    let left = numbers(&dataset.train);
    let mean = left.iter().map(|row| row[0]).sum::<f64>() / 40.0;
    assert!((dataset.targets[0].mean - mean).abs() < 1e-9);
}

#[test]
fn what_cannot_be_learned_is_refused_with_its_place() {
    let cases = [
        (
            "text,y\na,1\nb,two\n",
            "train: train.csv:3: expected a number within ±1e100 in `y`, found `two`",
        ),
        (
            "text,y\na,1\nb,NaN\n",
            "train.csv:3: the label (`y`) is `NaN`, a missing value; data.missingLabels can leave such rows out",
        ),
        (
            "text,y\na,-inf\nb,2\nc,inf\n",
            "train: train.csv:2: expected a number within ±1e100 in `y`, found `-inf`; 2 of 3 values are none",
        ),
        (
            "text,y\na,1\nb,1e300\n",
            "train: train.csv:3: expected a number within ±1e100 in `y`, found `1e300`",
        ),
        ("text,y\na,1,5\n", "expected 2 as in the header"),
        ("text,y\na,1\nb,\n", "the label (`y`) is empty"),
        ("text,z\na,1\n", "no column `y` for the label"),
        (
            "text,y\na,0.1\nb,0.10\nc,1e-1\n",
            "train: `y` is 0.1 for each of 3 samples, so there is nothing to learn of it",
        ),
        ("text,y\n", "holds no samples"),
    ];
    for (content, message) in cases {
        let folder = tempfile::tempdir().unwrap();
        let train = folder.path().join("train.csv");
        fs::write(&train, content).unwrap();
        let error = index(&spec(&train, table(&["y"]), None), 0).unwrap_err().to_string();
        assert!(error.contains(message), "{content:?}: {error}");
    }
}

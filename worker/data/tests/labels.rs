//! Tables whose samples may have several labels: what an index makes of them, and what cannot be learned.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use firn_core::spec::{
    DataFormat, DataSpec, LabelColumns, MissingLabels, Preprocessing, QuarantineSpec, RowLayout, SplitSource,
};
use firn_data::{Dataset, Split, index};

const CSV: RowLayout = RowLayout::Delimited {
    delimiter: ',',
    quoted: true,
};

fn lists(separator: char) -> LabelColumns {
    let column = "genres".to_owned();
    LabelColumns::List { column, separator }
}

fn flags(names: &[&str]) -> LabelColumns {
    LabelColumns::Flags(names.iter().map(|name| (*name).to_owned()).collect())
}

/// Indexes these texts as train and, if there is a second one, validation.
fn indexed(layout: RowLayout, labels: LabelColumns, splits: &[&str]) -> Result<Dataset, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, text) in ["train", "validation"].iter().zip(splits) {
        fs::write(path(name), text).unwrap();
    }
    let spec = DataSpec {
        format: DataFormat::texts(layout, "text", labels),
        missing_labels: Some(MissingLabels::Error),
        classes: Vec::new(),
        train: path("train"),
        validation: splits.get(1).map(|_| SplitSource::Path(path("validation"))),
        test: None,
        preprocessing: Preprocessing::Text { max_length: None },
        augmentation: None,
        quarantine: QuarantineSpec { max_samples: 0 },
    };
    index(&spec, 0).map_err(|error| error.to_string().replace(&without_name(folder.path()), ""))
}

fn without_name(folder: &Path) -> String {
    format!("{}/", folder.display())
}

fn labels(split: &Split) -> Vec<&[u32]> {
    split.samples.iter().map(|sample| sample.target.classes()).collect()
}

#[test]
fn lists_are_named_by_train_and_may_be_empty_or_repeat_themselves() {
    let train = "text,genres\na,war|drama\nb,\nc, drama | | drama \nd,comedy\n";
    let dataset = indexed(CSV, lists('|'), &[train, "text,genres\ne,drama\n"]).unwrap();
    assert_eq!(dataset.classes, ["comedy", "drama", "war"]);
    assert_eq!(labels(&dataset.train), [&[1, 2][..], &[], &[1], &[0]]);
    assert_eq!(dataset.train.class_counts(3), [1, 2, 1]);
    let warning = "validation: no sample has 2 of 3 labels (`comedy`, `war`); in macro means they count as 0, and the area under \
                   the ROC curve is undefined";
    assert_eq!(dataset.warnings, [warning]);
}

#[test]
fn json_lines_have_arrays_or_texts_of_labels() {
    let train = r#"{"text": "a", "genres": ["war", "drama"]}
{"text": "b", "genres": [""]}
{"text": "c", "genres": "drama;7"}
{"text": "d", "genres": [7]}
"#;
    let dataset = indexed(RowLayout::JsonLines, lists(';'), &[train]).unwrap();
    assert_eq!(dataset.classes, ["7", "drama", "war"]);
    assert_eq!(labels(&dataset.train), [&[1, 2][..], &[], &[0, 1], &[0]]);
}

#[test]
fn columns_of_flags_are_labels_in_the_order_of_the_spec() {
    let train = "text,war,drama\na,1,0\nb,0.0,True\nc,false,1.0\n";
    let dataset = indexed(CSV, flags(&["drama", "war"]), &[train]).unwrap();
    assert_eq!(dataset.classes, ["drama", "war"]);
    assert_eq!(labels(&dataset.train), [[1], [0], [0]]);
    let json = "{\"text\": \"a\", \"war\": true, \"drama\": 0}\n{\"text\": \"b\", \"war\": false, \"drama\": 1}\n";
    let dataset = indexed(RowLayout::JsonLines, flags(&["war", "drama"]), &[json]).unwrap();
    assert_eq!(labels(&dataset.train), [[0], [1]]);
}

#[test]
fn the_digest_of_a_split_tells_where_the_labels_of_a_sample_end() {
    let digest = |text: &str| indexed(CSV, lists('|'), &[text]).unwrap().train.digest();
    let one = digest("text,genres\na,x|y\nb,z\nc,\n");
    assert_ne!(one, digest("text,genres\na,x\nb,y|z\nc,\n"));
    assert_eq!(one, digest("text,genres\na,y|x|y\nb,z\nc,\n"));
}

#[test]
fn train_keeps_a_sample_of_each_label_when_another_split_is_drawn_from_it() {
    // One sample of each rare label, and many of the common one.
    let rows: String = (0..40)
        .map(|row| {
            format!(
                "t{row},{}\n",
                if row % 4 == 0 {
                    format!("rare{row}")
                } else {
                    "common".into()
                }
            )
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.csv");
    fs::write(&path, format!("text,genres\n{rows}")).unwrap();
    let spec = DataSpec {
        format: DataFormat::texts(CSV, "text", lists('|')),
        missing_labels: Some(MissingLabels::Error),
        classes: Vec::new(),
        train: path.to_str().unwrap().to_owned(),
        validation: Some(SplitSource::FractionOfTrain(0.4)),
        test: Some(SplitSource::FractionOfTrain(0.4)),
        preprocessing: Preprocessing::Text { max_length: None },
        augmentation: None,
        quarantine: QuarantineSpec { max_samples: 0 },
    };
    for seed in 0..8 {
        let dataset = index(&spec, seed).unwrap();
        assert_eq!(dataset.classes.len(), 11);
        assert!(dataset.train.class_counts(11).iter().all(|count| *count > 0), "{seed}");
        assert_eq!(dataset.splits().map(|split| split.len()).sum::<u64>(), 40);
    }
}

#[test]
fn what_cannot_be_learned_is_refused_with_its_place() {
    let error = |layout, labels, splits: &[&str]| indexed(layout, labels, splits).unwrap_err();
    let train = "text,genres\na,war\nb,Drama\n";
    assert_eq!(
        error(CSV, lists('|'), &[train, "text,genres\ne,war|drama\n"]),
        "validation: label `drama` is not among the 2 labels of train (`Drama`, `war`); first seen at validation:2; it looks like `Drama` of \
         train: `d` U+0064 here, `D` U+0044 there"
    );
    assert_eq!(
        error(CSV, lists('|'), &["text,genres\na,\nb,|\n"]),
        "train: train: no sample has a label in `genres`"
    );
    assert_eq!(
        error(CSV, lists('|'), &["text,genres\na,war|drama\nb,war\n"]),
        "train: each sample of 2 has the label `war`, so there is nothing to learn of it"
    );
    assert_eq!(
        error(CSV, flags(&["war"]), &["text,war\na,0\nb,0\n"]),
        "train: no sample of 2 has the label `war`, so there is nothing to learn of it"
    );
    assert_eq!(
        error(CSV, flags(&["war"]), &["text,war\na,1\nb,-1\n"]),
        "train: train:3: expected 0 or 1, or false or true, in `war`, found `-1`"
    );
    let empty = error(CSV, flags(&["war"]), &["text,war\na,1\nb,\n"]);
    assert_eq!(empty, "train:3: the label (`war`) is empty");
    let missing = error(CSV, lists('|'), &["text,genres\na,war\nb,nan\n"]);
    assert!(
        missing.starts_with("train:3:") && missing.contains("`nan`"),
        "{missing}"
    );
    let missing = error(CSV, lists('|'), &["text,genres\na,war\nb,drama|NA\n"]);
    assert!(missing.starts_with("train:3:") && missing.contains("`NA`"), "{missing}");
    let nested = error(
        RowLayout::JsonLines,
        lists('|'),
        &["{\"text\": \"a\", \"genres\": [[\"war\"]]}\n"],
    );
    assert!(nested.contains("`genres` is an array"), "{nested}");
}

//! Rows of texts and their labels.

use std::fs;

use firn_core::spec::{DataFormat, DataSpec, MissingLabels, RowLayout};
use firn_data::index;

use super::{csv, ids, spec, texts, write};

#[test]
fn tables_of_all_kinds_give_the_same_samples() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        root,
        "a/train",
        "\u{feff}label,text\r\n10,\"good, \"\"very\"\" good\"\r\n9,bad\r\n".as_bytes(),
    );
    write(root, "b/train", b"text\tlabel\ngood, \"very\" good\t10\nbad\t9");
    write(root, "c/train", b"{\"text\": \"good, \\\"very\\\" good\", \"label\": 10}\n{\"text\": \"bad\", \"label\": \"9\", \"more\": []}\n");
    let tsv = DataFormat::texts(
        RowLayout::Delimited {
            delimiter: '\t',
            quoted: false,
        },
        "text",
        "label",
    );
    let json = DataFormat::texts(RowLayout::JsonLines, "text", "label");
    let formats = [
        ("a", csv(), ["train:2", "train:3"]),
        ("b", tsv, ["train:2", "train:3"]),
        ("c", json, ["train:1", "train:2"]),
    ];
    for (name, format, lines) in formats {
        let dataset = index(&spec(&root.join(name), format), 0).unwrap();
        assert_eq!(dataset.classes, ["9", "10"], "numbers sort by value");
        assert_eq!(texts(&dataset.train), [("good, \"very\" good", 1), ("bad", 0)]);
        assert_eq!(ids(&dataset.train), lines);
    }
}

#[test]
fn rows_without_a_label_are_left_out_or_words_are_classes_as_the_spec_says() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "a/train", b"text;label\na;1\nb;nan\nc;0\nd;\ne;None\nf;1\n");
    write(
        root,
        "b/train",
        b"{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": \"nan\"}\n{\"text\": \"c\", \"label\": 0}\n\
          {\"text\": \"d\", \"label\": null}\n{\"text\": \"e\", \"label\": \"None\"}\n{\"text\": \"f\", \"label\": \"1\"}\n",
    );
    let semicolons = DataFormat::texts(
        RowLayout::Delimited {
            delimiter: ';',
            quoted: true,
        },
        "text",
        "label",
    );
    let json = DataFormat::texts(RowLayout::JsonLines, "text", "label");
    for (name, format, first) in [("a", semicolons, 3), ("b", json, 2)] {
        let with = |missing_labels| DataSpec {
            missing_labels: Some(missing_labels),
            ..spec(&root.join(name), format.clone())
        };
        let dropped = index(&with(MissingLabels::Drop), 0).unwrap();
        assert_eq!(texts(&dropped.train), [("a", 1), ("c", 0), ("f", 1)]);
        let warning = format!("train: left out 3 of 6 rows, which have no label; the first is train:{first}");
        assert_eq!(dropped.warnings, [warning]);
        let error = index(&with(MissingLabels::Keep), 0).unwrap_err().to_string();
        assert!(
            error.contains("train:5: the label") || error.contains("train:4: the label"),
            "{error}"
        );
    }
    write(root, "c/train", b"text,label\na,1\nb,nan\nc,None\n");
    let keep = DataSpec {
        missing_labels: Some(MissingLabels::Keep),
        ..spec(&root.join("c"), csv())
    };
    assert_eq!(index(&keep, 0).unwrap().classes, ["1", "None", "nan"]);
}

#[test]
fn classes_have_the_order_of_the_spec_which_names_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "train",
        b"text,label\na,mild\nb,none\nc,severe\nd,mild\n",
    );
    let ordered = |classes: &[&str]| {
        let data = DataSpec {
            classes: classes.iter().map(|class| (*class).to_owned()).collect(),
            ..spec(folder.path(), csv())
        };
        index(&data, 0).map_err(|error| error.to_string())
    };
    let dataset = ordered(&["none", "mild", "severe"]).unwrap();
    assert_eq!(dataset.classes, ["none", "mild", "severe"]);
    assert_eq!(texts(&dataset.train), [("a", 1), ("b", 0), ("c", 2), ("d", 1)]);
    assert_eq!(
        ordered(&["none", "mild"]).unwrap_err(),
        "train: class `severe` is not among data.classes; first seen at train:4"
    );
    assert_eq!(
        ordered(&["none", "Mild", "severe"]).unwrap_err(),
        "data.classes: no sample of train is of class `Mild`; it has `mild`, `none`, `severe`; did you mean `mild`?"
    );
}

#[test]
fn labels_of_json_lines_may_be_booleans() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "train",
        b"{\"text\": \"a\", \"label\": true}\n{\"text\": \"b\", \"label\": false}\n",
    );
    let json = DataFormat::texts(RowLayout::JsonLines, "text", "label");
    assert_eq!(index(&spec(folder.path(), json), 0).unwrap().classes, ["false", "true"]);
}

#[test]
fn a_person_is_warned_of_what_the_job_survives() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in [
        "train/ants/1.jpg",
        "train/ants/2.jpg",
        "train/bees/1.jpg",
        "val/ants/2.jpg",
        "val/ants/3.jpg",
    ] {
        write(root, name, name.rsplit_once('/').unwrap().1.as_bytes());
    }
    write(root, "train/bees/3.jpg", b"other");
    fs::create_dir(root.join("val/wasps")).unwrap();
    let dataset = index(&spec(root, DataFormat::ImageFolder), 0).unwrap();
    assert_eq!(
        dataset.warnings,
        [
            "validation: class folder `wasps` holds no images",
            "validation: no sample of 1 of 2 classes (`bees`); in macro means they count as 0",
            "validation: 1 of 2 images are also in train; the first is ants/2.jpg = ants/2.jpg",
        ]
    );
}

#[test]
fn texts_that_two_splits_share_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train", b"text,label\na,0\nb,1\nc,0\n");
    write(folder.path(), "test", b"text,label\nc ,0\nd,1\na,0\n");
    let warnings = index(&spec(folder.path(), csv()), 0).unwrap().warnings;
    assert_eq!(
        warnings,
        ["test: 2 of 3 texts are also in train; the first is test:2 = train:4"]
    );
}

//! What an index says about data that is in order.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use firn_core::compatibility::DataRules;
use firn_core::spec::{DataFormat, DataSpec, MissingLabels, Preprocessing, QuarantineSpec, RowLayout, SplitSource};
use firn_data::{Dataset, Preprocessor, Sample, Source, Split, Target, TextLimits, index, index_by, scan};

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
        train: path("train"),
        validation: root.join("val").exists().then(|| SplitSource::Path(path("val"))),
        test: root.join("test").exists().then(|| SplitSource::Path(path("test"))),
        preprocessing: Preprocessing::Text { max_length: None },
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

#[test]
fn an_image_folder_is_listed_as_torchvision_lists_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let names = [
        "b/z.jpg",
        "b/deep/er/a.PNG",
        "b/deep/z.jpeg",
        "b/a.JPG",
        "B/1.jpg",
        "a/.hidden.jpg",
        "a/2.jpg",
        "a/10.jpg",
        "a/x.txt",
        "c.jpg",
    ];
    for name in names {
        write(root, &format!("train/{name}"), name.as_bytes());
    }
    let dataset = index(&spec(root, DataFormat::ImageFolder), 0).unwrap();
    assert_eq!(dataset.classes, ["B", "a", "b"]);
    assert_eq!(
        ids(&dataset.train),
        [
            "B/1.jpg",
            "a/10.jpg",
            "a/2.jpg",
            "b/a.JPG",
            "b/z.jpg",
            "b/deep/z.jpeg",
            "b/deep/er/a.PNG"
        ]
    );
    assert_eq!(dataset.train.class_counts(3), [1, 2, 4]);
    assert_eq!(
        dataset.warnings,
        [
            "train: ignored 2 files that are not an image by extension or not in a class folder, the first is c.jpg",
            "train: `B` and `b` look alike and are two classes: `B` U+0042 in the first, `b` U+0062 in the second",
        ]
    );
}

/// Three images, one of them twice, by a path relative to the table, an absolute one, a URI, and one that leads out of the folder.
#[test]
fn a_table_of_image_paths_lists_its_rows_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for (name, bytes) in [("b 1.jpg", "b"), ("in/a.jpg", "aa"), ("in/c.jpg", "ccc")] {
        write(&root, name, bytes.as_bytes());
    }
    let (absolute, uri) = (root.join("in/c.jpg"), format!("file://{}/b%201.jpg", root.display()));
    let paths = ["../b 1.jpg", "a.jpg", absolute.to_str().unwrap(), &uri];
    let labels = ["cat", "dog", "cat", "dog"];
    let table: String = paths
        .iter()
        .zip(labels)
        .map(|(path, label)| format!("{path}\t{label}\n"))
        .collect();
    write(&root, "in/train", format!("picture\tlabel\n{table}").as_bytes());
    let lines: String = paths
        .iter()
        .zip(labels)
        .map(|(path, label)| format!("{{\"picture\": \"{path}\", \"label\": \"{label}\"}}\n"))
        .collect();
    write(&root, "elsewhere/train", lines.as_bytes());
    let images = |rows, root| DataFormat::images(rows, "picture", "label", root);
    let tabs = RowLayout::Delimited {
        delimiter: '\t',
        quoted: false,
    };
    let of_lines = images(RowLayout::JsonLines, Some(root.join("in").to_str().unwrap().to_owned()));
    for (place, format, first_line) in [("in", images(tabs, None), 2), ("elsewhere", of_lines, 1)] {
        let dataset = index(&spec(&root.join(place), format), 0).unwrap();
        assert_eq!(dataset.classes, ["cat", "dog"]);
        let expected = [("b 1.jpg", 1), ("in/a.jpg", 2), ("in/c.jpg", 3), ("b 1.jpg", 1)];
        for (sample, ((name, bytes), line)) in dataset.train.samples.iter().zip(expected.into_iter().zip(first_line..))
        {
            assert_eq!(sample.id, format!("train:{line}"));
            let Source::File { path, size } = &sample.source else {
                panic!("{} is no file", sample.id)
            };
            assert_eq!(
                (path.canonicalize().unwrap(), *size),
                (root.join(name), bytes),
                "{place}"
            );
        }
        assert_eq!(dataset.train.len(), 4);
    }
    let again = format!("picture\tlabel\n{table}a.jpg\tdog\nc.jpg\tdog\n");
    write(&root, "in/train", again.as_bytes());
    let dataset = index(&spec(&root.join("in"), images(tabs, None)), 0).unwrap();
    assert_eq!(
        dataset.warnings,
        [
            "train: 2 of 6 samples name an image that another one names, 1 with another label; the first is train:6 = train:3"
        ]
    );
}

#[test]
fn names_that_are_not_utf_8_stay_distinct() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let name = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    for split in ["train", "val"] {
        for class in [&b"caf\xe8"[..], b"caf\xe9"] {
            let class = folder.path().join(split).join(name(class));
            fs::create_dir_all(&class).unwrap();
            fs::write(class.join(name(b"1\xff.jpg")), b"x").unwrap();
            fs::write(class.join(name(b"1\xfe.jpg")), b"y").unwrap();
        }
    }
    let dataset = index(&spec(folder.path(), DataFormat::ImageFolder), 0).unwrap();
    assert_eq!(dataset.classes, ["caf\\xE8", "caf\\xE9"]);
    for split in [&dataset.train, dataset.validation.as_ref().unwrap()] {
        assert_eq!(
            ids(split),
            [
                "caf\\xE8/1\\xFE.jpg",
                "caf\\xE8/1\\xFF.jpg",
                "caf\\xE9/1\\xFE.jpg",
                "caf\\xE9/1\\xFF.jpg"
            ]
        );
    }
    fs::write(
        folder.path().join("train").join(name(b"caf\xe8")).join("1\\xFF.jpg"),
        b"z",
    )
    .unwrap();
    let error = index(&spec(folder.path(), DataFormat::ImageFolder), 0).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("are both shown as caf\\xE8/1\\xFF.jpg, because the name of one is not UTF-8; rename one")
    );
}

/// As the program wrote them that is older than both: a rank that comes later has to find the same samples.
#[test]
fn a_job_of_the_first_program_keeps_the_ids_that_its_samples_had() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let name = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    for split in ["train", "val"] {
        for class in [&b"caf\xe9"[..], b"tea"] {
            let class = folder.path().join(split).join(name(class));
            fs::create_dir_all(&class).unwrap();
            fs::write(class.join(name(b"1\xff.jpg")), b"x").unwrap();
        }
    }
    let images = index_by(DataRules::First, &spec(folder.path(), DataFormat::ImageFolder), 0).unwrap();
    assert_eq!(images.classes, ["caf\u{fffd}", "tea"]);
    assert_eq!(ids(&images.train), ["caf\u{fffd}/1\u{fffd}.jpg", "tea/1\u{fffd}.jpg"]);

    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train", b"text,label\ra,0\rb,1\r");
    let rows = |rules| index_by(rules, &spec(folder.path(), csv()), 0).unwrap().train;
    assert_eq!(ids(&rows(DataRules::First)), ["train:1", "train:1"]);
    assert_eq!(ids(&rows(DataRules::Current)), ["train:2", "train:3"]);
}

#[test]
fn what_macos_adds_and_images_that_are_not_read_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "train/a/1.jpg",
        "train/b/1.jpg",
        "train/b/2.avif",
        "train/__MACOSX/a/1.jpg",
        "val/a/2.jpg",
        "val/b/3.jpg",
        "val/b/__MACOSX/4.jpg",
        "val/b/5.HEIC",
        "val/b/6.heic",
    ];
    for name in names {
        write(folder.path(), name, name.as_bytes());
    }
    let dataset = index(&spec(folder.path(), DataFormat::ImageFolder), 0).unwrap();
    assert_eq!(
        (dataset.classes, dataset.train.len()),
        (vec!["a".to_owned(), "b".to_owned()], 2)
    );
    assert_eq!(
        dataset.warnings,
        [
            "train: ignored 1 file that is not an image by extension or not in a class folder, the first is b/2.avif",
            "train: 1 AVIF image, a format that is not read: convert to JPEG or PNG; the first is b/2.avif",
            "train: passed over __MACOSX, which macOS adds to archives",
            "validation: ignored 2 files that are not an image by extension or not in a class folder, the first is b/5.HEIC",
            "validation: 2 HEIC images, a format that is not read: convert to JPEG or PNG; the first is b/5.HEIC",
            "validation: passed over __MACOSX, which macOS adds to archives",
        ]
    );
}

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

/// 40 samples of class `x` and 20 of class `y`.
fn table(order: impl Iterator<Item = u32>) -> String {
    let row = |i: u32| format!("text {i},{}\n", if i.is_multiple_of(3) { "y" } else { "x" });
    std::iter::once("text,label\n".to_owned())
        .chain(order.map(row))
        .collect()
}

fn split_by_fractions(root: &Path, seed: u64) -> Dataset {
    let fractions = DataSpec {
        validation: Some(SplitSource::FractionOfTrain(0.2)),
        test: Some(SplitSource::FractionOfTrain(0.1)),
        ..spec(root, csv())
    };
    index(&fractions, seed).unwrap()
}

#[test]
fn fractions_are_stratified_disjoint_and_repeatable() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train", table(0..60).as_bytes());
    let dataset = split_by_fractions(folder.path(), 3);
    let (validation, test) = (dataset.validation.unwrap(), dataset.test.unwrap());
    assert_eq!(validation.class_counts(2), [8, 4]);
    assert_eq!(test.class_counts(2), [4, 2]);
    assert_eq!(dataset.train.class_counts(2), [28, 14]);
    let mut all: Vec<&str> = [&dataset.train, &validation, &test]
        .into_iter()
        .flat_map(|split| ids(split))
        .collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 60, "each sample is in one split");

    let again = split_by_fractions(folder.path(), 3);
    assert_eq!(again.validation.unwrap().digest(), validation.digest());
    let other = split_by_fractions(folder.path(), 4);
    assert_ne!(
        ids(&other.validation.unwrap()),
        ids(&validation),
        "the seed draws the split"
    );
}

#[test]
fn a_digest_follows_ids_labels_and_contents_but_not_the_place_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |name: &str, table: &str| {
        let root = folder.path().join(name);
        write(&root, "train", table.as_bytes());
        index(&spec(&root, csv()), 0).unwrap().train.digest()
    };
    let first = digest("a", "text,label\na,0\nb,1\n");
    assert_eq!(digest("elsewhere", "text,label\na,0\nb,1\n"), first);
    assert_eq!(first.len(), 64);
    for changed in [
        "text,label\na,0\nc,1\n",
        "text,label\na,1\nb,0\n",
        "text,label\n\na,0\nb,1\n",
        "text,label\na,0\nb,1\nc,1\n",
    ] {
        assert_ne!(digest("changed", changed), first, "{changed:?}");
    }
}

#[test]
fn a_scan_reads_every_byte_and_digests_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train", b"text,label\nab,0\ncde,1\nf,1\n");
    let train = index(&spec(folder.path(), csv()), 0).unwrap().train;
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokens/tiny.json");
    let preprocessor = Preprocessor::new(
        &Preprocessing::Text { max_length: None },
        Some(&tokenizer),
        TextLimits::default(),
    )
    .unwrap();
    let scan = |range| scan(&train, range, &preprocessor, || {});
    let (first, rest, all) = (scan(0..1), scan(1..3), scan(0..99));
    assert_eq!([first.bytes_read, rest.bytes_read, all.bytes_read], [2, 4, 6]);
    assert!(all.corrupt.is_empty());
    assert_ne!(first.content_digest, rest.content_digest);
    assert_eq!(scan(0..3), all);
}

//! Datasets that cannot be used, and the exact sentence that a user reads about each. `{}` stands for the dataset's folder.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use firn_core::spec::{DataFormat, DataSpec, Preprocessing, SplitSource};
use firn_data::{Preprocessor, SplitName, index, scan};

struct Case {
    name: &'static str,
    /// Paths and contents; a path that ends with `/` is an empty folder.
    files: &'static [(&'static str, &'static [u8])],
    format: Format,
    validation: Option<Validation>,
    message: &'static str,
}

enum Format {
    Folder,
    Csv,
    PlainCsv,
    Tsv,
    JsonLines,
}

enum Validation {
    Path(&'static str),
    Fraction(f64),
}

const VALIDATION: Option<Validation> = Some(Validation::Path("val"));

/// Two classes with an image each (their bytes are not looked at when a dataset is indexed).
macro_rules! two_classes {
    ($($more:expr),* $(,)?) => { &[("train/ants/a.jpg", b"x"), ("train/bees/b.jpg", b"y"), $($more),*] };
}

const FOLDERS: &[Case] = &[
    Case {
        name: "a missing folder",
        files: &[],
        format: Format::Folder,
        validation: None,
        message: "train: {}/train does not exist on this worker",
    },
    Case {
        name: "a file instead of a folder",
        files: &[("train", b"x")],
        format: Format::Folder,
        validation: None,
        message: "train: {}/train is a file; format imagefolder expects a folder that holds one folder for each class",
    },
    Case {
        name: "an empty folder",
        files: &[("train/", b"")],
        format: Format::Folder,
        validation: None,
        message: "train: {}/train holds no class folders, expected one folder for each class",
    },
    Case {
        name: "images without class folders",
        files: &[
            ("train/a.jpg", b"x"),
            ("train/b.PNG", b"x"),
            ("train/.hidden/c.jpg", b"x"),
        ],
        format: Format::Folder,
        validation: None,
        message: "train: {}/train holds no class folders, expected one folder for each class; found 2 images directly in it",
    },
    Case {
        name: "a class without images",
        files: two_classes![("train/wasps/readme.txt", b"x")],
        format: Format::Folder,
        validation: None,
        message: "train: class `wasps` has no samples: {}/train/wasps holds no images (.jpg, .jpeg, .png, .bmp, .ppm, .pgm, .webp)",
    },
    Case {
        name: "one class",
        files: &[("train/ants/a.jpg", b"x")],
        format: Format::Folder,
        validation: None,
        message: "train: {}/train has one class, `ants`; a classifier needs at least two",
    },
    Case {
        name: "a class that only validation has",
        files: two_classes![
            ("val/ants/c.jpg", b"x"),
            ("val/wasps/d.jpg", b"x"),
            ("val/wasps/e.jpg", b"x")
        ],
        format: Format::Folder,
        validation: VALIDATION,
        message: "validation: class `wasps` is not among the 2 classes of train (`ants`, `bees`); first seen at wasps/d.jpg",
    },
    Case {
        name: "a missing validation folder",
        files: two_classes![],
        format: Format::Folder,
        validation: VALIDATION,
        message: "validation: {}/val does not exist on this worker",
    },
    Case {
        name: "a validation split without images",
        files: two_classes![("val/ants/notes.txt", b"x"), ("val/bees/Thumbs.db", b"x")],
        format: Format::Folder,
        validation: VALIDATION,
        message: "validation: {}/val holds no samples; ignored 2 files that are not an image by extension or not in a class folder, \
                  the first is ants/notes.txt",
    },
    Case {
        name: "a fraction of classes with one image each",
        files: two_classes![],
        format: Format::Folder,
        validation: Some(Validation::Fraction(0.2)),
        message: "validation: a fraction of 0.2 of train's 2 samples is empty: no class has the two samples that a split needs",
    },
];

const TABLES: &[Case] = &[
    Case {
        name: "a folder instead of a table",
        files: &[("train/", b"")],
        format: Format::Csv,
        validation: None,
        message: "train: {}/train is a folder; format csv expects a file",
    },
    Case {
        name: "an empty table",
        files: &[("train", b"")],
        format: Format::Tsv,
        validation: None,
        message: "{}/train is empty, expected a header line",
    },
    Case {
        name: "a table of one line",
        files: &[("train", b"text,label\n")],
        format: Format::Csv,
        validation: None,
        message: "train: {}/train holds no samples",
    },
    Case {
        name: "a missing column",
        files: &[("train", b"text,Labels,id\ngood,1,2\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train has no column `label` for the label; found `text`, `Labels`, `id`; did you mean `Labels`?",
    },
    Case {
        name: "another delimiter",
        files: &[("train", b"text\tlabel\ngood\t1\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train has no column `text` for the text; found `text\tlabel`; did you mean `text\tlabel`?",
    },
    Case {
        name: "a column twice",
        files: &[("train", b"text,label,text\ngood,1,bad\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train: the header names column `text` twice, so it is not clear which holds the text",
    },
    Case {
        name: "a row that is too long, after blank lines and a field of two lines",
        files: &[(
            "train",
            b"text,label\r\n\r\n\"two\nlines\",1\r\n\r\ngood, very good,1\r\n",
        )],
        format: Format::Csv,
        validation: None,
        message: "{}/train:6: 3 fields, expected 2 as in the header; a field that holds a comma must be wrapped in double quotes",
    },
    Case {
        name: "a row that is too short",
        files: &[("train", b"\xef\xbb\xbftext\tlabel\ngood\t1\nbad\n")],
        format: Format::Tsv,
        validation: None,
        message: "{}/train:3: 1 field, expected 2 as in the header",
    },
    Case {
        name: "a quote that is never closed",
        files: &[("train", b"text,label\ngood,1\n\"bad,0\nfine,1\nugly,0\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train:3: a quoted field that opens in this row is never closed; if quotes are plain text here, set quoting: none",
    },
    Case {
        name: "plain quotes that hide nothing, and an empty label",
        files: &[("train", b"text,label\n\"good,1\nbad, \n")],
        format: Format::PlainCsv,
        validation: None,
        message: "{}/train:3: the label (`label`) is empty",
    },
    Case {
        name: "an empty text",
        files: &[("train", b"text\tlabel\ngood\t1\n  \t0\n")],
        format: Format::Tsv,
        validation: None,
        message: "{}/train:3: the text (`text`) is empty",
    },
    Case {
        name: "bytes that are not UTF-8",
        files: &[("train", b"text,label\ngood,1\ncaf\xe9,0\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train:3: not UTF-8 text",
    },
    Case {
        name: "a label that only validation has",
        files: &[
            ("train", b"text,label\na,10\nb,9\nc,x\n"),
            ("val", b"text,label\nd,9\ne,11\n"),
        ],
        format: Format::Csv,
        validation: VALIDATION,
        message: "validation: class `11` is not among the 3 classes of train (`10`, `9`, `x`); first seen at val:3",
    },
    Case {
        name: "one label",
        files: &[("train", b"text,label\na,1\nb,1\n")],
        format: Format::Csv,
        validation: None,
        message: "train: {}/train has one class, `1`; a classifier needs at least two",
    },
];

const JSON_LINES: &[Case] = &[
    Case {
        name: "a line that is not JSON",
        files: &[(
            "train",
            b"{\"text\": \"a\", \"label\": 1}\n\n{\"text\": \"b\", label: 1}\n",
        )],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:3:15: not JSON: key must be a string",
    },
    Case {
        name: "a line that is an array",
        files: &[("train", b"[1, 2]\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: the line is an array, expected an object with `text` and `label`",
    },
    Case {
        name: "a missing field",
        files: &[("train", b"{\"sentence\": \"a\", \"label\": 1}\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: no field `text` for the text; found `sentence`, `label`",
    },
    Case {
        name: "a text that is a number",
        files: &[("train", b"{\"text\": 7, \"label\": 1}\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: field `text` is a number, expected a string",
    },
    Case {
        name: "a label that is null",
        files: &[("train", b"{\"text\": \"a\", \"label\": null}\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: field `label` is null, expected a string, a number or a boolean",
    },
    Case {
        name: "an empty label",
        files: &[("train", b"{\"text\": \"a\", \"label\": \"\"}\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: the label (`label`) is empty",
    },
];

fn write_files(root: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        let path = root.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

fn data_spec(root: &Path, format: &Format, validation: Option<&Validation>) -> DataSpec {
    let table = |delimiter, quoted| DataFormat::Table {
        delimiter,
        quoted,
        text: "text".to_owned(),
        label: "label".to_owned(),
    };
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    DataSpec {
        format: match format {
            Format::Folder => DataFormat::ImageFolder,
            Format::Csv => table(',', true),
            Format::PlainCsv => table(',', false),
            Format::Tsv => table('\t', false),
            Format::JsonLines => DataFormat::JsonLines {
                text: "text".to_owned(),
                label: "label".to_owned(),
            },
        },
        train: path("train"),
        validation: validation.map(|validation| match validation {
            Validation::Path(name) => SplitSource::Path(path(name)),
            Validation::Fraction(fraction) => SplitSource::FractionOfTrain(*fraction),
        }),
        test: None,
        preprocessing: Preprocessing::Text { max_length: None },
        max_quarantined: 0,
    }
}

#[test]
fn each_broken_dataset_is_refused_with_its_own_sentence() {
    let mut wrong = Vec::new();
    let cases: Vec<&Case> = FOLDERS.iter().chain(TABLES).chain(JSON_LINES).collect();
    assert!(cases.len() >= 30);
    for case in &cases {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), case.files);
        let expected = case.message.replace("{}", folder.path().to_str().unwrap());
        let found = match index(&data_spec(folder.path(), &case.format, case.validation.as_ref()), 0) {
            Ok(_) => "no error".to_owned(),
            Err(error) => error.to_string(),
        };
        if found != expected {
            wrong.push(format!("{}\n  expected: {expected}\n  found:    {found}", case.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} messages differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// Files within a class folder that are no good, and the reason that is listed with each.
const CORRUPT: &[(&str, &[u8], &str)] = &[
    ("empty.jpg", b"", "the file is empty"),
    (
        "html.jpg",
        b"<!DOCTYPE html>",
        "not an image: the file starts with \"<!DOCTYP\", expected JPEG, PNG, BMP, PNM or WebP",
    ),
    (
        "zeros.png",
        &[0; 9],
        "not an image: the file starts with 00 00 00 00 00 00 00 00, expected JPEG, PNG, BMP, PNM or WebP",
    ),
    (
        "start_only.jpg",
        b"\xff\xd8\xff",
        "damaged JPEG: it ends before its end marker",
    ),
    (
        "no_scan.jpg",
        b"\xff\xd8\xff\xd9",
        "damaged JPEG: it ends before its first scan",
    ),
    (
        "cut_segment.jpg",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        "damaged JPEG: it ends within a segment",
    ),
    (
        "arithmetic.jpg",
        b"\xff\xd8\xff\xc9\x00\x0b\x08\x00\x08\x00\x08\x01\x01\x11\x00",
        "JPEG with arithmetic coding is not supported",
    ),
    (
        "twelve_bits.jpg",
        b"\xff\xd8\xff\xc1\x00\x0b\x0c\x00\x08\x00\x08\x01\x01\x11\x00",
        "JPEG with 12 bits a sample is not supported",
    ),
    (
        "bomb.ppm",
        b"P6 60000 60000 255\n",
        "60000x60000 pixels, more than the 178956970 that are decoded",
    ),
];

#[test]
fn a_scan_lists_each_corrupt_file_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let good = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/usual.jpg")).unwrap();
    write_files(root, &[("train/ants/good.jpg", &good), ("train/bees/good.jpg", &good)]);
    for (name, bytes, _) in CORRUPT {
        write_files(root, &[(&format!("train/ants/{name}"), bytes)]);
    }
    let dataset = index(&data_spec(root, &Format::Folder, None), 0).unwrap();
    fs::remove_file(root.join("train/bees/good.jpg")).unwrap();
    let outcome = scan(&dataset.train, 0..dataset.train.len(), || {});
    let mut expected: Vec<(String, String)> = CORRUPT
        .iter()
        .map(|(name, _, reason)| (format!("ants/{name}"), (*reason).to_owned()))
        .collect();
    expected.sort();
    let gone = format!(
        "cannot read {}: No such file or directory (os error 2)",
        root.join("train/bees/good.jpg").display()
    );
    expected.push(("bees/good.jpg".to_owned(), gone));
    let found: Vec<(String, String)> = outcome
        .corrupt
        .iter()
        .map(|sample| (sample.id.clone(), sample.reason.clone()))
        .collect();
    assert_eq!(found, expected);
    for sample in &outcome.corrupt {
        assert_eq!(
            dataset.train.samples[usize::try_from(sample.index).unwrap()].id,
            sample.id
        );
    }
    let bytes: usize = good.len() + CORRUPT.iter().map(|(_, bytes, _)| bytes.len()).sum::<usize>();
    assert_eq!(outcome.bytes_read, bytes as u64);
}

#[test]
fn preprocessing_that_cannot_work_is_refused() {
    let image = |resize, crop, std| Preprocessing::Image {
        resize,
        crop,
        mean: [0.5; 3],
        std: [std; 3],
    };
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokens/tiny.json");
    let missing = Path::new("/nowhere/tokenizer.json");
    let text = |max_length| Preprocessing::Text { max_length };
    let cases = [
        (
            image(0, 1, 1.0),
            None,
            "preprocessing: resize is 0 and crop 1; both must be at least 1",
        ),
        (
            image(8, 8, 0.0),
            None,
            "preprocessing: mean is [0.5, 0.5, 0.5] and std [0.0, 0.0, 0.0]; all must be finite and std not 0",
        ),
        (
            text(None),
            None,
            "preprocessing: a text model needs a tokenizer, and none is given",
        ),
        (
            text(None),
            Some(missing),
            "cannot load the tokenizer /nowhere/tokenizer.json: no such file",
        ),
        (
            text(Some(600)),
            Some(tiny.as_path()),
            "preprocessing: maxLength is 600, but the model takes at most 512 tokens",
        ),
        (
            text(Some(2)),
            Some(tiny.as_path()),
            "preprocessing: maxLength is 2, but 2 special tokens are added to each text",
        ),
    ];
    for (preprocessing, tokenizer, message) in cases {
        let error = Preprocessor::new(&preprocessing, tokenizer, Some(512))
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(message));
    }
}

#[test]
fn splits_are_named_as_on_the_wire() {
    assert_eq!(
        [SplitName::Train, SplitName::Validation, SplitName::Test].map(SplitName::as_str),
        ["train", "validation", "test"]
    );
}

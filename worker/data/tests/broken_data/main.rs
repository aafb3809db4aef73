//! Datasets that cannot be used, and the exact sentence that a user reads about each. `{}` stands for the dataset's folder.

#![allow(clippy::unwrap_used)]

mod cases;

use std::fs;
use std::path::Path;

use firn_core::spec::{
    CropMode, DataFormat, DataSpec, Interpolation, Preprocessing, QuarantineSpec, RowLayout, SplitSource,
};
use firn_data::{Preprocessor, SplitName, TextLimits, index, scan};

use cases::{Case, FOLDERS, Format, IMAGE_TABLES, JSON_LINES, PAIRS, TABLES, Validation, WORDS};

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
    let table = |delimiter, quoted| DataFormat::texts(RowLayout::Delimited { delimiter, quoted }, "text", "label");
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    DataSpec {
        format: match format {
            Format::Folder => DataFormat::ImageFolder,
            Format::Csv => table(',', true),
            Format::PlainCsv => table(',', false),
            Format::Tsv => table('\t', false),
            Format::JsonLines => DataFormat::texts(RowLayout::JsonLines, "text", "label"),
            Format::Pairs => DataFormat::pairs(
                RowLayout::Delimited {
                    delimiter: ',',
                    quoted: true,
                },
                "text",
                "other",
                "label",
            ),
            Format::WordLines => DataFormat::words(RowLayout::JsonLines, "tokens", "tags"),
            Format::Conll => DataFormat::words(RowLayout::Conll, "tokens", "tags"),
            Format::PairLines => DataFormat::pairs(RowLayout::JsonLines, "text", "other", "label"),
            Format::Images | Format::ImageLines => DataFormat::images(
                match format {
                    Format::ImageLines => RowLayout::JsonLines,
                    _ => RowLayout::Delimited {
                        delimiter: ',',
                        quoted: true,
                    },
                },
                "image",
                "label",
                None,
            ),
        },
        missing_labels: None,
        classes: Vec::new(),
        train: path("train"),
        validation: validation.map(|validation| match validation {
            Validation::Path(name) => SplitSource::Path(path(name)),
            Validation::Fraction(fraction) => SplitSource::FractionOfTrain(*fraction),
        }),
        test: None,
        preprocessing: Preprocessing::Text { max_length: None },
        augmentation: None,
        quarantine: QuarantineSpec { max_samples: 0 },
    }
}

#[test]
fn each_broken_dataset_is_refused_with_its_own_sentence() {
    let mut wrong = Vec::new();
    let cases: Vec<&Case> = FOLDERS
        .iter()
        .chain(TABLES)
        .chain(JSON_LINES)
        .chain(IMAGE_TABLES)
        .chain(PAIRS)
        .chain(WORDS)
        .collect();
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
        "phone.jpg",
        b"\0\0\0\x18ftypheic\0\0\0\0",
        "HEIC (convert it to JPEG or PNG) is not supported",
    ),
    (
        "web.png",
        b"\0\0\0\x1cftypavif\0\0\0\0",
        "AVIF (convert it to JPEG or PNG) is not supported",
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
    let preprocessing = Preprocessing::Image {
        resize: 8,
        interpolation: Interpolation::Bilinear,
        crop_mode: CropMode::Center,
        crop: 8,
        mean: [0.5; 3],
        std: [0.5; 3],
    };
    let preprocessor = Preprocessor::new(&preprocessing, None, TextLimits::default()).unwrap();
    fs::remove_file(root.join("train/bees/good.jpg")).unwrap();
    let outcome = scan(&dataset.train, 0..dataset.train.len(), &preprocessor, || {});
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
        interpolation: Interpolation::Bilinear,
        crop_mode: CropMode::Center,
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
        let limits = TextLimits {
            longest: Some(512),
            ..TextLimits::default()
        };
        let error = Preprocessor::new(&preprocessing, tokenizer, limits)
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(message));
    }
}

#[test]
fn rows_without_text_are_set_aside_one_by_one_where_the_spec_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 2] = [
        ("train.csv", b"text,label\ngood,1\n  ,0\n\xff,1\nbad,0\n"),
        (
            "train.jsonl",
            b"{\"text\": \"good\", \"label\": 1}\n{\"text\": null, \"label\": 0}\n{\"label\": 1}\n{\"text\": \"bad\", \"label\": 0}\n",
        ),
    ];
    write_files(folder.path(), &files);
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokens/tiny.json");
    let preprocessing = Preprocessing::Text { max_length: None };
    let preprocessor = Preprocessor::new(&preprocessing, Some(&tiny), TextLimits::default()).unwrap();
    let cases = [
        (
            "train.csv",
            Format::Csv,
            ["3: the text (`text`) is empty", "4: not UTF-8 text"],
        ),
        (
            "train.jsonl",
            Format::JsonLines,
            [
                "2: field `text` is null, expected a string",
                "3: no field `text` for the text; found `label`",
            ],
        ),
    ];
    for (name, format, reasons) in cases {
        let path = folder.path().join(name).to_str().unwrap().to_owned();
        let spec = |allowed| DataSpec {
            train: path.clone(),
            quarantine: QuarantineSpec { max_samples: allowed },
            ..data_spec(folder.path(), &format, None)
        };
        let dataset = index(&spec(2), 0).unwrap();
        assert_eq!(dataset.train.class_counts(2), [2, 2], "{name}: their labels are known");
        let outcome = scan(&dataset.train, 0..4, &preprocessor, || {});
        let found = outcome
            .corrupt
            .iter()
            .map(|sample| format!("{}: {}", sample.id, sample.reason));
        assert_eq!(
            found.collect::<Vec<_>>(),
            reasons.map(|reason| format!("{name}:{reason}"))
        );
        let [first, second] = reasons;
        assert_eq!(
            index(&spec(1), 0).unwrap_err().to_string(),
            format!(
                "{path}: 2 of 4 rows cannot be used (data.quarantine.maxSamples is 1): line {first}; line {second}"
            )
        );
    }
}

/// The id of `bad` in the tokenizer.
const BAD: u32 = 89;

#[test]
fn a_token_that_the_network_has_no_embedding_for_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_files(
        folder.path(),
        &[("train", b"text,label\ngood film,1\nbad film,0\nfilm,1\n")],
    );
    let train = index(&data_spec(folder.path(), &Format::Csv, None), 0).unwrap().train;
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokens/tiny.json");
    let preprocessor = |vocabulary| {
        let limits = TextLimits {
            vocabulary: Some(vocabulary),
            ..TextLimits::default()
        };
        Preprocessor::new(&Preprocessing::Text { max_length: None }, Some(&tiny), limits)
    };
    let found = |vocabulary| -> Vec<String> {
        let outcome = scan(&train, 0..train.len(), &preprocessor(vocabulary).unwrap(), || {});
        outcome
            .corrupt
            .iter()
            .map(|sample| format!("{}: {}", sample.id, sample.reason))
            .collect()
    };
    assert!(found(BAD + 1).is_empty(), "tokens beyond it do not occur");
    let unknown = format!(
        "token `bad` has id {BAD}, but the model's table of embeddings has {BAD} rows, for ids up to {}",
        BAD - 1
    );
    assert_eq!(found(BAD), [format!("train:3: {unknown}")]);
    let refused = preprocessor(3).err().unwrap().to_string();
    let expected = format!(
        "cannot load the tokenizer {}: token `[SEP]` has id 3, but the model's table of embeddings has 3 rows, for ids up to 2, and it is \
         added to each text; is this the tokenizer of these weights?",
        tiny.display()
    );
    assert_eq!(refused, expected);
}

#[test]
fn splits_are_named_as_on_the_wire() {
    assert_eq!(
        [SplitName::Train, SplitName::Validation, SplitName::Test].map(SplitName::as_str),
        ["train", "validation", "test"]
    );
}

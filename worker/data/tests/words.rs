//! Lists of words and their tags: how they are read, and which token stands for which word, as in transformers.
//!
//! `fixtures/tokens/words_expected.json` is what `tests/reference/words.py` wrote.

#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf, sync::Arc};

use firn_core::spec::{DataFormat, DataSpec, Preprocessing, QuarantineSpec, RowLayout, SplitSource};
use firn_data::{
    Batch, Dataset, Known, Loader, LoaderOptions, Preprocessor, Sample, Source, Split, SplitName, Target, Targets,
    TextLimits, Values, index, read_split, scan, with_prefix_space,
};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tokens")
        .join(name)
}

fn preprocessor(tokenizer: &str, length: u32) -> Preprocessor {
    let limits = TextLimits {
        longest: Some(512),
        words: true,
        ..TextLimits::default()
    };
    let preprocessing = Preprocessing::Text {
        max_length: Some(length),
    };
    Preprocessor::new(&preprocessing, Some(&fixture(tokenizer)), limits).unwrap()
}

fn split(texts: &[Vec<String>]) -> Split {
    let sample = |words: &Vec<String>| Sample {
        id: String::new(),
        target: Target::Tags(vec![0; words.len()]),
        source: Source::Words(words.clone()),
    };
    Split {
        name: SplitName::Train,
        samples: texts.iter().map(sample).collect(),
    }
}

fn batch(split: Split, preprocessor: Preprocessor) -> Batch {
    let options = LoaderOptions {
        threads: 2,
        batches_ahead: 1,
        training: None,
    };
    let plan = [(0..split.len()).collect::<Vec<_>>()].into_iter();
    let mut batches = Loader::start(Arc::new(split), Arc::new(preprocessor), plan, options);
    batches.next().unwrap()
}

fn rows(batch: &Batch, name: &str) -> Vec<Vec<i64>> {
    let array = batch.tensors.arrays.iter().find(|array| array.name == name).unwrap();
    let Values::Integers(values) = &array.values else {
        panic!("{name} are integers")
    };
    values.chunks(array.shape[0]).map(<[i64]>::to_vec).collect()
}

#[test]
fn a_word_stands_where_the_recipe_of_transformers_puts_its_label() {
    let expected: Value = serde_json::from_str(&fs::read_to_string(fixture("words_expected.json")).unwrap()).unwrap();
    let texts: Vec<Vec<String>> = serde_json::from_value(expected["texts"].clone()).unwrap();
    let cases = expected["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let (tokenizer, length) = (
            case["tokenizer"].as_str().unwrap(),
            case["max_length"].as_u64().unwrap(),
        );
        let batch = batch(split(&texts), preprocessor(tokenizer, length as u32));
        assert_eq!(batch.corrupt, []);
        for name in ["ids", "mask", "words"] {
            let expected: Vec<Vec<i64>> = serde_json::from_value(case[name].clone()).unwrap();
            assert_eq!(rows(&batch, name), expected, "{name} of {tokenizer} cut at {length}");
        }
    }
}

#[test]
fn a_text_without_a_token_of_a_word_is_corrupt_and_the_scan_finds_it() {
    let texts = [vec!["film".to_owned()], vec!["\u{200d}".to_owned()]];
    let split = split(&texts);
    let found = scan(&split, 0..2, &preprocessor("tiny.json", 64), || ());
    assert_eq!(found.corrupt.len(), 1);
    assert_eq!(
        (found.corrupt[0].index, found.corrupt[0].reason.as_str()),
        (1, "none of its words gives a token")
    );
    let batch = batch(split, preprocessor("tiny.json", 64));
    assert_eq!((batch.indices, batch.targets), (vec![0], Targets::Tags(vec![vec![0]])));
}

#[test]
fn only_a_tokenizer_of_bytes_gets_a_space() {
    let mut bytes = serde_json::json!({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}});
    assert!(with_prefix_space(&mut bytes));
    assert_eq!(bytes["pre_tokenizer"]["add_prefix_space"], true);
    let mut other = serde_json::json!({"pre_tokenizer": {"type": "BertPreTokenizer"}});
    let before = other.clone();
    assert!(!with_prefix_space(&mut other));
    assert_eq!(other, before);
}

fn spec(folder: &std::path::Path, layout: RowLayout, classes: &[&str]) -> DataSpec {
    DataSpec {
        format: DataFormat::words(layout, "tokens", "tags"),
        missing_labels: None,
        classes: classes.iter().map(|class| (*class).to_owned()).collect(),
        train: folder.join("train").to_str().unwrap().to_owned(),
        validation: None,
        test: None,
        preprocessing: Preprocessing::Text { max_length: None },
        augmentation: None,
        quarantine: QuarantineSpec { max_samples: 0 },
    }
}

const LINES: &str = r#"{"tokens": ["Ada", "was", "here"], "tags": ["B-PER", "O", "O"]}

{"tokens": ["in", "New York"], "tags": ["O", "B-LOC"]}
"#;
const CONLL: &str = "-DOCSTART- -X- O\n\nAda NNP B-PER\nwas\tVBD\tO\r\nhere RB O\n \nin IN O\nNew\u{a0}York NNP B-LOC";

fn samples(dataset: &Dataset) -> Vec<(&str, Vec<String>, &[u32])> {
    let words = |sample: &Sample| match &sample.source {
        Source::Words(words) => words.clone(),
        other => panic!("expected words, found {other:?}"),
    };
    let samples = dataset.train.samples.iter();
    samples
        .map(|sample| (sample.id.as_str(), words(sample), sample.target.classes()))
        .collect()
}

#[test]
fn lines_of_json_and_of_conll_hold_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let of = |text: &str, layout, classes: &[&str]| {
        fs::write(folder.path().join("train"), text).unwrap();
        index(&spec(folder.path(), layout, classes), 0).unwrap()
    };
    let lines = of(LINES, RowLayout::JsonLines, &[]);
    assert_eq!(lines.classes, ["B-LOC", "B-PER", "O"]);
    assert_eq!(lines.train.class_counts(3), [1, 1, 3], "words are counted");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        samples(&lines),
        [
            ("train:1", words(&["Ada", "was", "here"]), &[1, 2, 2][..]),
            ("train:3", words(&["in", "New York"]), &[2, 0]),
        ]
    );
    let conll = of(CONLL, RowLayout::Conll, &["O", "B-PER", "B-LOC"]);
    assert_eq!(conll.classes, ["O", "B-PER", "B-LOC"], "in the order of data.classes");
    assert_eq!(
        samples(&conll),
        [
            ("train:3", words(&["Ada", "was", "here"]), &[1, 0, 0][..]),
            ("train:7", words(&["in", "New\u{a0}York"]), &[0, 2]),
        ]
    );
}

#[test]
fn train_keeps_a_sample_of_each_tag() {
    let folder = tempfile::tempdir().unwrap();
    let line = |tag: &str| format!("{{\"tokens\": [\"a\", \"b\"], \"tags\": [\"O\", \"{tag}\"]}}\n");
    let text = line("B-PER") + &line("O").repeat(9);
    fs::write(folder.path().join("train"), text).unwrap();
    for seed in 0..8 {
        let mut spec = spec(folder.path(), RowLayout::JsonLines, &[]);
        spec.validation = Some(SplitSource::FractionOfTrain(0.5));
        let dataset = index(&spec, seed).unwrap();
        assert_eq!(dataset.train.class_counts(2)[0], 1, "seed {seed}");
    }
}

#[test]
fn words_are_read_without_tags_where_nobody_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let known = ["O".to_owned(), "B-PER".to_owned()];
    for (layout, text) in [
        (RowLayout::JsonLines, "{\"tokens\": [\"Ada\", \"was\"]}\n"),
        (RowLayout::Conll, "Ada\nwas\n"),
    ] {
        fs::write(&path, text).unwrap();
        let spec = spec(folder.path(), layout, &[]);
        let (split, _) = read_split(&spec, None, &path).unwrap();
        assert_eq!(
            split.samples[0].source,
            Source::Words(vec!["Ada".to_owned(), "was".to_owned()])
        );
        assert!(read_split(&spec, Some(Known { classes: &known }), &path).is_err());
    }
}

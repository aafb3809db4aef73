//! What splits have in common, and what a digest follows.

use std::path::Path;

use firn_core::spec::{DataSpec, Preprocessing, SplitSource};
use firn_data::{Dataset, Preprocessor, TextLimits, index, scan};

use super::{csv, ids, spec, write};

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

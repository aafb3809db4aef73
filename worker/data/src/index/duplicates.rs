//! Samples that two splits share. A model that is scored on what it learned from looks better than it is, so a person is warned; it is
//! no error, because some public datasets are like that.
//!
//! Texts are compared outright. Images would have to be read: only those with the same name and size are, and of these the first few, which
//! finds the usual accident (a folder copied or split twice) without reading the dataset.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;

use crate::{Sample, Source, Split};

/// Pairs of image files whose bytes are compared.
const COMPARED: usize = 64;

pub(super) fn warnings(train: &Split, validation: Option<&Split>, test: Option<&Split>) -> Vec<String> {
    let splits = [Some(train), validation, test].into_iter().flatten();
    let repeats = splits.filter_map(repeated);
    let pairs = [(Some(train), validation), (Some(train), test), (validation, test)];
    let shared = pairs.into_iter().filter_map(|(first, second)| warning(first?, second?));
    repeats.chain(shared).collect()
}

/// Rows of a table that name a file which a row before them names.
fn repeated(split: &Split) -> Option<String> {
    let mut known: HashMap<&Path, &Sample> = HashMap::new();
    let (mut count, mut differ, mut first) = (0, 0, None);
    for sample in &split.samples {
        let Source::File { path, .. } = &sample.source else {
            continue;
        };
        let before = *known.entry(path).or_insert(sample);
        if !std::ptr::eq(before, sample) {
            count += 1;
            differ += usize::from(before.target != sample.target);
            first.get_or_insert((sample, before));
        }
    }
    let (again, before) = first?;
    Some(format!(
        "{}: {count} of {} samples name an image that another one names, {differ} with another label; the first is {} = {}",
        split.name,
        split.len(),
        again.id,
        before.id
    ))
}

fn warning(first: &Split, second: &Split) -> Option<String> {
    let texts = shared(first, second, |sample| match &sample.source {
        Source::Text(text) => Some(vec![text.trim()]),
        Source::TextPair(texts) => Some(texts.iter().map(|text| text.trim()).collect()),
        Source::Words(words) => Some(words.iter().map(String::as_str).collect()),
        _ => None,
    });
    if let Some((a, b)) = texts.first() {
        let count = texts.len();
        return Some(format!(
            "{}: {count} of {} texts are also in {}; the first is {} = {}",
            second.name,
            second.len(),
            first.name,
            b.id,
            a.id
        ));
    }
    let files = shared(first, second, |sample| match &sample.source {
        Source::File { path, size } if *size > 0 => Some((path.file_name()?.to_owned(), *size)),
        _ => None,
    });
    let same: Vec<_> = files.iter().take(COMPARED).filter(|(a, b)| same_bytes(a, b)).collect();
    let (a, b) = same.first()?;
    let at_least = if files.len() > COMPARED { "at least " } else { "" };
    let count = same.len();
    Some(format!(
        "{}: {at_least}{count} of {} images are also in {}; the first is {} = {}",
        second.name,
        second.len(),
        first.name,
        b.id,
        a.id
    ))
}

/// The samples of `second` whose key a sample of `first` has, in manifest order, each with that sample.
fn shared<'a, K: Hash + Eq>(
    first: &'a Split,
    second: &'a Split,
    key: impl Fn(&'a Sample) -> Option<K>,
) -> Vec<(&'a Sample, &'a Sample)> {
    let mut known = HashMap::new();
    for sample in &first.samples {
        if let Some(key) = key(sample) {
            known.entry(key).or_insert(sample);
        }
    }
    second
        .samples
        .iter()
        .filter_map(|sample| Some((*known.get(&key(sample)?)?, sample)))
        .collect()
}

fn same_bytes(a: &Sample, b: &Sample) -> bool {
    match (&a.source, &b.source) {
        (Source::File { path: a, .. }, Source::File { path: b, .. }) => match (std::fs::read(a), std::fs::read(b)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        },
        _ => false,
    }
}

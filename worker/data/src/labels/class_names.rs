//! Names of classes that are probably not what was meant: two that look alike, and names of splits. A person is warned and the job goes on,
//! because letters of both cases, or a class of railway trains, are classes too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use unicode_normalization_alignments::UnicodeNormalization;

use crate::names;

/// Pairs that are spelled out.
const LISTED: usize = 5;

/// Characters that are spelled out of each of two names.
const SPELLED: usize = 8;

/// As people call the splits of a dataset, in lower case.
const SPLITS: [&str; 9] = [
    "train",
    "training",
    "val",
    "valid",
    "validation",
    "dev",
    "eval",
    "test",
    "testing",
];

pub(super) fn warnings(path: &Path, classes: &[String]) -> Vec<String> {
    let mut warnings: Vec<String> = split_names(path, classes).into_iter().collect();
    let pairs = alike(classes);
    warnings.extend(pairs.iter().take(LISTED).map(|(first, second)| {
        let (first_part, second_part) = difference(first, second);
        format!(
            "train: `{first}` and `{second}` look alike and are two classes: {first_part} in the first, {second_part} in the second"
        )
    }));
    let more = pairs.len().saturating_sub(LISTED);
    if more > 0 {
        warnings.push(format!("train: {more} more pairs of classes look alike"));
    }
    warnings
}

/// For the message on a class that train has not: the class of train that it looks like.
pub(super) fn hint(class: &str, classes: &[String]) -> String {
    let folded = fold(class);
    match classes.iter().find(|known| fold(known) == folded) {
        Some(known) => {
            let (here, there) = difference(class, known);
            format!("; it looks like `{known}` of train: {here} here, {there} there")
        }
        None => String::new(),
    }
}

fn split_names(path: &Path, classes: &[String]) -> Option<String> {
    let named = |class: &&String| SPLITS.contains(&class.trim().to_lowercase().as_str());
    let named: Vec<&String> = classes.iter().filter(named).collect();
    (named.len() >= 2).then(|| {
        format!(
            "train: the classes {} are names of splits: is {} the folder above the splits, or the column one that names the split?",
            names::enumerate(&named),
            path.display()
        )
    })
}

/// Each class that looks like one before it, with that one.
fn alike(classes: &[String]) -> Vec<(&String, &String)> {
    let mut known: BTreeMap<String, &String> = BTreeMap::new();
    let mut pairs = Vec::new();
    for class in classes {
        let first = *known.entry(fold(class)).or_insert(class);
        if first != class {
            pairs.push((first, class));
        }
    }
    pairs
}

/// What a reader sees: no case, one blank for many, composed characters, nothing invisible.
fn fold(name: &str) -> String {
    let visible = name.chars().filter(|character| !is_invisible(*character));
    let lower: String = visible.flat_map(char::to_lowercase).collect();
    let composed: String = lower.nfkc().map(|(character, _)| character).collect();
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Soft hyphen, joiners, marks of direction, byte order mark, variation selectors.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e01ef}')
}

/// The part of each name in which the two differ, character by character.
fn difference(first: &str, second: &str) -> (String, String) {
    let (first, second): (Vec<char>, Vec<char>) = (first.chars().collect(), second.chars().collect());
    let shorter = first.len().min(second.len());
    let before = (0..shorter).take_while(|place| first[*place] == second[*place]).count();
    let after = (0..shorter - before)
        .take_while(|place| first[first.len() - 1 - place] == second[second.len() - 1 - place])
        .count();
    (
        spelled(&first[before..first.len() - after]),
        spelled(&second[before..second.len() - after]),
    )
}

/// `é` U+00E9; characters that would not be seen as their number alone.
fn spelled(characters: &[char]) -> String {
    if characters.is_empty() {
        return "nothing".to_owned();
    }
    let mut text = String::new();
    for (place, character) in characters.iter().take(SPELLED).enumerate() {
        let separator = if place > 0 { ", " } else { "" };
        let shown = match character.is_alphanumeric() || character.is_ascii_punctuation() {
            true => format!("`{character}` "),
            false => String::new(),
        };
        write!(text, "{separator}{shown}U+{:04X}", u32::from(*character)).expect("writing to a string succeeds");
    }
    if characters.len() > SPELLED {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(classes: &[&str]) -> Vec<String> {
        let classes: Vec<String> = classes.iter().map(ToString::to_string).collect();
        warnings(Path::new("/data/train"), &classes)
    }

    #[test]
    fn each_pair_that_looks_alike_is_spelled_out() {
        let cases = [
            (["Cat", "cat"], "`C` U+0043 in the first, `c` U+0063 in the second"),
            (
                ["cafe\u{301}", "caf\u{e9}"],
                "`e` U+0065, U+0301 in the first, `\u{e9}` U+00E9 in the second",
            ),
            (["cat ", "cat"], "U+0020 in the first, nothing in the second"),
            (["hot dog", "hot\u{a0}dog"], "U+0020 in the first, U+00A0 in the second"),
            (["cat", "cat\u{200b}"], "nothing in the first, U+200B in the second"),
            (["\u{feff}cat", "cat"], "U+FEFF in the first, nothing in the second"),
            (
                ["\u{ff23}at", "Cat"],
                "`\u{ff23}` U+FF23 in the first, `C` U+0043 in the second",
            ),
        ];
        for ([first, second], parts) in cases {
            let expected = format!("train: `{first}` and `{second}` look alike and are two classes: {parts}");
            assert_eq!(of(&[first, second]), [expected]);
        }
        assert!(of(&["cat", "cats", "1", "1.0", "\u{df}", "ss"]).is_empty());
    }

    #[test]
    fn many_pairs_are_counted() {
        let letters: Vec<String> = ('a'..='z').chain('A'..='Z').map(String::from).collect();
        let warnings = warnings(Path::new("/data"), &letters);
        assert_eq!(warnings.len(), LISTED + 1);
        assert_eq!(warnings[LISTED], "train: 21 more pairs of classes look alike");
    }

    #[test]
    fn classes_that_are_named_like_splits_are_noticed() {
        let warning = "train: the classes `Test`, `train` are names of splits: is /data/train the folder above the splits, or the column one \
                       that names the split?";
        assert_eq!(of(&["Test", "other", "train"]), [warning]);
        assert!(of(&["bus", "train"]).is_empty(), "a train on rails");
    }
}

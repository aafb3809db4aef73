//! One JSON object a line, with an array of words and an array of their tags, both of strings. Blank lines are passed over.

use std::path::Path;

use firn_core::spec::{DataSpec, LabelColumns};
use serde_json::{Map, Value};

use super::json_lines::{empty, field, lines, object, wrong};
use super::rows::{Input, Rows};
use super::{Listing, read_file};
use crate::error::{RowError, RowFault};
use crate::{DataError, Source, SplitName};

pub(super) fn list(
    split: SplitName,
    path: &Path,
    (input, columns): (&Input<'_>, &LabelColumns),
    data: &DataSpec,
) -> Result<Listing, DataError> {
    let bytes = read_file(split, path, "jsonl")?;
    let mut rows = Rows::new(path, data);
    for (line, row) in (1u64..).zip(lines(&bytes)) {
        let fault = |error| RowFault {
            line,
            column: None,
            error,
        };
        let object = match std::str::from_utf8(row) {
            Ok(row) if row.trim().is_empty() => continue,
            Ok(row) => object(row, line, (input.columns, columns.names())),
            Err(_) => Err(fault(RowError::NotUtf8)),
        };
        match object {
            Ok(object) => {
                let words = words_of(&object, input);
                let tags = tags_of(&object, columns, &rows);
                let tags = tags.and_then(|tags| fitting((input, columns), words.as_ref().ok(), tags));
                rows.add(line, tags.map_err(fault), words.map(Source::Words));
            }
            Err(fault) => rows.add(line, Err(fault), Ok(Source::Text(String::new()))),
        }
    }
    rows.finish(split, data)
}

fn words_of(object: &Map<String, Value>, input: &Input<'_>) -> Result<Vec<String>, RowError> {
    let [name] = input.columns else { return Ok(Vec::new()) };
    let words = match field(object, name, input.role)? {
        Value::Array(words) if words.is_empty() => return Err(empty(input.role, name)),
        Value::Array(words) => words,
        other => return Err(wrong(&format!("field `{name}`"), other, "an array of words")),
    };
    let word = |(place, word): (usize, &Value)| match word {
        Value::String(word) => Ok(word.clone()),
        other => Err(wrong(&format!("word {} of `{name}`", place + 1), other, "a string")),
    };
    words.iter().enumerate().map(word).collect()
}

/// Nothing where no labels are read.
fn tags_of(object: &Map<String, Value>, columns: &LabelColumns, rows: &Rows<'_>) -> Result<Vec<String>, RowError> {
    let LabelColumns::Tags(name) = columns else {
        return Ok(Vec::new());
    };
    let missing = || RowError::MissingLabel {
        column: name.clone(),
        value: "null".to_owned(),
    };
    let tags = match field(object, name, "label")? {
        Value::Array(tags) => tags,
        Value::Null => return Err(missing()),
        other => return Err(wrong(&format!("field `{name}`"), other, "an array of tags")),
    };
    let tag = |(place, tag): (usize, &Value)| match tag {
        Value::String(tag) if tag.trim().is_empty() => Err(empty("label", name)),
        Value::String(tag) => rows.label(tag.trim().to_owned(), name),
        Value::Null => Err(missing()),
        other => Err(wrong(
            &format!("tag {} of `{name}`", place + 1),
            other,
            "a string: the name of a tag, not its number",
        )),
    };
    tags.iter().enumerate().map(tag).collect()
}

/// The tags, if there is one for each word.
fn fitting(
    (input, columns): (&Input<'_>, &LabelColumns),
    words: Option<&Vec<String>>,
    tags: Vec<String>,
) -> Result<Vec<String>, RowError> {
    match (words, columns) {
        (Some(words), LabelColumns::Tags(name)) if words.len() != tags.len() => Err(RowError::Uneven {
            words: words.len(),
            words_field: input.columns.concat(),
            tags: tags.len(),
            tags_field: name.clone(),
        }),
        _ => Ok(tags),
    }
}

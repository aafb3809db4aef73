//! One JSON object a line, with a string of text (or the path of an image) and a label that is a string, a number or a boolean. Blank lines are passed over.

use std::path::Path;

use firn_core::spec::{DataSpec, LabelColumns};
use serde_json::{Map, Value};

use super::rows::{Input, Rows};
use super::{Listing, read_file};
use crate::error::{RowError, RowFault};
use crate::{DataError, Source, SplitName, names};

pub(super) fn list(
    split: SplitName,
    path: &Path,
    (input, columns): (&Input<'_>, &LabelColumns),
    data: &DataSpec,
) -> Result<Listing, DataError> {
    let bytes = read_file(split, path, "jsonl")?;
    let mut rows = Rows::new(path, data);
    let labels = columns.names();
    for (line, row) in (1u64..).zip(lines(&bytes)) {
        let fault = |error| RowFault {
            line,
            column: None,
            error,
        };
        let object = match std::str::from_utf8(row) {
            Ok(row) if row.trim().is_empty() => continue,
            Ok(row) => object(row, line, (input.columns, labels)),
            Err(_) => Err(fault(RowError::NotUtf8)),
        };
        match object {
            Ok(object) => rows.add(
                line,
                labels_of(&object, columns, &rows).map_err(fault),
                texts_of(&object, input).and_then(|texts| (input.source)(&texts)),
            ),
            Err(fault) => rows.add(line, Err(fault), Ok(Source::Text(String::new()))),
        }
    }
    rows.finish(split, data)
}

/// Ended by LF or CR LF; or by CR where the file has no LF. No string of JSON holds either.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = if bytes.contains(&b'\n') { b'\n' } else { b'\r' };
    bytes.split(move |byte| *byte == end)
}

pub(super) fn object(
    row: &str,
    line: u64,
    (texts, labels): (&[String], &[String]),
) -> Result<Map<String, Value>, RowFault> {
    match serde_json::from_str(row) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(RowFault {
            line,
            column: None,
            error: wrong(
                "the line",
                &other,
                &format!("an object with `{}`", [texts, labels].concat().join("` and `")),
            ),
        }),
        Err(error) => {
            let words = error.to_string();
            let reason = words.rsplit_once(" at line ").map_or(&words[..], |(reason, _)| reason);
            Err(RowFault {
                line,
                column: Some(error.column()),
                error: RowError::NotJson {
                    reason: format!("{reason}{}", hint(row, line, [texts, labels].concat())),
                },
            })
        }
    }
}

/// Whether the first line is the header of a table.
fn hint(row: &str, line: u64, columns: Vec<String>) -> String {
    let separator = row.chars().find(|character| ",\t;|".contains(*character));
    let is_header = line == 1 && columns.iter().all(|column| row.contains(column)) && !row.starts_with('{');
    match (separator, is_header) {
        (Some('\t'), true) => "; it seems to be a table: set data.format: tsv".to_owned(),
        (Some(','), true) => "; it seems to be a table: set data.format: csv".to_owned(),
        (Some(other), true) => {
            format!("; it seems to be a table: set data.format: csv and data.delimiter: \"{other}\"")
        }
        _ => String::new(),
    }
}

fn texts_of<'a>(object: &'a Map<String, Value>, input: &Input<'_>) -> Result<Vec<&'a str>, RowError> {
    let text = |name: &String| match field(object, name, input.role)? {
        Value::String(text) if text.trim().is_empty() => Err(empty(input.role, name)),
        Value::String(text) => Ok(text.as_str()),
        other => Err(wrong(&format!("field `{name}`"), other, "a string")),
    };
    input.columns.iter().map(text).collect()
}

fn labels_of(object: &Map<String, Value>, columns: &LabelColumns, rows: &Rows<'_>) -> Result<Vec<String>, RowError> {
    if let LabelColumns::List { column, separator } = columns {
        return match field(object, column, "label")? {
            Value::String(list) => rows.labels(list.split(*separator), column),
            Value::Array(list) => {
                let texts = list.iter().map(|label| text_of_label(label, column));
                let texts = texts.collect::<Result<Vec<_>, _>>()?;
                rows.labels(texts.iter().map(String::as_str), column)
            }
            one => rows.labels([text_of_label(one, column)?.as_str()], column),
        };
    }
    let label = |name: &String| rows.label(label_of(field(object, name, "label")?, name)?, name);
    columns.names().iter().map(label).collect()
}

fn label_of(label: &Value, name: &str) -> Result<String, RowError> {
    let label = text_of_label(label, name)?;
    if label.is_empty() {
        return Err(empty("label", name));
    }
    Ok(label)
}

fn text_of_label(label: &Value, name: &str) -> Result<String, RowError> {
    Ok(match label {
        Value::String(label) => label.trim().to_owned(),
        Value::Number(label) => label.to_string(),
        Value::Bool(label) => label.to_string(),
        Value::Null => {
            return Err(RowError::MissingLabel {
                column: name.to_owned(),
                value: "null".to_owned(),
            });
        }
        other => {
            return Err(wrong(
                &format!("field `{name}`"),
                other,
                "a string, a number or a boolean",
            ));
        }
    })
}

pub(super) fn field<'a>(object: &'a Map<String, Value>, name: &str, role: &'static str) -> Result<&'a Value, RowError> {
    object.get(name).ok_or_else(|| {
        let fields: Vec<&String> = object.keys().collect();
        RowError::MissingField {
            field: name.to_owned(),
            role,
            found: names::enumerate(&fields),
            nearest: names::suggestion(name, &fields),
        }
    })
}

pub(super) fn empty(role: &'static str, column: &str) -> RowError {
    RowError::Empty {
        role,
        column: column.to_owned(),
    }
}

pub(super) fn wrong(what: &str, found: &Value, expected: &str) -> RowError {
    RowError::WrongJson {
        what: what.to_owned(),
        found: kind(found),
        expected: expected.to_owned(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

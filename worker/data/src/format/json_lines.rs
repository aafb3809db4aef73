//! One JSON object a line, with a string of text and a label that is a string, a number or a boolean. Blank lines are passed over.

use std::path::Path;

use serde_json::Value;

use super::{Listed, Listing, file_name, read_file};
use crate::{DataError, Source, SplitName, names};

pub(super) fn list(split: SplitName, path: &Path, text: &str, label: &str) -> Result<Listing, DataError> {
    let bytes = read_file(split, path, "jsonl")?;
    let name = file_name(path);
    let mut samples = Vec::new();
    for (line, row) in (1u64..).zip(bytes.split(|byte| *byte == b'\n')) {
        let place = Place { path, line };
        let row = std::str::from_utf8(row).map_err(|_| DataError::NotUtf8 {
            path: path.to_owned(),
            line,
        })?;
        if row.trim().is_empty() {
            continue;
        }
        let (content, class) = place.read(row, text, label)?;
        samples.push(Listed {
            id: format!("{name}:{line}"),
            class,
            source: Source::Text(content),
        });
    }
    Ok(Listing::of_rows(split, path, samples))
}

struct Place<'a> {
    path: &'a Path,
    line: u64,
}

impl Place<'_> {
    fn read(&self, row: &str, text: &str, label: &str) -> Result<(String, String), DataError> {
        let value: Value = serde_json::from_str(row).map_err(|error| self.not_json(&error))?;
        let Value::Object(object) = value else {
            let expected = format!("an object with `{text}` and `{label}`");
            return Err(self.wrong("the line".to_owned(), kind(&value), expected));
        };
        let field = |name: &str, role: &'static str| {
            let fields: Vec<&String> = object.keys().collect();
            object.get(name).ok_or_else(|| DataError::MissingField {
                path: self.path.to_owned(),
                line: self.line,
                field: name.to_owned(),
                role,
                found: names::enumerate(&fields),
                nearest: names::suggestion(name, &fields),
            })
        };
        let content = match field(text, "text")? {
            Value::String(content) => content.clone(),
            other => return Err(self.wrong(format!("field `{text}`"), kind(other), "a string".to_owned())),
        };
        let class = match field(label, "label")? {
            Value::String(class) => class.trim().to_owned(),
            Value::Number(class) => class.to_string(),
            Value::Bool(class) => class.to_string(),
            other => {
                return Err(self.wrong(
                    format!("field `{label}`"),
                    kind(other),
                    "a string, a number or a boolean".to_owned(),
                ));
            }
        };
        for (role, column, value) in [("text", text, content.trim()), ("label", label, &class)] {
            if value.is_empty() {
                return Err(DataError::EmptyField {
                    path: self.path.to_owned(),
                    line: self.line,
                    role,
                    column: column.to_owned(),
                });
            }
        }
        Ok((content, class))
    }

    fn not_json(&self, error: &serde_json::Error) -> DataError {
        let words = error.to_string();
        let reason = words
            .rsplit_once(" at line ")
            .map_or(words.as_str(), |(reason, _)| reason)
            .to_owned();
        DataError::NotJson {
            path: self.path.to_owned(),
            line: self.line,
            column: error.column(),
            reason,
        }
    }

    fn wrong(&self, what: String, found: &'static str, expected: String) -> DataError {
        DataError::WrongJson {
            path: self.path.to_owned(),
            line: self.line,
            what,
            found,
            expected,
        }
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

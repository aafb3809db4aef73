//! The tree of a file → the message, by the schema; every mistake is noted and reading goes on.

use std::{collections::BTreeMap, path::Path};

use firn_core::spec::schema::{Field, Form, Kind, join, most, unknown_field};
use serde_json::{Map, Number, Value as Json};

use super::{
    Problem, paths,
    schema::{first_text, is_ignored},
    tree::{Entry, Node, Value},
};

/// Where other programs take `auto`.
const LEARNING_RATE: &str = "spec.training.optimizer.learningRate";

/// Reads a message and remembers what was wrong and where everything stands.
pub(super) struct Reading<'a> {
    /// What relative paths are relative to.
    folder: &'a Path,
    pub(super) problems: Vec<Problem>,
    /// Line of each field that the file holds, by path.
    pub(super) lines: BTreeMap<String, usize>,
}

impl<'a> Reading<'a> {
    pub(super) fn of_file_in(folder: &'a Path) -> Self {
        Self {
            folder,
            problems: Vec::new(),
            lines: BTreeMap::new(),
        }
    }

    fn problem(&mut self, path: &str, line: usize, message: impl Into<String>) {
        self.problems.push(Problem {
            line: Some(line),
            field: path.to_owned(),
            message: message.into(),
        });
    }

    /// The object as JSON; what was wrong is left out of it.
    pub(super) fn object(&mut self, fields: &[Field], path: &str, node: &Node) -> Option<Json> {
        let Value::Mapping(entries) = &node.value else {
            let message = format!("expected a mapping of fields, found {}", described(node));
            self.problem(path, node.line, message);
            return None;
        };
        let mut found = Map::new();
        for (i, entry) in entries.iter().enumerate() {
            let here = join(path, &entry.key);
            match fields.iter().find(|field| field.name == entry.key) {
                None if is_ignored(path, &entry.key) => {}
                None => self.problem(&here, entry.line, unknown_field(fields, path, &entry.key)),
                Some(_) if self.is_repeated(&here, entry, &entries[..i]) => {}
                Some(_) if entry.value.is_null() => {
                    self.lines.insert(here, entry.line);
                }
                Some(field) => {
                    self.lines.insert(here.clone(), entry.line);
                    if let Some(value) = self.value(&field.kind, &here, entry.line, &entry.value) {
                        found.insert(entry.key.clone(), value);
                    }
                }
            }
        }
        Some(Json::Object(found))
    }

    fn is_repeated(&mut self, path: &str, entry: &Entry, before: &[Entry]) -> bool {
        let first = before.iter().find(|other| other.key == entry.key);
        if let Some(first) = first {
            self.problem(
                path,
                entry.line,
                format!("is given twice, first on line {}", first.line),
            );
        }
        first.is_some()
    }

    fn value(&mut self, kind: &Kind, path: &str, line: usize, node: &Node) -> Option<Json> {
        match (kind, &node.value) {
            (Kind::Object(fields), Value::Mapping(_)) => self.object(fields, path, node),
            (Kind::List { item, .. }, Value::Sequence(items)) => self.list(item, path, items),
            (Kind::Map(inner), Value::Mapping(entries)) => self.map(inner, path, entries),
            _ => match (kind, scalar(kind, node)) {
                (Kind::Text(Form::Uri), Some(Json::String(written))) => {
                    let absolute = paths::absolute(&written, self.folder);
                    absolute
                        .map_err(|message| self.problem(path, line, message))
                        .ok()
                        .map(Json::String)
                }
                (_, None) => {
                    let expected = format!("expected {}, found {}", kind.expectation(), described(node));
                    let remedy = format!("{}{}", remedy(kind, node), finder(path, node));
                    self.problem(path, line, format!("{expected}{remedy}"));
                    None
                }
                (_, value) => value,
            },
        }
    }

    fn list(&mut self, kind: &Kind, path: &str, items: &[Node]) -> Option<Json> {
        let mut values = Vec::new();
        for (i, item) in items.iter().enumerate() {
            values.push(self.value(kind, &format!("{path}[{i}]"), item.line, item));
        }
        values.into_iter().collect::<Option<Vec<Json>>>().map(Json::Array)
    }

    fn map(&mut self, kind: &Kind, path: &str, entries: &[Entry]) -> Option<Json> {
        let mut values = Vec::new();
        for (i, inner) in entries.iter().enumerate() {
            let here = join(path, &inner.key);
            if !self.is_repeated(&here, inner, &entries[..i]) {
                self.lines.insert(here.clone(), inner.line);
                let value = self.value(kind, &here, inner.line, &inner.value);
                values.push(value.map(|value| (inner.key.clone(), value)));
            }
        }
        let values = values.into_iter().collect::<Option<Map<String, Json>>>();
        values.map(Json::Object)
    }
}

/// Who finds a rate where none is written.
fn finder(path: &str, node: &Node) -> &'static str {
    match &node.value {
        Value::Scalar { text, .. } if path == LEARNING_RATE && text == "auto" => {
            "; `firn lr-find` suggests a rate for this file"
        }
        _ => "",
    }
}

/// How to write what was probably meant.
fn remedy(kind: &Kind, node: &Node) -> String {
    let Value::Scalar { text, plain } = &node.value else {
        return String::new();
    };
    match kind {
        Kind::Text(_) | Kind::Choice(_) if !node.is_null() => format!("; write \"{text}\" in quotes"),
        Kind::Object(fields) if is_text(text) => match first_text(fields) {
            Some(first) => format!("; did you mean `{{{first}: {text}}}`?"),
            None => String::new(),
        },
        Kind::Boolean | Kind::Integer { .. } | Kind::Number(_) if !plain => {
            let unquoted = Node {
                line: node.line,
                value: Value::Scalar {
                    text: text.clone(),
                    plain: true,
                },
            };
            scalar(kind, &unquoted)
                .map(|_| "; leave out the quotes".to_owned())
                .unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// The value of a scalar by YAML 1.2's core schema, if it is of the kind.
fn scalar(kind: &Kind, node: &Node) -> Option<Json> {
    let Value::Scalar { text, plain } = &node.value else {
        return None;
    };
    match kind {
        Kind::Text(_) | Kind::Choice(_) => (!plain || is_text(text)).then(|| Json::String(text.clone())),
        _ if !plain => None,
        Kind::Boolean => truth(text).map(Json::Bool),
        Kind::Integer { bits, .. } => whole(text).filter(|number| *number <= most(*bits)).map(Json::from),
        Kind::Number(_) => number(text).and_then(Number::from_f64).map(Json::Number),
        Kind::List { .. } | Kind::Map(_) | Kind::Object(_) => None,
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn whole(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8).ok();
    }
    text.parse().ok()
}

/// Decimal, with or without fraction and exponent; also hexadecimal and octal whole numbers.
fn number(text: &str) -> Option<f64> {
    let looks_like_one = text.contains(|letter: char| letter.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if looks_like_one {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    } else {
        whole(text).map(|n| n as f64)
    }
}

fn is_special_number(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    matches!(unsigned.as_str(), ".inf" | ".nan")
}

/// Whether a plain scalar stands for itself and for nothing else.
fn is_text(text: &str) -> bool {
    let is_null = matches!(text, "" | "~" | "null" | "Null" | "NULL");
    !is_null && truth(text).is_none() && number(text).is_none() && !is_special_number(text)
}

fn described(node: &Node) -> String {
    match &node.value {
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Scalar { .. } if node.is_null() => "nothing".to_owned(),
        Value::Scalar { text, plain: true } if is_special_number(text) => format!("`{text}`"),
        Value::Scalar { text, plain: true } if number(text).is_some() => format!("the number {text}"),
        Value::Scalar { text, plain: true } if truth(text).is_some() => text.clone(),
        Value::Scalar { text, .. } => format!("the text `{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_yaml_1_2_says() {
        for (text, expected) in [
            ("1e-3", Some(1e-3)),
            ("1E-3", Some(1e-3)),
            ("1.5e+2", Some(150.0)),
            ("-0.5", Some(-0.5)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("10", Some(10.0)),
            ("0x10", Some(16.0)),
            ("1e999", None),
            ("1_000", None),
            (".inf", None),
            (".nan", None),
            ("inf", None),
            ("e", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn text_is_what_stands_for_nothing_else() {
        for text in ["abc", "1a", "no", "on", "yes", "0x", "v1", "1.2.3", "inf", "-", "é"] {
            assert!(is_text(text), "{text}");
        }
        for text in ["", "~", "null", "true", "False", "12", "1e5", ".inf", "-.INF", "0o7"] {
            assert!(!is_text(text), "{text}");
        }
    }
}

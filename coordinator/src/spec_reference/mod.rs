//! The spec's schema in words: what `firn explain` prints, and the reference page `proto/SPEC.md`.

mod page;

use std::fmt::Write as _;

use firn_core::spec::{
    Modality, nearest,
    schema::{self, Fallback, Field, Form, Kind, Range, join},
};

pub use page::page;

/// What is said of a field; without one, of the whole document.
pub fn explanation(path: &str, field: Option<&Field>, recursive: bool) -> String {
    let mut lines = Vec::new();
    let fields = match field {
        None => {
            lines.push("A fine-tuning job, as it is written in YAML or JSON.".to_owned());
            schema::document()
        }
        Some(field) => {
            lines.push(format!("FIELD: {path} <{}>", kind(&field.kind)));
            lines.push(String::new());
            lines.push(field.explanation.clone());
            lines.push(String::new());
            lines.extend(facts(field).into_iter().map(|(name, value)| format!("{name}: {value}")));
            if let Kind::Choice(choices) = &field.kind {
                lines.push("words:".to_owned());
                let word = |choice: &schema::Choice| format!("  {:<28}{}", choice.word, choice.explanation);
                lines.extend(choices.iter().map(|choice| word(choice).trim_end().to_owned()));
            }
            field.kind.fields()
        }
    };
    if !fields.is_empty() {
        lines.push(String::new());
        lines.push("FIELDS:".to_owned());
        below(fields, 1, recursive, &mut lines);
    }
    lines.dedup_by(|one, other| one.is_empty() && other.is_empty());
    lines.join("\n")
}

fn below(fields: &[Field], depth: usize, recursive: bool, lines: &mut Vec<String>) {
    for field in fields {
        let indent = "  ".repeat(depth);
        let required = if field.is_required() { " -required-" } else { "" };
        lines.push(format!("{indent}{} <{}>{required}", field.name, kind(&field.kind)));
        if recursive {
            below(field.kind.fields(), depth + 1, recursive, lines);
        } else {
            lines.push(format!("{indent}  {}", field.explanation));
        }
    }
}

/// What is said of a path that leads nowhere.
pub fn unknown(path: &str) -> String {
    let mut fields = schema::document();
    let mut known = String::new();
    for name in path.split('.') {
        match fields.iter().find(|field| field.name == name) {
            Some(field) => {
                known = join(&known, name);
                fields = field.kind.fields();
            }
            None if fields.is_empty() => return format!("`{known}` has no fields, found `{path}`"),
            None => {
                let whole = join(&known, name);
                let meant = nearest(name, fields.iter().map(|field| field.name.as_str()));
                return match meant {
                    Some(meant) => format!("{whole}: unknown field; did you mean `{}`?", join(&known, meant)),
                    None => format!("{whole}: {}", schema::unknown_field(fields, &known, name)),
                };
            }
        }
    }
    format!("{path}: unknown field")
}

/// The type in words.
fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Text(Form::Plain) => "text".to_owned(),
        Kind::Text(Form::Uri) => "URI or absolute path".to_owned(),
        Kind::Text(Form::Duration) => "duration: 500ms, 90s, 5m, 1h".to_owned(),
        Kind::Choice(_) => "one of some words".to_owned(),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Integer { .. } => "whole number".to_owned(),
        Kind::Number(_) => "number".to_owned(),
        Kind::List { item, length: None } => format!("list, each item {}", item.expectation()),
        Kind::List {
            length: Some((_, words)),
            ..
        } => words.clone(),
        Kind::Map(inner) => format!("mapping of names, each to {}", inner.expectation()),
        Kind::Object(_) => "fields".to_owned(),
    }
}

fn range(kind: &Kind) -> Option<String> {
    let of = |range: &Range| range.words();
    match kind {
        Kind::Integer { range, .. } | Kind::Number(range) => of(range),
        Kind::List { item, .. } | Kind::Map(item) => range(item).map(|words| format!("each {words}")),
        _ => None,
    }
}

/// Range, default, and to what the field belongs.
pub fn facts(field: &Field) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if let Some(words) = range(&field.kind) {
        found.push(("range", words));
    }
    if let Some(default) = default(field) {
        found.push(("default", default));
    }
    if let Some(only) = &field.only {
        let words: Vec<String> = only.words.iter().map(|word| format!("`{word}`")).collect();
        found.push(("only with", format!("{} {}", only.field, words.join(", "))));
    }
    match field.modality {
        Some(Modality::Image) => found.push(("only for", "image models".to_owned())),
        Some(Modality::Text) => found.push(("only for", "text models".to_owned())),
        None => {}
    }
    if field.is_required() {
        found.push(("required", "yes".to_owned()));
    }
    found
}

fn default(field: &Field) -> Option<String> {
    if let Some(note) = &field.default_note {
        return Some(note.clone());
    }
    let plain = |value: &serde_json::Value| match value {
        serde_json::Value::String(word) => word.clone(),
        other => other.to_string(),
    };
    match &field.default {
        Fallback::None => None,
        Fallback::Value(value) => Some(plain(value)).filter(|default| default != "{}"),
        Fallback::ByChoice(values) => {
            let mut words = String::new();
            for (i, (choice, value)) in values.iter().enumerate() {
                let between = if i > 0 { ", " } else { "" };
                write!(words, "{between}{} for `{choice}`", plain(value)).expect("a text takes all that is written");
            }
            Some(words)
        }
    }
}

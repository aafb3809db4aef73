//! Each field by itself: known names, kinds, words, forms; and the defaults that depend on nothing.
//!
//! What is wrong is noted and replaced by something that lets the rules between the other fields be asked.

use serde_json::{Map, Value};

use crate::spec::{
    Violation, duration, nearest,
    number::number,
    schema::{self, Fallback, Field, Form, Kind, join, most},
    uri,
    validate::within,
};

/// The violations found so far.
#[derive(Default)]
pub(super) struct Checks {
    pub(super) violations: Vec<Violation>,
}

/// Takes out what says nothing: empty texts, lists and maps, as the wire's unset fields are.
pub(super) fn tidy(document: &mut Value) {
    below(schema::document(), document);

    fn below(fields: &[Field], object: &mut Value) {
        let Value::Object(found) = object else { return };
        found.retain(|_, value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => true,
        });
        for field in fields {
            let Some(value) = found.get_mut(&field.name) else {
                continue;
            };
            match &field.kind {
                Kind::Object(fields) => below(fields, value),
                Kind::Map(_) if value.as_object().is_some_and(Map::is_empty) => {
                    found.shift_remove(&field.name);
                }
                _ => {}
            }
        }
    }
}

impl Checks {
    pub(super) fn add(&mut self, field: &str, message: impl Into<String>) {
        self.violations.push(Violation {
            field: field.to_owned(),
            message: message.into(),
        });
    }

    /// Notes a violation if a field is there that has no meaning here, and takes it out; `reason` says why.
    pub(super) fn absent(&mut self, object: &mut Value, path: &str, name: &str, reason: &str) {
        let found = object.as_object_mut().and_then(|fields| fields.shift_remove(name));
        if found.is_some() {
            self.add(&join(path, name), format!("must be left out: {reason}"));
        }
    }

    /// Checks a whole document and fills in what depends on nothing.
    pub(super) fn document(&mut self, document: &mut Value) {
        if !document.is_object() {
            self.add("", format!("expected a mapping of fields, found {document}"));
            *document = Value::Object(Map::new());
        }
        self.object(schema::document(), "", document);
    }

    fn object(&mut self, fields: &[Field], path: &str, object: &mut Value) {
        let Value::Object(found) = object else { return };
        self.unknown(fields, path, found);
        for field in fields {
            let here = join(path, &field.name);
            let choice = field
                .only
                .as_ref()
                .and_then(|only| found.get(&only.field))
                .and_then(Value::as_str);
            let choice = choice.map(str::to_owned);
            if let Some(only) = &field.only
                && !only.words.iter().any(|word| Some(word) == choice.as_ref())
            {
                // Where the choice was not understood, nobody knows what belongs to it.
                let is_known = !self
                    .violations
                    .iter()
                    .any(|wrong| wrong.field == join(path, &only.field));
                if found.shift_remove(&field.name).is_some() && is_known {
                    let (chosen, owners) = (choice.unwrap_or_default(), enumerated(&only.words));
                    self.add(
                        &here,
                        format!("must be left out: `{chosen}` has none; it belongs to {owners}"),
                    );
                }
                continue;
            }
            let tag = choice.or_else(|| tag_beside(field, fields, found));
            match found.get_mut(&field.name) {
                Some(value) if !value.is_null() => self.value(field, &here, value),
                _ => self.missing(field, &here, tag.as_deref(), found),
            }
        }
    }

    fn missing(&mut self, field: &Field, path: &str, choice: Option<&str>, found: &mut Map<String, Value>) {
        let value = if let Some(default) = field.default_with(choice) {
            default.clone()
        } else if field.is_required() {
            self.add(path, required(path, &field.kind));
            stand_in(&field.kind)
        } else if let (Kind::Object(fields), false, None) = (&field.kind, field.optional, &field.default_note) {
            let mut inner = Value::Object(Map::new());
            self.object(fields, path, &mut inner);
            inner
        } else {
            return;
        };
        found.insert(field.name.clone(), value);
    }

    fn value(&mut self, field: &Field, path: &str, value: &mut Value) {
        let before = self.violations.len();
        self.kind(&field.kind, path, value);
        let is_wrong = self.violations[before..].iter().any(|found| found.field == path);
        if is_wrong {
            *value = match field.default_with(None) {
                Some(default) => default.clone(),
                None => stand_in(&field.kind),
            };
        }
    }

    fn kind(&mut self, kind: &Kind, path: &str, value: &mut Value) {
        match (kind, &mut *value) {
            (Kind::Text(form), Value::String(text)) => {
                let found = match form {
                    Form::Plain => Ok(()),
                    Form::Uri => uri::path(text).map(|_| ()),
                    Form::Duration => duration::milliseconds(text).map(|_| ()),
                };
                if let Err(message) = found {
                    self.add(path, message);
                }
            }
            (Kind::Choice(_), Value::String(word)) => {
                if !kind.words().contains(&word.as_str()) {
                    self.add(path, unknown_word(path, word, &kind.words()));
                }
            }
            (Kind::Boolean, Value::Bool(_)) => {}
            (Kind::Integer { bits, .. }, Value::Number(found)) if found.as_u64().is_some_and(|n| n <= most(*bits)) => {}
            (Kind::Number(_), Value::Number(found)) if found.is_f64() || found.is_u64() || found.is_i64() => {}
            (Kind::Number(range), Value::String(text)) if not_finite(text).is_some() => {
                let expected = range.words().unwrap_or_else(|| "finite".to_owned());
                let found = number(not_finite(text).unwrap_or_default());
                self.add(path, format!("must be {expected}, found {found}"));
                *value = stand_in(kind);
            }
            (Kind::List { item, length }, Value::Array(items)) => {
                if let Some((expected, words)) = length
                    && *expected != items.len()
                {
                    self.add(path, format!("must be {words}, found {}", items.len()));
                    return;
                }
                for (i, found) in items.iter_mut().enumerate() {
                    self.kind(item, &format!("{path}[{i}]"), found);
                }
            }
            (Kind::Map(inner), Value::Object(entries)) => {
                for (name, found) in entries {
                    self.kind(inner, &join(path, name), found);
                }
            }
            (Kind::Object(fields), Value::Object(_)) => self.object(fields, path, value),
            (kind, found) => {
                let message = format!("expected {}, found {found}", kind.expectation());
                self.add(path, message);
            }
        }
    }

    fn unknown(&mut self, fields: &[Field], path: &str, found: &mut Map<String, Value>) {
        found.retain(|name, _| {
            let known = fields.iter().any(|field| field.name == *name);
            if !known {
                self.add(&join(path, name), unknown_field(fields, path, name));
            }
            known
        });
    }

    /// Whether nothing is wrong with a field, nor with what it stands in, nor with what stands in it.
    fn is_sound(&self, field: &str) -> bool {
        let touches = |found: &Violation| within(&found.field, field) || within(field, &found.field);
        !self.violations.iter().any(touches)
    }

    /// Adds what the rules of a whole spec found, less what follows from a field that is wrong already or unreliable.
    pub(super) fn add_rules(&mut self, found: Vec<Violation>, unreliable: &[&str]) {
        let is_reliable = |rule: &Violation| !unreliable.iter().any(|field| within(&rule.field, field));
        let sound: Vec<Violation> = found
            .into_iter()
            .filter(|rule| self.is_sound(&rule.field) && is_reliable(rule))
            .collect();
        self.violations.extend(sound);
    }
}

/// The word of the choice on which a field's default depends, though the field belongs to all choices.
fn tag_beside(field: &Field, fields: &[Field], found: &Map<String, Value>) -> Option<String> {
    let Fallback::ByChoice(values) = &field.default else {
        return None;
    };
    let knows_all = |tag: &&Field| values.iter().all(|(word, _)| tag.kind.words().contains(&word.as_str()));
    let tag = fields.iter().find(knows_all)?;
    Some(found.get(&tag.name)?.as_str()?.to_owned())
}

/// What is said of a name that is no field.
pub fn unknown_field(fields: &[Field], path: &str, name: &str) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    let mut elsewhere = Vec::new();
    schema::walk(&mut |path, field| {
        if field.name == name {
            elsewhere.push(path.to_owned());
        }
    });
    let advice = match (nearest(name, names.iter().copied()), elsewhere.as_slice()) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, [only]) => format!("did you mean `{only}`?"),
        _ => {
            let owner = if path.is_empty() { "a job" } else { path };
            format!("the fields of {owner} are {}", names.join(", "))
        }
    };
    format!("unknown field; {advice}")
}

fn quoted(words: &[impl AsRef<str>], between: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    quoted.join(between)
}

/// `a`, `b` and `c`.
fn enumerated(words: &[impl AsRef<str>]) -> String {
    match words.split_last() {
        Some((last, [])) => quoted(&[last], ""),
        Some((last, others)) => format!("{} and {}", quoted(others, ", "), quoted(&[last], "")),
        None => String::new(),
    }
}

/// Words beyond which a message says where they are listed, and does not list them.
const SPELLED_OUT: usize = 32;

/// `one of …`, as far as people read it.
fn one_of(path: &str, words: &[&str]) -> String {
    match words.len() {
        1 => quoted(words, ""),
        0..=SPELLED_OUT => format!("one of {}", quoted(words, ", ")),
        count => {
            let field = path.split('[').next().unwrap_or_default();
            format!("one of the {count} words that `firn explain {field}` lists")
        }
    }
}

fn required(path: &str, kind: &Kind) -> String {
    let words = kind.words();
    match words.len() {
        0 => "is required".to_owned(),
        1 => format!("is required: {}", one_of(path, &words)),
        _ => format!("is required; {}", one_of(path, &words)),
    }
}

fn unknown_word(path: &str, written: &str, words: &[&str]) -> String {
    let valid = one_of(path, words);
    match nearest(written, words.iter().copied()) {
        Some(meant) if words.len() > 1 => format!("must be {valid}, found `{written}`; did you mean `{meant}`?"),
        _ => format!("must be {valid}, found `{written}`"),
    }
}

/// A number that JSON cannot say, as [`super::super::to_value`] writes it.
pub(in crate::spec) fn not_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Something of the kind, for the rules between other fields.
fn stand_in(kind: &Kind) -> Value {
    match kind {
        Kind::Text(Form::Uri) => "/".into(),
        Kind::Text(Form::Duration) => "0s".into(),
        Kind::Text(Form::Plain) => "".into(),
        Kind::Choice(choices) => choices
            .first()
            .map_or(Value::Null, |choice| choice.word.as_str().into()),
        Kind::Boolean => false.into(),
        Kind::Integer { .. } => 1.into(),
        Kind::Number(_) => 1.0.into(),
        Kind::List { .. } | Kind::Map(_) | Kind::Object(_) => Value::Null,
    }
}

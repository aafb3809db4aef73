//! The spec as data: its fields with their explanations, types, words, ranges and defaults.
//!
//! It is read once from the definitions of the types, which carry it as attributes, and flattened on the way: what Rust says as an enum
//! with fields, a person writes as fields beside each other of which some belong to one choice only. That is also the form which a
//! Kubernetes structural schema can take.

mod derived;
mod json;

use std::sync::LazyLock;

use serde_json::Value;

use super::Modality;
pub use super::document::unknown_field;
use crate::revision::Revision;

/// One field of the document.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// As people write it.
    pub name: String,
    /// What it means, in sentences.
    pub explanation: String,
    /// What it may hold.
    pub kind: Kind,
    /// Whether a job without it is complete.
    pub optional: bool,
    /// What it is when nothing is written.
    pub default: Fallback,
    /// The same in words, where it depends on other fields.
    pub default_note: Option<String>,
    /// The choices to which it belongs; `None`: to all.
    pub only: Option<Only>,
    /// The models to which it belongs; `None`: to all.
    pub modality: Option<Modality>,
    /// Whether what is learned can depend on it by more than the order of floating-point sums.
    pub shapes_result: bool,
    /// Whether ranks need to know it; `false`: only the coordinator does.
    pub for_ranks: bool,
    /// The first revision of the protocol whose ranks know the field; [`Revision::UNMARKED`] of those that say nothing.
    pub since: Revision,
}

/// What a field may hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Any text of a form.
    Text(Form),
    /// One of some words.
    Choice(Vec<Choice>),
    /// True or false.
    Boolean,
    /// A whole number.
    Integer {
        /// Bits of the number on the wire, which has no sign there.
        bits: u32,
        /// Where it may lie.
        range: Range,
    },
    /// A finite number.
    Number(Range),
    /// Values of one kind.
    List {
        /// Of each.
        item: Box<Kind>,
        /// How many, and why, in words: `three numbers, one for each channel`.
        length: Option<(usize, String)>,
    },
    /// Values of one kind by names that the user gives.
    Map(Box<Kind>),
    /// Fields of its own.
    Object(Vec<Field>),
}

/// What a text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Itself.
    Plain,
    /// A file or folder: a `file://` URI or an absolute path.
    Uri,
    /// A duration: a whole number with a unit.
    Duration,
}

/// A word that a field may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// As people write it.
    pub word: String,
    /// What it means.
    pub explanation: String,
    /// The first revision of the protocol whose ranks know the word.
    pub since: Revision,
}

/// What a field is when nothing is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Fallback {
    /// Nothing, or what other fields say.
    None,
    /// Always the same.
    Value(Value),
    /// What the choice says to which the field belongs.
    ByChoice(Vec<(String, Value)>),
}

/// The choices of a sibling to which a field belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    /// Name of the sibling, which holds a [`Kind::Choice`].
    pub field: String,
    /// Its words to which the field belongs.
    pub words: Vec<String>,
}

/// Where a number may lie.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Range {
    /// Lower end.
    pub least: Option<End>,
    /// Upper end.
    pub most: Option<End>,
}

/// An end of a range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct End {
    /// The number.
    pub at: f64,
    /// Whether the number itself may be taken.
    pub included: bool,
}

impl Range {
    /// Whether a number lies in it; NaN lies nowhere.
    pub fn holds(&self, number: f64) -> bool {
        let above = self
            .least
            .is_none_or(|end| number > end.at || (end.included && number == end.at));
        let below = self
            .most
            .is_none_or(|end| number < end.at || (end.included && number == end.at));
        number.is_finite() && above && below
    }

    /// In words: `from 1 to 10`, `above 0`, `at least 0 and below 1`; `None`: any number.
    pub fn words(&self) -> Option<String> {
        use super::number::number;
        let lower = |end: End| format!("{} {}", if end.included { "at least" } else { "above" }, number(end.at));
        let upper = |end: End| format!("{} {}", if end.included { "at most" } else { "below" }, number(end.at));
        match (self.least, self.most) {
            (None, None) => None,
            (Some(least), Some(most)) if least.included && most.included => {
                Some(format!("from {} to {}", number(least.at), number(most.at)))
            }
            (Some(least), Some(most)) => Some(format!("{} and {}", lower(least), upper(most))),
            (Some(least), None) => Some(lower(least)),
            (None, Some(most)) => Some(upper(most)),
        }
    }
}

impl Kind {
    /// What a reader expects to find.
    pub fn expectation(&self) -> String {
        match self {
            Self::Text(_) | Self::Choice(_) => "text".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Integer { bits, .. } => format!("a whole number from 0 to {}", most(*bits)),
            Self::Number(_) => "a number".to_owned(),
            Self::List { item, .. } => format!("a list, each item {}", item.expectation()),
            Self::Map(value) => format!("a mapping of names, each to {}", value.expectation()),
            Self::Object(_) => "a mapping of fields".to_owned(),
        }
    }

    /// The words of a choice.
    pub fn words(&self) -> Vec<&str> {
        match self {
            Self::Choice(choices) => choices.iter().map(|choice| choice.word.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// The fields of an object.
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::Object(fields) => fields,
            _ => &[],
        }
    }
}

/// The largest whole number of so many bits.
pub fn most(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

impl Field {
    /// Whether a job without it is refused.
    pub fn is_required(&self) -> bool {
        let is_scalar = !matches!(self.kind, Kind::Object(_) | Kind::Map(_));
        is_scalar && !self.optional && self.default == Fallback::None && self.default_note.is_none()
    }

    /// Whether a document without it is refused: because of itself, or of a field in it.
    pub fn is_needed(&self) -> bool {
        let holds_needed = || {
            self.kind
                .fields()
                .iter()
                .any(|field| field.only.is_none() && field.is_needed())
        };
        self.is_required() || (!self.optional && self.default_note.is_none() && holds_needed())
    }

    /// What it is when nothing is written and its sibling holds `word`.
    pub fn default_with(&self, word: Option<&str>) -> Option<&Value> {
        match &self.default {
            Fallback::None => None,
            Fallback::Value(value) => Some(value),
            Fallback::ByChoice(values) => values
                .iter()
                .find(|(known, _)| Some(known.as_str()) == word)
                .map(|(_, value)| value),
        }
    }
}

/// The whole document.
pub fn document() -> &'static [Field] {
    static DOCUMENT: LazyLock<Vec<Field>> = LazyLock::new(derived::document);
    &DOCUMENT
}

/// The document as JSON Schema.
pub fn json_schema() -> Value {
    json::document(document())
}

/// One field as JSON Schema, as it stands in [`json_schema`].
pub fn json_schema_of(field: &Field) -> Value {
    json::property(field)
}

/// The field at a path: `spec.training.optimizer`.
pub fn find(path: &str) -> Option<&'static Field> {
    let mut fields = document();
    let mut found = None;
    for name in path.split('.') {
        let field = fields.iter().find(|field| field.name == name)?;
        fields = field.kind.fields();
        found = Some(field);
    }
    found
}

/// Every field with its path, each before those that stand in it.
pub fn walk(visit: &mut dyn FnMut(&str, &'static Field)) {
    fn below(path: &str, fields: &'static [Field], visit: &mut dyn FnMut(&str, &'static Field)) {
        for field in fields {
            let here = join(path, &field.name);
            visit(&here, field);
            below(&here, field.kind.fields(), visit);
        }
    }
    below("", document(), visit);
}

/// Takes the fields that are meant, and all that stands in them, out of a document.
pub(super) fn leave_out(fields: &[Field], value: &mut Value, is_meant: &impl Fn(&Field) -> bool) {
    let Value::Object(found) = value else { return };
    for field in fields {
        if is_meant(field) {
            found.shift_remove(&field.name);
        } else if let Some(inner) = found.get_mut(&field.name) {
            leave_out(field.kind.fields(), inner, is_meant);
        }
    }
}

/// Path of a field in what stands around it.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

//! Fields → JSON Schema: every field has its type where it stands, nothing is referred to, and no number is without a sign. The operator makes
//! the structural schema of a Kubernetes resource of it.

use serde_json::{Map, Value, json};

use super::{Fallback, Field, Form, Kind, Range};

/// The schema of the whole document.
pub(super) fn document(fields: &[Field]) -> Value {
    object(fields)
}

fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.clone(), property(field)))
        .collect();
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.is_needed())
        .map(|field| field.name.as_str())
        .collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

pub(super) fn property(field: &Field) -> Value {
    let mut schema = kind(&field.kind);
    let mut explanation = field.explanation.clone();
    if let Kind::Choice(choices) = &field.kind {
        for choice in choices.iter().filter(|choice| !choice.explanation.is_empty()) {
            explanation.push_str(&format!("\n`{}`: {}", choice.word, choice.explanation));
        }
    }
    schema["description"] = json!(explanation);
    if let Fallback::Value(value) = &field.default {
        schema["default"] = value.clone();
    }
    schema
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Text(Form::Plain) => json!({"type": "string"}),
        Kind::Text(Form::Uri) => json!({"type": "string", "format": crate::spec::uri::FORMAT}),
        Kind::Text(Form::Duration) => json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}),
        Kind::Choice(_) => json!({"type": "string", "enum": kind.words()}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Integer { bits: _, range } => {
            let mut schema = json!({"type": "integer", "format": "int64", "minimum": 0});
            bounds(&mut schema, range, |number| json!(number as i64));
            schema
        }
        Kind::Number(range) => {
            let mut schema = json!({"type": "number"});
            bounds(&mut schema, range, |number| json!(number));
            schema
        }
        Kind::List { item, length } => {
            let mut schema = json!({"type": "array", "items": self::kind(item)});
            if let Some((length, _)) = length {
                schema["minItems"] = json!(length);
                schema["maxItems"] = json!(length);
            }
            schema
        }
        Kind::Map(value) => json!({"type": "object", "additionalProperties": self::kind(value)}),
        Kind::Object(fields) => object(fields),
    }
}

fn bounds(schema: &mut Value, range: &Range, number: impl Fn(f64) -> Value) {
    let ends = [
        (range.least, "minimum", "exclusiveMinimum"),
        (range.most, "maximum", "exclusiveMaximum"),
    ];
    for (end, key, excluded) in ends {
        if let Some(end) = end {
            schema[if end.included { key } else { excluded }] = number(end.at);
        }
    }
}

//! The ranges that stand beside the fields.

use serde_json::Value;

use super::violations::Violations;
use crate::spec::{
    JobSpec,
    document::{nested, not_finite},
    number::number,
    schema::{self, Kind, Range, join},
};

/// Notes every number that lies outside its range; of what a rule has spoken already, nothing more is said.
pub(super) fn check(spec: &JobSpec, violations: &mut Violations) {
    let document = nested(spec);
    for field in schema::document() {
        below(&field.kind, &field.name, &document[&field.name], violations);
    }
}

fn below(kind: &Kind, path: &str, value: &Value, violations: &mut Violations) {
    match (kind, value) {
        (_, Value::Null) => {}
        (Kind::Integer { range, .. } | Kind::Number(range), value) => number_in(range, path, value, violations),
        (Kind::List { item, .. }, Value::Array(items)) => {
            for (i, inner) in items.iter().enumerate() {
                below(item, &format!("{path}[{i}]"), inner, violations);
            }
        }
        (Kind::Map(inner), Value::Object(entries)) => {
            for (name, value) in entries {
                below(inner, &join(path, name), value, violations);
            }
        }
        (Kind::Object(fields), Value::Object(found)) => {
            for field in fields {
                let inner = found.get(&field.name).unwrap_or(&Value::Null);
                below(&field.kind, &join(path, &field.name), inner, violations);
            }
        }
        _ => {}
    }
}

fn number_in(range: &Range, path: &str, value: &Value, violations: &mut Violations) {
    let found = value.as_f64().or_else(|| not_finite(value.as_str()?));
    let Some(found) = found.filter(|found| !range.holds(*found)) else {
        return;
    };
    if !violations.has(path) {
        let expected = range.words().unwrap_or_else(|| "finite".to_owned());
        violations.add(path, format!("must be {expected}, found {}", number(found)));
    }
}

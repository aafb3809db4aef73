//! JSON Schema → the structural schema that a cluster takes: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.
//!
//! OpenAPI 3.0 has no lists of types, says of an end of a range whether it counts beside the end, and warns of formats that it does not
//! know. No field may be null: many templates write `null` where nothing is meant, and the API server takes such a field out before it looks at the
//! rest.

use serde_json::{Value, json};

/// Formats that the API server knows and checks as Firn does.
const FORMATS: [&str; 5] = ["int32", "int64", "double", "date-time", "byte"];

/// What is said of the fields below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Kept.
    Kept,
    /// Left out: a pod's fields have long texts, which Kubernetes tells of its own.
    LeftOut,
}

/// Makes a schema structural, in place.
pub(super) fn make(schema: &mut Value, words: Words) {
    without_null(schema);
    let Value::Object(fields) = schema else { return };
    for name in ["$schema", "title", "default"] {
        fields.shift_remove(name);
    }
    if words == Words::LeftOut {
        fields.shift_remove("description");
    }
    let is_known = |format: &Value| FORMATS.iter().any(|known| format == known);
    if fields.get("format").is_some_and(|format| !is_known(format)) {
        fields.shift_remove("format");
    }
    for (end, excluded) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if fields.get(excluded).is_some_and(Value::is_number) {
            let number = fields.insert(excluded.to_owned(), json!(true)).unwrap_or_default();
            fields.insert(end.to_owned(), number);
        }
    }
    // Both at once would keep the fields of an object, and nothing of what is in them.
    if fields.contains_key("x-kubernetes-preserve-unknown-fields") {
        fields.shift_remove("additionalProperties");
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(|property| make(property, words));
    }
    for below in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(below).filter(|inner| inner.is_object()) {
            make(inner, words);
        }
    }
}

/// Takes the possibility of nothing out of the types.
pub(super) fn without_null(schema: &mut Value) {
    if let Some(kinds) = schema["type"].as_array() {
        let kind = kinds.iter().find(|kind| *kind != "null").cloned();
        schema["type"] = kind.unwrap_or_default();
    }
    let choices = schema["anyOf"].as_array().cloned().unwrap_or_default();
    let something: Vec<&Value> = choices.iter().filter(|choice| choice["type"] != "null").collect();
    if let ([something], 2) = (something.as_slice(), choices.len())
        && let Value::Object(fields) = schema
    {
        fields.shift_remove("anyOf");
        for (name, value) in something.as_object().into_iter().flatten() {
            fields.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    if let Value::Object(fields) = schema {
        fields.retain(|_, value| !value.is_null());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_becomes_one_that_a_cluster_takes() {
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "required": ["rate"],
            "properties": {
                "rate": {"type": "number", "exclusiveMinimum": 0.0, "maximum": 1.0, "default": 0.5},
                "folder": {"type": ["string", "null"], "format": "uri-or-path"},
                "until": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}], "description": "when"},
                "names": {"type": "array", "items": {"type": ["integer", "null"], "format": "uint8"}},
                "patch": {"type": "object", "additionalProperties": true, "x-kubernetes-preserve-unknown-fields": true},
            }
        });
        make(&mut schema, Words::Kept);
        let expected = json!({
            "type": "object",
            "required": ["rate"],
            "properties": {
                "rate": {"type": "number", "minimum": 0.0, "exclusiveMinimum": true, "maximum": 1.0},
                "folder": {"type": "string"},
                "until": {"type": "string", "format": "date-time", "description": "when"},
                "names": {"type": "array", "items": {"type": "integer"}},
                "patch": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }
        });
        assert_eq!(schema, expected);
    }
}

//! JSON Schemas of resources, as the API server itself tells them.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex},
};

use firn_kubernetes_tests::Kubectl;
use serde_json::{Value, json};

/// What the server tells of each group and version, strict.
static TOLD: LazyLock<Mutex<BTreeMap<String, Value>>> = LazyLock::new(Mutex::default);

/// The schema of a document's kind, and the name of the file that kubeconform looks for.
pub(super) fn of(kubectl: &Kubectl, document: &Value) -> (String, Value) {
    let version = document["apiVersion"].as_str().unwrap();
    let kind = document["kind"].as_str().unwrap();
    let path = match version.contains('/') {
        true => format!("/openapi/v3/apis/{version}"),
        false => format!("/openapi/v3/api/{version}"),
    };
    let mut told = TOLD.lock().unwrap();
    let told = told.entry(path.clone()).or_insert_with(|| {
        let mut told: Value = serde_json::from_str(&kubectl.must(&["get", "--raw", &path], "")).unwrap();
        close(&mut told["components"]["schemas"]);
        told
    });
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let is_it = |schema: &Value| {
        schema["x-kubernetes-group-version-kind"]
            .as_array()
            .is_some_and(|kinds| kinds.contains(&json!({"group": group, "version": version, "kind": kind})))
    };
    let schemas = told["components"]["schemas"].as_object().unwrap();
    let (name, _) = schemas.iter().find(|(_, schema)| is_it(schema)).unwrap();
    let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": told["components"]});
    let suffix = match group.split('.').next() {
        Some("") | None => version.to_owned(),
        Some(group) => format!("{group}-{version}"),
    };
    (format!("{}-{suffix}.json", kind.to_lowercase()), schema)
}

/// An object that names its fields has no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_open = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
            if fields.get("properties").is_some_and(Value::is_object)
                && !fields.contains_key("additionalProperties")
                && !is_open
            {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

//! The definition that is kept in `deploy/kubernetes/` is the one that is made of the schema.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::{fs, path::Path};

use firn_operator::resource;
use serde_json::Value;

#[test]
#[allow(clippy::disallowed_methods, reason = "the file is written when that is asked for")]
fn the_definition_that_is_kept_is_the_one_that_is_made() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes/crd.yaml");
    let made = resource::crd_yaml().unwrap();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, made).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == made,
        "deploy/kubernetes/crd.yaml is stale; write it anew with: BLESS=1 cargo test --release -p firn-operator"
    );
}

/// `kubectl apply` keeps the whole document in an annotation, of at most 262,144 bytes.
#[test]
fn the_definition_is_small_enough_to_be_applied() {
    assert!(resource::crd().to_string().len() < 200_000);
}

#[test]
fn nothing_in_the_definition_is_without_a_type_or_has_a_number_without_a_sign() {
    fn below(path: &str, schema: &Value) {
        let is_free = schema["x-kubernetes-int-or-string"] == true;
        assert!(is_free || schema["type"].is_string(), "{path}: {schema}");
        assert!(
            !schema["format"].as_str().is_some_and(|format| format.starts_with('u')),
            "{path}"
        );
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            below(&format!("{path}.{name}"), property);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                below(&format!("{path}[]"), &schema[inner]);
            }
        }
    }
    below("", &resource::crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
}

//! What the API server asks beyond types: what must agree, and what may not change. Each rule names the field that it refuses.
//!
//! A job that runs learns from one spec to its end; so all of it stays as it was submitted, but for what says how many workers it takes, how
//! urgent it is, and whether it is suspended. Another job is another resource.

use serde_json::{Value, json};

/// Sections of `spec` that stay as they are.
const FIXED: [&str; 9] = [
    "task",
    "model",
    "data",
    "training",
    "restartPolicy",
    "artifacts",
    "runPolicy",
    "managedBy",
    "worker",
];
/// Fields of sections that stay as they are, where the section has others that may change.
const FIXED_BELOW: [(&str, &str); 4] = [
    ("resources", "slotsPerWorker"),
    ("resources", "device"),
    ("scheduling", "preemptionPolicy"),
    ("scheduling", "workerSelector"),
];

/// An Indexed Job makes host names of its name, `-` and the index, of at most 63 characters.
pub(super) const LONGEST_NAME: usize = 52;

/// Of the whole resource.
pub(super) fn of_resource() -> Value {
    json!([{
        "rule": format!("size(self.metadata.name) <= {LONGEST_NAME}"),
        "message": format!("metadata.name must be at most {LONGEST_NAME} characters: the pods are called after it"),
    }])
}

/// Of `spec`.
pub(super) fn of_spec() -> Value {
    let mut rules = vec![json!({
        "rule": "!has(self.resources) || !has(self.resources.workers) || !has(self.resources.workers.min) \
                 || !has(self.resources.workers.max) || self.resources.workers.min <= self.resources.workers.max",
        "message": "must be at least `min`",
        "fieldPath": ".resources.workers.max",
    })];
    rules.extend(FIXED.iter().map(|section| {
        let same = format!("(!has(self.{section}) || self.{section} == oldSelf.{section})");
        json!({
            "rule": format!("has(self.{section}) == has(oldSelf.{section}) && {same}"),
            "message": "cannot be changed: what a job learns from stays as it was submitted; create another FineTuneJob",
            "fieldPath": format!(".{section}"),
        })
    }));
    rules.extend(FIXED_BELOW.iter().map(|(section, field)| {
        let has = |whose: &str| format!("(has({whose}.{section}) && has({whose}.{section}.{field}))");
        let same = format!("self.{section}.{field} == oldSelf.{section}.{field}");
        json!({
            "rule": format!("{} == {} && (!{} || {same})", has("self"), has("oldSelf"), has("self")),
            "message": "cannot be changed: create another FineTuneJob",
            "fieldPath": format!(".{section}.{field}"),
        })
    }));
    json!(rules)
}

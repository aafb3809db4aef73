//! Defaults that depend on other fields, and what is not written because it would mean nothing.
//!
//! Every other default stands beside its field and is filled in before.

use serde_json::{Map, Value, json};

use super::format::{TAGS_COLUMN, TOKENS_COLUMN};
use super::{Architecture, Decayed, Modality, Pooling, Task, Word, beside_weights, exact, uri};

/// Between the labels of a list, as MovieLens and the chest X-rays of the NIH have it.
const LABEL_SEPARATOR: char = '|';

/// Fills in what follows from other fields. The document has all its sections and all defaults that depend on nothing.
pub(super) fn fill(document: &mut Value) {
    let spec = &mut document["spec"];
    let task = spec["task"]["type"].as_str().and_then(Task::from_word);
    if let Some(architecture) = spec["model"]["architecture"].as_str().and_then(Architecture::from_word) {
        model(&mut spec["model"], architecture, task);
        preprocessing(&mut spec["data"]["preprocessing"], architecture);
        let decayed = architecture.default_decayed().word();
        or_insert(&mut spec["training"], "weightDecayOf", json!(decayed));
    }
    data(&mut spec["data"], task);
    training(&mut spec["training"]);
    let workers = &mut spec["resources"]["workers"];
    let min = workers["min"].clone();
    or_insert(workers, "max", min);
}

/// Nothing is there also where something was taken out because it was wrong.
fn or_insert(object: &mut Value, name: &str, value: Value) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(name).is_none_or(Value::is_null)
    {
        fields.insert(name.to_owned(), value);
    }
}

fn model(model: &mut Value, architecture: Architecture, task: Option<Task>) {
    let has_adapters = model["lora"].is_object();
    or_insert(model, "freeze", json!({}));
    or_insert(
        &mut model["freeze"],
        "through",
        json!(if has_adapters { "none" } else { "all" }),
    );
    let trains_head_alone =
        model["freeze"]["through"] == "all" && model["freeze"]["unfreeze"].as_object().is_none_or(Map::is_empty);
    let has_dropout = architecture.modality() == Modality::Text && !trains_head_alone;
    or_insert(
        model,
        "dropout",
        json!(if has_dropout { "configuration" } else { "none" }),
    );
    // An image model has none; what its job holds there has no meaning.
    let pooling = match (task, architecture.modality()) {
        (Some(Task::Tokens), Modality::Text) => Pooling::None,
        _ => architecture.poolings()[0],
    };
    or_insert(model, "pooling", json!(pooling.word()));
    if architecture.modality() == Modality::Text
        && let Some(beside) = model["weights"].as_str().and_then(tokenizer_beside)
    {
        or_insert(model, "tokenizer", json!(beside));
    }
}

fn tokenizer_beside(weights: &str) -> Option<String> {
    let path = uri::path(weights).ok()?;
    Some(uri::of_path(&beside_weights(&path, "tokenizer.json")?))
}

/// The architecture's own.
fn preprocessing(written: &mut Value, architecture: Architecture) {
    let own = exact::to_value(&architecture.default_preprocessing()).expect("preprocessing is plain data");
    for (name, value) in own.as_object().into_iter().flatten() {
        if !value.is_null() {
            or_insert(written, name, value.clone());
        }
    }
}

fn data(data: &mut Value, task: Option<Task>) {
    if task == Some(Task::Tokens) && has_rows(data) && data["format"] != "conll" {
        or_insert(data, "columns", json!({}));
        or_insert(&mut data["columns"], "tokens", json!(TOKENS_COLUMN));
        or_insert(&mut data["columns"], "tags", json!(TAGS_COLUMN));
    }
    if matches!(task, Some(Task::MultiLabel(_))) && has_rows(data) {
        or_insert(data, "columns", json!({}));
        let columns = &mut data["columns"];
        if columns["labels"].as_array().is_none_or(Vec::is_empty) {
            or_insert(columns, "separator", json!(LABEL_SEPARATOR));
        }
    }
    if task == Some(Task::Regression) && has_rows(data) {
        let label = data["columns"]["label"].as_str().unwrap_or("label").to_owned();
        or_insert(data, "columns", json!({}));
        let columns = &mut data["columns"];
        if columns["targets"].as_array().is_none_or(Vec::is_empty) {
            columns["targets"] = json!([label]);
        }
        remove(columns, "label");
    }
    if has_rows(data) {
        or_insert(data, "missingLabels", json!("error"));
    }
}

fn has_rows(data: &Value) -> bool {
    matches!(data["format"].as_str(), Some("csv" | "tsv" | "jsonl" | "conll"))
}

/// What a stored document means where it lacks a field, because it is older than the field. A default of today would change its job.
pub(super) fn fill_stored(document: &mut Value) {
    let data = &mut document["spec"]["data"];
    if has_rows(data) {
        or_insert(data, "missingLabels", json!("keep"));
    }
    or_insert(&mut document["spec"]["model"], "dropout", json!("none"));
    or_insert(
        &mut document["spec"]["training"],
        "weightDecayOf",
        json!(Decayed::All.word()),
    );
}

fn training(training: &mut Value) {
    let stopping = &training["earlyStopping"];
    let metric = json!(stopping["metric"].as_str().unwrap_or("validation/loss"));
    let class = stopping["class"].clone();
    or_insert(training, "bestMetric", metric.clone());
    if training["bestMetric"] == metric && class.is_string() {
        or_insert(training, "bestMetricClass", class);
    }
    let schedule = &mut training["schedule"];
    if schedule["warmupSteps"].is_null() {
        or_insert(schedule, "warmupRatio", json!(0.0));
    }
}

/// Leaves out what has no meaning in this job, and would be refused if it were written.
pub(super) fn leave_out(document: &mut Value) {
    let spec = &mut document["spec"];
    let architecture = spec["model"]["architecture"].as_str().and_then(Architecture::from_word);
    if architecture.is_some_and(|architecture| architecture.modality() == Modality::Image) {
        remove(&mut spec["model"], "pooling");
        remove(&mut spec["model"], "dropout");
    }
    if spec["data"]["validation"].is_null() {
        remove(&mut spec["training"], "bestMetric");
        remove(&mut spec["training"], "bestMetricClass");
    }
}

fn remove(object: &mut Value, name: &str) {
    object
        .as_object_mut()
        .map(|fields: &mut Map<String, Value>| fields.shift_remove(name));
}

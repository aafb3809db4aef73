//! What cannot be written together. The offending part is taken out, so that the rules of the whole are asked about the rest.

use serde_json::{Value, json};

use super::{checks::Checks, chosen::Chosen};
use crate::spec::{
    LossSpec, Modality, Task, Word,
    data::{HAS_TWO_SOURCES, NEEDS_A_SOURCE},
    hub::{self, HubModel},
    schema::{self, Field, join},
    uri,
};

/// Notes what excludes each other.
pub(super) fn exclusions(document: &mut Value, chosen: &Chosen, checks: &mut Checks) {
    of_the_other_modality(document, chosen, checks);
    let Some(spec) = document.get_mut("spec") else { return };
    if let Some(model) = spec.get_mut("model") {
        folder(model, chosen, checks);
    }
    loss_of_task(spec);
    let task = spec["task"]["type"].as_str().and_then(Task::from_word);
    if let Some(data) = spec.get_mut("data") {
        layout(data, checks);
        if let Some(columns) = data.get_mut("columns") {
            label_columns(columns, task, checks);
        }
        splits(data, checks);
    }
    let has_validation = spec["data"]["validation"].is_object();
    if let Some(training) = spec.get_mut("training") {
        schedule(training, checks);
        weights(training, checks);
        best_metric(training, has_validation, checks);
    }
}

/// Fields that have no meaning for what the model takes in.
fn of_the_other_modality(document: &mut Value, chosen: &Chosen, checks: &mut Checks) {
    let Some((architecture, modality)) = chosen.modality else {
        return;
    };
    let takes = match modality {
        Modality::Image => "images",
        Modality::Text => "text",
    };
    let reason = format!("`{}` takes {takes}", architecture.word());
    below(schema::document(), "", document, &mut |object, path, field| {
        if field.modality.is_some_and(|other| other != modality) {
            checks.absent(object, path, &field.name, &reason);
        }
    });

    fn below(fields: &[Field], path: &str, object: &mut Value, visit: &mut dyn FnMut(&mut Value, &str, &Field)) {
        for field in fields {
            visit(object, path, field);
            if let Some(inner) = object.get_mut(&field.name) {
                below(field.kind.fields(), &join(path, &field.name), inner, visit);
            }
        }
    }
}

/// A folder stands in place of architecture and weights, and whoever has seen it has read it away.
fn folder(model: &mut Value, chosen: &Chosen, checks: &mut Checks) {
    const PATH: &str = "spec.model.uri";
    let Some(uri) = model.as_object_mut().and_then(|fields| fields.shift_remove("uri")) else {
        return;
    };
    let beside = ["architecture", "weights"]
        .into_iter()
        .find(|name| model.get(*name).is_some_and(|value| !value.is_null()));
    if let Some(beside) = beside {
        checks.add(
            PATH,
            format!("must be left out beside `{beside}`: the folder says both, or neither"),
        );
        return;
    }
    let message = match uri.as_str() {
        // Whoever could ask the Hub has asked it.
        Some(written) if written.starts_with(hub::SCHEME) => match HubModel::parse(written) {
            Ok(model) => format!(
                "{model} was not looked up on the Hub; where that cannot be done, name `architecture`, and `weights` as `hf://org/name@commit/`"
            ),
            Err(message) => message,
        },
        Some(written) => match uri::path(written) {
            Ok(path) => format!(
                "no folder `{path}` is seen here; where only workers see it, `architecture` and `weights` have to be named"
            ),
            Err(message) => message,
        },
        None => format!("expected a text, found {uri}"),
    };
    checks.add(PATH, message);
    model["architecture"] = chosen.stand_in_architecture().word().into();
}

/// The loss of a task stands for one that is not named, so that its fields are checked as its own.
fn loss_of_task(spec: &mut Value) {
    let Some(task) = spec["task"]["type"].as_str().and_then(Task::from_word) else {
        return;
    };
    let inner = |object: &mut Value, name: &str| {
        let fields = object.as_object_mut()?;
        Some(fields.entry(name).or_insert_with(|| json!({})).take())
    };
    let Some(mut training) = inner(spec, "training") else {
        return;
    };
    if let Some(mut loss) = inner(&mut training, "loss") {
        if let Some(fields) = loss.as_object_mut() {
            fields.entry("type").or_insert(LossSpec::default_word(task).into());
        }
        training["loss"] = loss;
    }
    spec["training"] = training;
}

fn layout(data: &mut Value, checks: &mut Checks) {
    const PATH: &str = "spec.data";
    let format = data["format"].as_str().unwrap_or_default().to_owned();
    if matches!(format.as_str(), "imagefolder" | "jsonl" | "conll") {
        checks.absent(data, PATH, "quoting", "only `csv` and `tsv` have quoting");
        checks.absent(data, PATH, "delimiter", "only `csv` and `tsv` have a delimiter");
    }
    if let Some(delimiter) = data["delimiter"].as_str()
        && !may_delimit(delimiter)
    {
        let message = format!(
            "must be one ASCII character that is no double quote and ends no line, found `{delimiter}`; a tab is `\"\\t\"` in double quotes"
        );
        checks.add(&join(PATH, "delimiter"), message);
        data["delimiter"].take();
    }
    separator(data, checks);
    if format == "imagefolder" {
        checks.absent(data, PATH, "missingLabels", "the label of an image is its folder");
        checks.absent(data, PATH, "columns", "the classes of an `imagefolder` are its folders");
    }
    if format == "conll" {
        let reason = "`conll` has a word in the first column of each line, and its tag in the last one";
        checks.absent(data, PATH, "columns", reason);
    }
    if !data["columns"]["image"].is_string() {
        checks.absent(data, PATH, "root", "only paths in `columns.image` begin there");
    } else if data["columns"]["text"].is_string() {
        checks.add("spec.data.columns", "must have `text` or `image`, found both");
        if let Some(columns) = data["columns"].as_object_mut() {
            columns.shift_remove("text");
        }
    }
    if data["columns"]["image"].is_string() {
        let columns = &mut data["columns"];
        checks.absent(columns, "spec.data.columns", "textPair", "only texts have a second one");
    }
}

/// Between the labels of a list stands one character, which no field holds otherwise.
fn separator(data: &mut Value, checks: &mut Checks) {
    let Some(found) = data["columns"]["separator"].as_str().map(str::to_owned) else {
        return;
    };
    let is_one = found.chars().count() == 1 && !matches!(found.as_str(), "\"" | "\n" | "\r" | "\0");
    let is_plain = data["quoting"] == "none" || data["format"] == "tsv" && data["quoting"].is_null();
    let own = match data["format"].as_str() {
        Some("tsv") => "\t",
        _ => ",",
    };
    let is_delimiter = is_plain && found == data["delimiter"].as_str().unwrap_or(own);
    if is_one && !is_delimiter {
        return;
    }
    let message = format!(
        "must be one character that is no double quote, ends no line and does not end the field, found `{}`",
        found.escape_debug()
    );
    checks.add("spec.data.columns.separator", message);
    data["columns"]["separator"].take();
}

/// A label is one class, a list, several numbers, several flags, or a list of tags.
fn label_columns(columns: &mut Value, task: Option<Task>, checks: &mut Checks) {
    const PATH: &str = "spec.data.columns";
    if task == Some(Task::Tokens) || columns["tokens"].is_string() || columns["tags"].is_string() {
        let reason = "`tokens` and `tags` name the columns of a token classification";
        for other in ["text", "textPair", "image", "label", "targets", "labels", "separator"] {
            checks.absent(columns, PATH, other, reason);
        }
    }
    let is_regression = task == Some(Task::Regression);
    let (targets, labels) = (columns["targets"].is_array(), columns["labels"].is_array());
    let mut absent = |is_absent: bool, name: &str, reason: &str| {
        if is_absent {
            checks.absent(columns, PATH, name, reason);
        }
    };
    let reason = "`targets` name the columns of a regression";
    absent(targets, "label", reason);
    absent(targets || is_regression, "labels", reason);
    absent(targets || is_regression, "separator", reason);
    let reason = "`labels` name the columns of a multi-label classification";
    absent(labels, "label", reason);
    absent(labels, "separator", reason);
}

fn may_delimit(text: &str) -> bool {
    let [byte] = text.as_bytes() else { return false };
    byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | 0)
}

fn splits(data: &mut Value, checks: &mut Checks) {
    if let Some(train) = data.get_mut("train") {
        checks.absent(
            train,
            "spec.data.train",
            "split",
            "train is what the others are split from",
        );
    }
    for name in ["validation", "test"] {
        let Some(Value::Object(split)) = data.get_mut(name) else {
            continue;
        };
        let message = match (split.contains_key("uri"), split.contains_key("split")) {
            (false, false) => NEEDS_A_SOURCE,
            (true, true) => HAS_TWO_SOURCES,
            _ => continue,
        };
        checks.add(&format!("spec.data.{name}"), message);
        split.shift_remove("split");
        // Stands for the split that was meant, so that rules which need one do not speak of it too.
        split.insert("uri".to_owned(), "/".into());
    }
}

fn schedule(training: &mut Value, checks: &mut Checks) {
    let Some(Value::Object(schedule)) = training.get_mut("schedule") else {
        return;
    };
    if schedule.contains_key("warmupRatio") && schedule.contains_key("warmupSteps") {
        schedule.shift_remove("warmupRatio");
        checks.add(
            "spec.training.schedule",
            "must have `warmupRatio` or `warmupSteps`, found both",
        );
    }
}

fn weights(training: &mut Value, checks: &mut Checks) {
    let Some(Value::Object(loss)) = training.get_mut("loss") else {
        return;
    };
    let named = loss
        .get("classWeights")
        .and_then(Value::as_object)
        .is_some_and(|weights| !weights.is_empty());
    if named && loss.get("classBalance").and_then(Value::as_str) == Some("balanced") {
        loss.shift_remove("classWeights");
        let message = "must be left out when classBalance is `balanced`, which sets the weights";
        checks.add("spec.training.loss.classWeights", message);
    }
}

fn best_metric(training: &mut Value, has_validation: bool, checks: &mut Checks) {
    if !has_validation && training["bestMetric"] == "validation/loss" {
        // The rules of a spec cannot tell this one from the default.
        checks.add(
            "spec.training.bestMetric",
            "`validation/loss` needs spec.data.validation",
        );
    }
}

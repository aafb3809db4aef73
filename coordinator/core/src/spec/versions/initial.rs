//! The first form in which specs were stored: JSON as serde derived it from the core's types of that time.
//!
//! Journals of earlier programs hold it, their ranks read it, and the digest that names a job's settings in their checkpoints is that of its
//! text, byte for byte. So nothing here changes any more, not even the order of the names; what a spec has learned to say since, this form
//! cannot.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::said_by;
use crate::spec::{
    API_VERSION, ClassWeights, DataFormat, DataSpec, EarlyStopping, Freeze, HeadSpec, InputColumn, JobSpec, KIND,
    LabelColumns, LossSpec, MissingLabels, ModelSpec, OptimizerSpec, Preprocessing, RowFormat, RowLayout,
    ScheduleShape, ScheduleSpec, SplitSource, Task, TrainingSpec, Warmup, WeightsPlace, Word, duration, uri,
};

/// All its architectures.
const ARCHITECTURES: [&str; 7] = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "mobilenet_v2",
    "bert",
];
/// All its metrics.
const METRICS: [&str; 8] = [
    "loss",
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "f1_weighted",
    "f1_micro",
    "roc_auc",
];

/// Path of a field that asks for something that the form cannot say.
type Unsayable = &'static str;

/// The job in the first form. It takes every label for a class. Of a job that refuses missing ones the coordinator does so, when it is told the
/// classes.
///
/// # Errors
/// If it asks for something that the first form cannot say: path of the field.
pub fn of(spec: &JobSpec) -> Result<Value, Cow<'static, str>> {
    let first = expressed(spec)?;
    // Of a field that is not named below the first form knows nothing: it is lost on the way there and back.
    if spec.data.missing_labels == Some(MissingLabels::Error) {
        let mut kept = spec.clone();
        kept.data.missing_labels = Some(MissingLabels::Keep);
        return said_by(&kept, first);
    }
    said_by(spec, first)
}

fn known(word: &'static str, words: &[&str], field: Unsayable) -> Result<&'static str, Unsayable> {
    words.contains(&word).then_some(word).ok_or(field)
}

fn expressed(spec: &JobSpec) -> Result<Value, Unsayable> {
    if spec.task != Task::Classification {
        return Err("spec.task.type");
    }
    let resources = spec.resources;
    Ok(json!({
        "name": spec.metadata.name,
        "labels": spec.metadata.labels,
        "task": "Classification",
        "model": model(&spec.model)?,
        "data": data(&spec.data)?,
        "training": training(&spec.training)?,
        "resources": {
            "min_workers": resources.workers.min,
            "max_workers": resources.workers.max,
            "slots_per_worker": resources.slots_per_worker,
            "device": resources.device,
        },
        "max_restarts": spec.restart_policy.max_restarts,
        "artifacts": {"folder": spec.artifacts.folder, "merged_model": spec.artifacts.merged_model},
    }))
}

fn model(model: &ModelSpec) -> Result<Value, Unsayable> {
    let place = model.weights.as_deref().map(WeightsPlace::of);
    if !matches!(place, None | Some(Some(WeightsPlace::File))) {
        // Its ranks read one file, and no index.
        return Err("spec.model.weights");
    }
    let HeadSpec::Linear { dropout } = model.head else {
        return Err("spec.model.head.type");
    };
    Ok(json!({
        "architecture": known(model.architecture.word(), &ARCHITECTURES, "spec.model.architecture")?,
        "weights": model.weights,
        "tokenizer": model.tokenizer,
        "freeze": match &model.freeze.through {
            Freeze::All => json!("All"),
            Freeze::Through(stage) => json!({"Through": stage}),
            Freeze::Nothing => json!("Nothing"),
        },
        "head": {"dropout": dropout},
        "pooling": known(model.pooling.word(), &["mean", "cls"], "spec.model.pooling")?,
    }))
}

fn data(data: &DataSpec) -> Result<Value, Unsayable> {
    let split = |source: &Option<SplitSource>| match source {
        None => Value::Null,
        Some(SplitSource::Path(path)) => json!({"Path": path}),
        Some(SplitSource::FractionOfTrain(fraction)) => json!({"FractionOfTrain": fraction}),
    };
    // The first of several: they are lost on the way there and back.
    let class = |label: &LabelColumns| label.names().first().cloned();
    Ok(json!({
        "format": match &data.format {
            DataFormat::ImageFolder => json!("ImageFolder"),
            DataFormat::Rows(RowFormat { layout, input: InputColumn::Text(text), label }) => match layout {
                RowLayout::Delimited { delimiter, quoted } => {
                    json!({"Table": {"delimiter": delimiter, "quoted": quoted, "text": text, "label": class(label)}})
                }
                RowLayout::JsonLines => json!({"JsonLines": {"text": text, "label": class(label)}}),
                RowLayout::Conll => return Err("spec.data.format"),
            },
            DataFormat::Rows(rows) => match rows.input {
                InputColumn::TextPair(_) => return Err("spec.data.columns.textPair"),
                InputColumn::Words(_) => return Err("spec.data.columns.tokens"),
                _ => return Err("spec.data.columns.image"),
            },
        },
        "train": data.train,
        "validation": split(&data.validation),
        "test": split(&data.test),
        "preprocessing": match &data.preprocessing {
            Preprocessing::Image { resize, crop, mean, std, .. } => {
                json!({"Image": {"resize": resize, "crop": crop, "mean": mean, "std": std}})
            }
            Preprocessing::Text { max_length } => json!({"Text": {"max_length": max_length}}),
        },
        "max_quarantined": data.quarantine.max_samples,
    }))
}

fn training(training: &TrainingSpec) -> Result<Value, Unsayable> {
    let early_stopping = training.early_stopping.as_ref().map(stopping).transpose()?;
    Ok(json!({
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "micro_batch_size": training.micro_batch_size,
        "seed": training.seed,
        "optimizer": optimizer(training.optimizer)?,
        "schedule": schedule(&training.schedule)?,
        "loss": loss(&training.loss)?,
        "early_stopping": early_stopping,
        "best_metric": known(training.best_metric.word(), &METRICS, "spec.training.bestMetric")?,
        "train_batch_norm": training.train_batch_norm,
        "max_gradient_norm": training.max_gradient_norm,
        "determinism": training.determinism,
        "checkpoint_interval_ms": training.checkpoint_interval_ms,
    }))
}

fn optimizer(optimizer: OptimizerSpec) -> Result<Value, Unsayable> {
    Ok(match optimizer {
        OptimizerSpec::AdamW {
            learning_rate,
            weight_decay,
            beta1,
            beta2,
            epsilon,
        } => json!({"AdamW": {
            "learning_rate": learning_rate, "weight_decay": weight_decay, "beta1": beta1, "beta2": beta2, "epsilon": epsilon,
        }}),
        OptimizerSpec::Sgd {
            learning_rate,
            weight_decay,
            momentum,
            nesterov,
        } => json!({"Sgd": {
            "learning_rate": learning_rate, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
        }}),
        OptimizerSpec::Adam { .. } | OptimizerSpec::RmsProp { .. } | OptimizerSpec::Lamb { .. } => {
            return Err("spec.training.optimizer.type");
        }
    })
}

fn schedule(schedule: &ScheduleSpec) -> Result<Value, Unsayable> {
    let shape = match &schedule.shape {
        ScheduleShape::Constant => "constant",
        ScheduleShape::Linear => "linear",
        ScheduleShape::Cosine => "cosine",
        _ => return Err("spec.training.schedule.type"),
    };
    let warmup = match schedule.warmup {
        Warmup::Ratio(ratio) => json!({"Ratio": ratio}),
        Warmup::Steps(steps) => json!({"Steps": steps}),
    };
    Ok(json!({"shape": shape, "warmup": warmup}))
}

fn loss(loss: &LossSpec) -> Result<Value, Unsayable> {
    let LossSpec::CrossEntropy {
        label_smoothing,
        class_weights,
    } = loss
    else {
        return Err("spec.training.loss.type");
    };
    let class_weights = match class_weights {
        ClassWeights::Uniform => json!("Uniform"),
        ClassWeights::Balanced => json!("Balanced"),
        ClassWeights::Named(weights) => json!({"Named": weights}),
    };
    Ok(json!({"label_smoothing": label_smoothing, "class_weights": class_weights}))
}

fn stopping(stopping: &EarlyStopping) -> Result<Value, Unsayable> {
    Ok(json!({
        "metric": known(stopping.metric.word(), &METRICS, "spec.training.earlyStopping.metric")?,
        "patience": stopping.patience,
        "min_delta": stopping.min_delta,
    }))
}

/// The document that says the same. What is not there is left as nothing, and gets its default.
pub(in crate::spec) fn document(first: &Value) -> Value {
    let resources = &first["resources"];
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": first["name"], "labels": first["labels"]},
        "spec": {
            "task": {"type": "classification"},
            "model": model_document(&first["model"]),
            "data": data_document(&first["data"]),
            "training": training_document(&first["training"]),
            "resources": {
                "workers": {"min": resources["min_workers"], "max": resources["max_workers"]},
                "slotsPerWorker": resources["slots_per_worker"],
                "device": resources["device"],
            },
            "restartPolicy": {"maxRestarts": first["max_restarts"]},
            "artifacts": {"uri": uri_of(&first["artifacts"]["folder"]), "mergedModel": first["artifacts"]["merged_model"]},
        },
    })
}

/// The word of a choice, and what it holds: `"All"`, `{"Through": "layer1"}`.
fn variant(choice: &Value) -> (&str, &Value) {
    let held = choice.as_object().and_then(|fields| fields.iter().next());
    held.map_or((choice.as_str().unwrap_or_default(), &Value::Null), |(word, held)| {
        (word.as_str(), held)
    })
}

fn uri_of(path: &Value) -> Value {
    path.as_str().map(uri::of_path).into()
}

fn model_document(model: &Value) -> Value {
    let through = match variant(&model["freeze"]) {
        ("Through", stage) => stage.clone(),
        ("Nothing", _) => json!("none"),
        _ => json!("all"),
    };
    json!({
        "architecture": model["architecture"],
        "weights": uri_of(&model["weights"]),
        "tokenizer": uri_of(&model["tokenizer"]),
        "freeze": {"through": through},
        "head": {"type": "linear", "dropout": model["head"]["dropout"]},
        "pooling": model["pooling"],
    })
}

fn data_document(data: &Value) -> Value {
    let split = |source| match variant(source) {
        ("Path", path) => json!({"uri": uri_of(path)}),
        ("FractionOfTrain", fraction) => json!({"split": fraction}),
        _ => Value::Null,
    };
    let (layout, columns) = variant(&data["format"]);
    let format = match (layout, columns["delimiter"].as_str()) {
        ("Table", Some("\t")) => "tsv",
        ("Table", _) => "csv",
        ("JsonLines", _) => "jsonl",
        _ => "imagefolder",
    };
    let quoting = columns["quoted"]
        .as_bool()
        .map(|quoted| if quoted { "double" } else { "none" });
    let preprocessing = match variant(&data["preprocessing"]) {
        ("Text", text) => json!({"maxLength": text["max_length"]}),
        (_, image) => image.clone(),
    };
    let named = json!({"text": columns["text"], "label": columns["label"]});
    json!({
        "format": format,
        "columns": columns.is_object().then_some(named),
        "quoting": quoting,
        "delimiter": columns["delimiter"],
        "train": {"uri": uri_of(&data["train"])},
        "validation": split(&data["validation"]),
        "test": split(&data["test"]),
        "preprocessing": preprocessing,
        "quarantine": {"maxSamples": data["max_quarantined"]},
    })
}

fn training_document(training: &Value) -> Value {
    let metric = |word: &Value| word.as_str().map(|word| format!("validation/{word}"));
    let (optimizer, settings) = variant(&training["optimizer"]);
    let (warmup, length) = variant(&training["schedule"]["warmup"]);
    let (balance, weights) = variant(&training["loss"]["class_weights"]);
    let stopping = &training["early_stopping"];
    let early_stopping = json!({
        "metric": metric(&stopping["metric"]), "patience": stopping["patience"], "minDelta": stopping["min_delta"],
    });
    json!({
        "epochs": training["epochs"],
        "batchSize": training["batch_size"],
        "microBatchSize": training["micro_batch_size"],
        "seed": training["seed"],
        "optimizer": {
            "type": optimizer.to_lowercase(),
            "learningRate": settings["learning_rate"], "weightDecay": settings["weight_decay"],
            "beta1": settings["beta1"], "beta2": settings["beta2"], "epsilon": settings["epsilon"],
            "momentum": settings["momentum"], "nesterov": settings["nesterov"],
        },
        "schedule": {"type": training["schedule"]["shape"], format!("warmup{warmup}"): length},
        "loss": {
            "labelSmoothing": training["loss"]["label_smoothing"],
            "classWeights": weights,
            "classBalance": if balance == "Balanced" { "balanced" } else { "none" },
        },
        "earlyStopping": stopping.is_object().then_some(early_stopping),
        "bestMetric": metric(&training["best_metric"]),
        "batchNorm": training["train_batch_norm"].as_bool().map(|trains| if trains { "train" } else { "eval" }),
        "maxGradientNorm": training["max_gradient_norm"],
        "determinism": training["determinism"],
        "checkpointInterval": training["checkpoint_interval_ms"].as_u64().map(duration::write),
    })
}

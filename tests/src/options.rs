//! A job for each option of a training run. What it comes to may depend neither on the number of ranks nor on what is lost on the way.
//!
//! A row is what a job says besides the rest of its table: an option to be shown is one more row, and the names of tests.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::jobs;

/// What the job of a row says where the row says nothing.
#[derive(Clone, Copy)]
enum Base {
    /// That of [`jobs::strict_fault_job`]: 4 steps an epoch.
    Images,
    /// The texts of [`jobs::shared_texts`] in strict mode, of which only the head learns: 3 steps an epoch, and a test split.
    Texts,
    /// The words of these texts, each of which has a tag.
    Words,
    /// That of another row.
    Row(&'static str),
}

/// Name, base, and the fields of `spec` that differ from it.
type Row = (&'static str, Base, Value);

/// Several options in one job, for those that are shown each time that the tests run.
fn together() -> Vec<Row> {
    [together_of_layers(), together_of_texts()].concat()
}

fn together_of_layers() -> Vec<Row> {
    vec![
        (
            "augmentation",
            Base::Images,
            json!({
                "data": {"augmentation": {
                    "randomResizedCrop": {"scale": [0.3, 1.0]}, "horizontalFlip": 0.5, "rotation": 20, "randAugment": {},
                    "colorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}, "randomErasing": {"value": "random"}
                }},
                "training": {"mixing": {"mixupAlpha": 0.4, "cutmixAlpha": 1.0}}
            }),
        ),
        // The average is what is scored and left.
        (
            "averaging",
            Base::Row("unfreezing"),
            json!({"training": {"ema": {"decay": 0.8}, "sampling": "balanced"}}),
        ),
        // Where a channel has few values, the last bits of their variance grow: four pixels a sample are left at the end.
        (
            "shared_statistics",
            Base::Images,
            json!({
                "model": {"architecture": "mobilenet_v3_small", "freeze": {"through": "features.10"}},
                "data": {"preprocessing": {"resize": 72, "crop": 64}},
                "training": {
                    "batchNorm": "train", "determinism": "default", "optimizer": {"type": "sgd", "learningRate": 0.01, "momentum": 0.9}
                }
            }),
        ),
        (
            "statistics_of_slices",
            Base::Row("shared_statistics"),
            json!({
                "model": {"freeze": {"unfreeze": {"features.10": 2}}},
                "training": {"determinism": "strict", "mixing": {"mixupAlpha": 0.4}}
            }),
        ),
        (
            "bfloat16_and_unfreezing",
            Base::Row("unfreezing"),
            json!({
                "model": {"head": {"type": "cosine", "scale": 5}},
                "training": {"frozenPrecision": "bf16", "loss": {"type": "focal", "classBalance": "balanced"}}
            }),
        ),
    ]
}

fn together_of_texts() -> Vec<Row> {
    vec![
        (
            "adapters",
            Base::Texts,
            json!({"model": {
                "freeze": {"through": "layer.0"},
                "lora": {"rank": 4, "alpha": 8, "dropout": 0.1, "targets": ["query", "value", "intermediate.dense"]}
            }}),
        ),
        (
            "labels_of_pairs",
            Base::Row("multi_label"),
            json!({
                "model": {"pooling": "attention", "head": {"type": "mlp", "hiddenSizes": [24, 12], "dropout": 0.2}},
                "data": {"columns": {"textPair": "second"}},
                "training": {"loss": {"type": "sigmoid_focal"}}
            }),
        ),
        // Some texts are longer than what the network sees of them.
        (
            "tags",
            Base::Words,
            json!({
                "model": {"freeze": {"through": "layer.0"}, "head": {"type": "linear", "dropout": 0.2}},
                "data": {"preprocessing": {"maxLength": 8}},
                "training": {"bestMetric": "validation/f1_micro", "loss": {"labelSmoothing": 0.1, "classBalance": "balanced"}}
            }),
        ),
    ]
}

/// Single options of what is learned, and of the layers that learn it.
fn outputs() -> Vec<Row> {
    vec![
        (
            "multi_label",
            Base::Texts,
            json!({
                "task": {"type": "multi_label_classification", "threshold": 0.6, "tuneThresholds": true}, "data": {"columns": {"label": "labels"}}
            }),
        ),
        (
            "pairs",
            Base::Texts,
            json!({"data": {"columns": {"textPair": "second"}}}),
        ),
        ("attention", Base::Texts, json!({"model": {"pooling": "attention"}})),
        (
            "mlp",
            Base::Texts,
            json!({"model": {"head": {"type": "mlp", "hiddenSizes": [24], "dropout": 0.2}}}),
        ),
        (
            "cosine",
            Base::Texts,
            json!({"model": {"head": {"type": "cosine", "scale": 5, "learnScale": true}}}),
        ),
        (
            "ordinal",
            Base::Texts,
            json!({
                "model": {"head": {"type": "ordinal", "dropout": 0.2}},
                "data": {"columns": {"label": "level"}, "classes": ["short", "middle", "long"]}
            }),
        ),
    ]
}

/// Single options of how it is learned.
fn training() -> Vec<Row> {
    vec![
        // The wide layer below the head trains from the second epoch, and the last convolution from the fourth.
        (
            "unfreezing",
            Base::Images,
            json!({
                "model": {"architecture": "mobilenet_v3_small", "freeze": {
                    "through": "all", "unfreeze": {"classifier.0": 1, "features.12": 3}, "parameters": [r"^features\.12\.1\."]
                }},
                "training": {"layerDecay": 0.5}
            }),
        ),
        (
            "dropout",
            Base::Texts,
            json!({"model": {"freeze": {"through": "layer.0"}}}),
        ),
        (
            "bfloat16",
            Base::Texts,
            json!({"training": {"frozenPrecision": "bf16"}}),
        ),
        (
            "focal",
            Base::Texts,
            json!({"training": {"loss": {"type": "focal", "gamma": 1.5}}}),
        ),
        (
            "sigmoid_focal",
            Base::Row("multi_label"),
            json!({"training": {"loss": {"type": "sigmoid_focal"}}}),
        ),
        (
            "plateau",
            Base::Texts,
            json!({"training": {"schedule": {
                "type": "plateau", "factor": 0.7, "patience": 0, "threshold": 10.0, "thresholdMode": "abs"
            }}}),
        ),
    ]
}

/// The job of a row, on as many workers as are asked for.
///
/// # Errors
/// When its data cannot be written, or there is no such row.
pub fn job(row: &str, epochs: u32, (min, max): (u32, u32)) -> anyhow::Result<Value> {
    let mut spec = of(row)?;
    spec["metadata"]["name"] = json!(row.replace('_', "-"));
    merge(
        &mut spec["spec"],
        &json!({
            "training": {"epochs": epochs}, "resources": {"workers": {"min": min, "max": max}}, "artifacts": {"mergedModel": false}
        }),
    );
    Ok(spec)
}

fn of(name: &str) -> anyhow::Result<Value> {
    let mut rows = [together(), outputs(), training()].into_iter().flatten();
    let row = rows.find(|row| row.0 == name);
    let (_, base, change) = row.with_context(|| format!("no row of options is called {name}"))?;
    let mut spec = match base {
        Base::Images => jobs::strict_fault_job(name, 1, (1, 1))?,
        Base::Texts | Base::Words => {
            let texts = jobs::shared_texts()?;
            let mut spec = jobs::text_job(name, &texts);
            spec["spec"]["data"]["test"] = spec["spec"]["data"]["validation"].clone();
            let training =
                json!({"seed": 11, "determinism": "strict", "schedule": {"type": "cosine", "warmupRatio": 0.2}});
            merge(
                &mut spec["spec"],
                &json!({"model": {"freeze": {"through": "all"}}, "training": training}),
            );
            if let Base::Words = base {
                let split = |split: &str| json!({"uri": texts.join(format!("{split}.jsonl")).to_string_lossy()});
                let data = json!({"format": "jsonl", "train": split("train"), "validation": split("validation"), "test": split("validation")});
                merge(
                    &mut spec["spec"],
                    &json!({"task": {"type": "token_classification"}, "data": data}),
                );
            }
            spec
        }
        Base::Row(other) => of(other)?,
    };
    merge(&mut spec["spec"], &change);
    Ok(spec)
}

/// Lays a document over another, as RFC 7386 has it: field by field, and null takes one away. What has another `type` is another thing, with no field
/// of the first.
fn merge(target: &mut Value, change: &Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change))
            if change.get("type").is_none_or(|kind| target.get("type") == Some(kind)) =>
        {
            for (name, value) in change {
                match value {
                    Value::Null => drop(target.remove(name)),
                    value => merge(target.entry(name.clone()).or_insert_with(|| json!({})), value),
                }
            }
        }
        (target, change) => target.clone_from(change),
    }
}

/// Whether this machine can run the job of a row; where it cannot, that is said.
pub fn is_possible(spec: &Value) -> bool {
    let is_reduced = spec["spec"]["training"]["frozenPrecision"] == "bf16";
    let has_instructions = is_x86_feature_detected!("avx512bf16");
    if is_reduced && !has_instructions {
        crate::skip::skipped("this processor has no instructions for bfloat16");
    }
    has_instructions || !is_reduced
}

//! The present types → the first form, for ranks of an earlier program, and for the digest in their checkpoints.

use std::borrow::Cow;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super as old;
use crate::spec as new;
use crate::spec::schema::join;

/// The job in the first form.
///
/// # Errors
/// If it asks for something that the first form cannot say: path of the field.
pub fn of(spec: &new::JobSpec) -> Result<old::JobSpec, Cow<'static, str>> {
    let first = expressed(spec)?;
    // Of a field that is not named below the first form knows nothing: it is lost on the way there and back.
    let back = new::JobSpec::from(first.clone());
    if back == *spec {
        return Ok(first);
    }
    let lost = difference("", &spec.to_document(), &back.to_document());
    Err(lost.map_or("spec".into(), Cow::Owned))
}

/// Path of the first field in which documents differ.
fn difference(path: &str, one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(fields), Value::Object(others)) => {
            let names = fields.keys().chain(others.keys());
            let of = |object: &serde_json::Map<String, Value>, name| object.get(name).cloned().unwrap_or_default();
            names
                .filter_map(|name| difference(&join(path, name), &of(fields, name), &of(others, name)))
                .next()
        }
        _ => (one != other).then(|| path.to_owned()),
    }
}

fn expressed(spec: &new::JobSpec) -> Result<old::JobSpec, &'static str> {
    let new::Task::Classification = spec.task;
    let new::ResourcesSpec {
        workers,
        slots_per_worker,
        device,
    } = spec.resources;
    Ok(old::JobSpec {
        name: spec.metadata.name.clone(),
        labels: spec.metadata.labels.clone(),
        task: old::Task::Classification,
        model: model(&spec.model)?,
        data: data(&spec.data)?,
        training: training(&spec.training)?,
        resources: old::ResourcesSpec {
            min_workers: workers.min,
            max_workers: workers.max,
            slots_per_worker,
            device: same_word(device).ok_or("spec.resources.device")?,
        },
        max_restarts: spec.restart_policy.max_restarts,
        artifacts: old::ArtifactsSpec {
            folder: spec.artifacts.folder.clone(),
            merged_model: spec.artifacts.merged_model,
        },
    })
}

/// Choices that are the same words in both forms, where the first form has them.
fn same_word<Old: DeserializeOwned>(choice: impl Serialize) -> Option<Old> {
    serde_json::from_value(serde_json::to_value(choice).ok()?).ok()
}

fn model(model: &new::ModelSpec) -> Result<old::ModelSpec, &'static str> {
    Ok(old::ModelSpec {
        architecture: same_word(model.architecture).ok_or("spec.model.architecture")?,
        weights: match model.weights.as_deref().map(new::WeightsPlace::of) {
            None | Some(Some(new::WeightsPlace::File)) => model.weights.clone(),
            // Its ranks read one file, and no index.
            Some(_) => return Err("spec.model.weights"),
        },
        tokenizer: model.tokenizer.clone(),
        freeze: match &model.freeze {
            new::Freeze::All => old::Freeze::All,
            new::Freeze::Through(stage) => old::Freeze::Through(stage.clone()),
            new::Freeze::Nothing => old::Freeze::Nothing,
        },
        head: old::HeadSpec {
            dropout: model.head.dropout,
        },
        pooling: same_word(model.pooling).ok_or("spec.model.pooling")?,
    })
}

fn data(data: &new::DataSpec) -> Result<old::DataSpec, &'static str> {
    let split = |source: &new::SplitSource| match source {
        new::SplitSource::Path(path) => old::SplitSource::Path(path.clone()),
        new::SplitSource::FractionOfTrain(fraction) => old::SplitSource::FractionOfTrain(*fraction),
    };
    Ok(old::DataSpec {
        format: format(&data.format)?,
        train: data.train.clone(),
        validation: data.validation.as_ref().map(split),
        test: data.test.as_ref().map(split),
        preprocessing: match data.preprocessing {
            new::Preprocessing::Image {
                resize,
                crop,
                mean,
                std,
            } => old::Preprocessing::Image {
                resize,
                crop,
                mean,
                std,
            },
            new::Preprocessing::Text { max_length } => old::Preprocessing::Text { max_length },
        },
        max_quarantined: data.quarantine.max_samples,
    })
}

fn format(format: &new::DataFormat) -> Result<old::DataFormat, &'static str> {
    Ok(match format.clone() {
        new::DataFormat::ImageFolder => old::DataFormat::ImageFolder,
        new::DataFormat::Table {
            delimiter,
            quoted,
            text,
            label,
        } => old::DataFormat::Table {
            delimiter,
            quoted,
            text,
            label,
        },
        new::DataFormat::JsonLines { text, label } => old::DataFormat::JsonLines { text, label },
        new::DataFormat::ImageTable { .. } => return Err("spec.data.columns.image"),
    })
}

fn training(training: &new::TrainingSpec) -> Result<old::TrainingSpec, &'static str> {
    Ok(old::TrainingSpec {
        epochs: training.epochs,
        batch_size: training.batch_size,
        micro_batch_size: training.micro_batch_size,
        seed: training.seed,
        optimizer: optimizer(training.optimizer),
        schedule: old::ScheduleSpec {
            shape: match training.schedule.shape {
                new::ScheduleShape::Constant => old::ScheduleShape::Constant,
                new::ScheduleShape::Linear => old::ScheduleShape::Linear,
                new::ScheduleShape::Cosine => old::ScheduleShape::Cosine,
                new::ScheduleShape::Plateau(_) => return Err("spec.training.schedule.type"),
            },
            warmup: match training.schedule.warmup {
                new::Warmup::Ratio(ratio) => old::Warmup::Ratio(ratio),
                new::Warmup::Steps(steps) => old::Warmup::Steps(steps),
            },
        },
        loss: old::LossSpec {
            label_smoothing: training.loss.label_smoothing,
            class_weights: match &training.loss.class_weights {
                new::ClassWeights::Uniform => old::ClassWeights::Uniform,
                new::ClassWeights::Balanced => old::ClassWeights::Balanced,
                new::ClassWeights::Named(weights) => old::ClassWeights::Named(weights.clone()),
            },
        },
        early_stopping: match &training.early_stopping {
            None => None,
            Some(stopping) => Some(old::EarlyStopping {
                metric: same_word(stopping.metric).ok_or("spec.training.earlyStopping.metric")?,
                patience: stopping.patience,
                min_delta: stopping.min_delta,
            }),
        },
        best_metric: same_word(training.best_metric).ok_or("spec.training.bestMetric")?,
        train_batch_norm: training.train_batch_norm,
        max_gradient_norm: training.max_gradient_norm,
        determinism: same_word(training.determinism).ok_or("spec.training.determinism")?,
        checkpoint_interval_ms: training.checkpoint_interval_ms,
    })
}

fn optimizer(optimizer: new::OptimizerSpec) -> old::OptimizerSpec {
    match optimizer {
        new::OptimizerSpec::AdamW {
            learning_rate,
            weight_decay,
            beta1,
            beta2,
            epsilon,
        } => old::OptimizerSpec::AdamW {
            learning_rate,
            weight_decay,
            beta1,
            beta2,
            epsilon,
        },
        new::OptimizerSpec::Sgd {
            learning_rate,
            weight_decay,
            momentum,
            nesterov,
        } => old::OptimizerSpec::Sgd {
            learning_rate,
            weight_decay,
            momentum,
            nesterov,
        },
    }
}

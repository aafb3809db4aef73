//! The first form → the present types. Nothing of it is lost.

use serde::{Serialize, de::DeserializeOwned};

use super as old;
use crate::spec as new;

/// Choices that are the same words in both forms.
fn same_word<New: DeserializeOwned>(choice: impl Serialize) -> New {
    let word = serde_json::to_value(choice).expect("a choice is one word");
    serde_json::from_value(word).expect("words are never taken out of a spec")
}

impl From<old::JobSpec> for new::JobSpec {
    fn from(spec: old::JobSpec) -> Self {
        let old::Task::Classification = spec.task;
        Self {
            metadata: new::Metadata {
                name: spec.name,
                labels: spec.labels,
            },
            task: new::Task::Classification,
            model: model(spec.model),
            data: data(spec.data),
            training: training(spec.training),
            resources: new::ResourcesSpec {
                workers: new::WorkersSpec {
                    min: spec.resources.min_workers,
                    max: spec.resources.max_workers,
                },
                slots_per_worker: spec.resources.slots_per_worker,
                device: same_word(spec.resources.device),
            },
            restart_policy: new::RestartPolicy {
                max_restarts: spec.max_restarts,
            },
            artifacts: new::ArtifactsSpec {
                folder: spec.artifacts.folder,
                merged_model: spec.artifacts.merged_model,
            },
        }
    }
}

fn model(model: old::ModelSpec) -> new::ModelSpec {
    new::ModelSpec {
        architecture: same_word(model.architecture),
        weights: model.weights,
        tokenizer: model.tokenizer,
        freeze: match model.freeze {
            old::Freeze::All => new::Freeze::All,
            old::Freeze::Through(stage) => new::Freeze::Through(stage),
            old::Freeze::Nothing => new::Freeze::Nothing,
        },
        head: new::HeadSpec {
            dropout: model.head.dropout,
        },
        pooling: same_word(model.pooling),
    }
}

fn data(data: old::DataSpec) -> new::DataSpec {
    let split = |source| match source {
        old::SplitSource::Path(path) => new::SplitSource::Path(path),
        old::SplitSource::FractionOfTrain(fraction) => new::SplitSource::FractionOfTrain(fraction),
    };
    new::DataSpec {
        // Whatever stood in a label column was a class.
        missing_labels: match data.format {
            old::DataFormat::ImageFolder => None,
            old::DataFormat::Table { .. } | old::DataFormat::JsonLines { .. } => Some(new::MissingLabels::Keep),
        },
        format: match data.format {
            old::DataFormat::ImageFolder => new::DataFormat::ImageFolder,
            old::DataFormat::Table {
                delimiter,
                quoted,
                text,
                label,
            } => new::DataFormat::Table {
                delimiter,
                quoted,
                text,
                label,
            },
            old::DataFormat::JsonLines { text, label } => new::DataFormat::JsonLines { text, label },
        },
        train: data.train,
        validation: data.validation.map(split),
        test: data.test.map(split),
        preprocessing: match data.preprocessing {
            old::Preprocessing::Image {
                resize,
                crop,
                mean,
                std,
            } => new::Preprocessing::Image {
                resize,
                crop,
                mean,
                std,
            },
            old::Preprocessing::Text { max_length } => new::Preprocessing::Text { max_length },
        },
        quarantine: new::QuarantineSpec {
            max_samples: data.max_quarantined,
        },
    }
}

fn training(training: old::TrainingSpec) -> new::TrainingSpec {
    new::TrainingSpec {
        epochs: training.epochs,
        batch_size: training.batch_size,
        micro_batch_size: training.micro_batch_size,
        seed: training.seed,
        optimizer: optimizer(training.optimizer),
        schedule: new::ScheduleSpec {
            shape: match training.schedule.shape {
                old::ScheduleShape::Constant => new::ScheduleShape::Constant,
                old::ScheduleShape::Linear => new::ScheduleShape::Linear,
                old::ScheduleShape::Cosine => new::ScheduleShape::Cosine,
            },
            warmup: match training.schedule.warmup {
                old::Warmup::Ratio(ratio) => new::Warmup::Ratio(ratio),
                old::Warmup::Steps(steps) => new::Warmup::Steps(steps),
            },
        },
        loss: new::LossSpec {
            label_smoothing: training.loss.label_smoothing,
            class_weights: match training.loss.class_weights {
                old::ClassWeights::Uniform => new::ClassWeights::Uniform,
                old::ClassWeights::Balanced => new::ClassWeights::Balanced,
                old::ClassWeights::Named(weights) => new::ClassWeights::Named(weights),
            },
        },
        early_stopping: training.early_stopping.map(|stopping| new::EarlyStopping {
            metric: same_word(stopping.metric),
            patience: stopping.patience,
            min_delta: stopping.min_delta,
        }),
        best_metric: same_word(training.best_metric),
        train_batch_norm: training.train_batch_norm,
        max_gradient_norm: training.max_gradient_norm,
        determinism: same_word(training.determinism),
        checkpoint_interval_ms: training.checkpoint_interval_ms,
    }
}

fn optimizer(optimizer: old::OptimizerSpec) -> new::OptimizerSpec {
    match optimizer {
        old::OptimizerSpec::AdamW {
            learning_rate,
            weight_decay,
            beta1,
            beta2,
            epsilon,
        } => new::OptimizerSpec::AdamW {
            learning_rate,
            weight_decay,
            beta1,
            beta2,
            epsilon,
        },
        old::OptimizerSpec::Sgd {
            learning_rate,
            weight_decay,
            momentum,
            nesterov,
        } => new::OptimizerSpec::Sgd {
            learning_rate,
            weight_decay,
            momentum,
            nesterov,
        },
    }
}

//! A job that can be run → the message that describes it, every default written out.
//!
//! [`super::job_spec`] of the result is the same spec again: people can take a stored job, change a line and submit it.

use firn_core::spec::{
    ClassWeights, DataFormat, DataSpec, EarlyStopping, Freeze, JobSpec, MetricName, Modality, ModelSpec, OptimizerSpec,
    Preprocessing, ScheduleShape, ScheduleSpec, SplitSource, TrainingSpec, Warmup, Word,
};
use firn_proto::v1alpha1 as wire;

use super::{
    duration,
    job_spec::{API_VERSION, KIND},
    uri,
};

/// The job as it is shown and stored. What the coordinator adds (resource name, creation time, status) is left empty.
pub fn stored_job(spec: &JobSpec) -> wire::FineTuneJob {
    let resources = &spec.resources;
    wire::FineTuneJob {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        metadata: Some(wire::Metadata {
            name: spec.name.clone(),
            labels: spec.labels.clone(),
            ..wire::Metadata::default()
        }),
        spec: Some(wire::JobSpec {
            task: Some(wire::TaskSpec {
                r#type: spec.task.word().to_owned(),
            }),
            model: Some(model(&spec.model)),
            data: Some(data(&spec.data)),
            training: Some(training(&spec.training, spec.data.validation.is_some())),
            resources: Some(wire::ResourcesSpec {
                workers: Some(wire::WorkersSpec {
                    min: Some(resources.min_workers),
                    max: Some(resources.max_workers),
                }),
                slots_per_worker: Some(resources.slots_per_worker),
                device: resources.device.word().to_owned(),
            }),
            restart_policy: Some(wire::RestartPolicy {
                max_restarts: Some(spec.max_restarts),
            }),
            artifacts: Some(wire::ArtifactsSpec {
                uri: uri_or_empty(spec.artifacts.folder.as_ref()),
                merged_model: Some(spec.artifacts.merged_model),
            }),
        }),
        status: None,
    }
}

fn uri_or_empty(path: Option<&String>) -> String {
    path.map(|path| uri::of_path(path)).unwrap_or_default()
}

fn model(model: &ModelSpec) -> wire::ModelSpec {
    let through = match &model.freeze {
        Freeze::All => "all".to_owned(),
        Freeze::Nothing => "none".to_owned(),
        Freeze::Through(stage) => stage.clone(),
    };
    let pooling = match model.architecture.modality() {
        Modality::Text => model.pooling.word(),
        Modality::Image => "",
    };
    wire::ModelSpec {
        architecture: model.architecture.word().to_owned(),
        weights: uri_or_empty(model.weights.as_ref()),
        tokenizer: uri_or_empty(model.tokenizer.as_ref()),
        freeze: Some(wire::FreezeSpec { through }),
        head: Some(wire::HeadSpec {
            r#type: "linear".to_owned(),
            dropout: Some(model.head.dropout),
        }),
        pooling: pooling.to_owned(),
    }
}

fn data(data: &DataSpec) -> wire::DataSpec {
    let (columns, quoting) = match &data.format {
        DataFormat::ImageFolder => (None, ""),
        DataFormat::JsonLines { text, label } => (Some((text, label)), ""),
        DataFormat::Table {
            quoted: true,
            text,
            label,
            ..
        } => (Some((text, label)), "double"),
        DataFormat::Table {
            quoted: false,
            text,
            label,
            ..
        } => (Some((text, label)), "none"),
    };
    let split = |source: &SplitSource| match source {
        SplitSource::Path(path) => wire::SplitSpec {
            uri: uri::of_path(path),
            split: None,
        },
        SplitSource::FractionOfTrain(fraction) => wire::SplitSpec {
            uri: String::new(),
            split: Some(*fraction),
        },
    };
    wire::DataSpec {
        format: data.format.word().to_owned(),
        train: Some(wire::SplitSpec {
            uri: uri::of_path(&data.train),
            split: None,
        }),
        validation: data.validation.as_ref().map(split),
        test: data.test.as_ref().map(split),
        preprocessing: Some(preprocessing(&data.preprocessing)),
        columns: columns.map(|(text, label)| wire::ColumnsSpec {
            text: text.clone(),
            label: label.clone(),
        }),
        quarantine: Some(wire::QuarantineSpec {
            max_samples: Some(data.max_quarantined),
        }),
        quoting: quoting.to_owned(),
    }
}

fn preprocessing(preprocessing: &Preprocessing) -> wire::PreprocessingSpec {
    match *preprocessing {
        Preprocessing::Image {
            resize,
            crop,
            mean,
            std,
        } => wire::PreprocessingSpec {
            resize: Some(resize),
            crop: Some(crop),
            mean: mean.to_vec(),
            std: std.to_vec(),
            max_length: None,
        },
        Preprocessing::Text { max_length } => wire::PreprocessingSpec {
            max_length,
            ..Default::default()
        },
    }
}

fn training(training: &TrainingSpec, has_validation: bool) -> wire::TrainingSpec {
    let early_stopping = training.early_stopping.as_ref().map(|stopping| {
        let EarlyStopping {
            metric: name,
            patience,
            min_delta,
        } = *stopping;
        wire::EarlyStoppingSpec {
            metric: validation_metric(name),
            patience: Some(patience),
            min_delta: Some(min_delta),
        }
    });
    let (class_weights, class_balance) = match &training.loss.class_weights {
        ClassWeights::Uniform => (Default::default(), "none"),
        ClassWeights::Balanced => (Default::default(), "balanced"),
        ClassWeights::Named(weights) => (weights.clone(), "none"),
    };
    wire::TrainingSpec {
        epochs: Some(training.epochs),
        batch_size: Some(training.batch_size),
        micro_batch_size: training.micro_batch_size,
        seed: Some(training.seed),
        optimizer: Some(optimizer(&training.optimizer)),
        schedule: Some(schedule(&training.schedule)),
        loss: Some(wire::LossSpec {
            label_smoothing: Some(training.loss.label_smoothing),
            class_weights,
            class_balance: class_balance.to_owned(),
        }),
        early_stopping,
        best_metric: if has_validation {
            validation_metric(training.best_metric)
        } else {
            String::new()
        },
        batch_norm: if training.train_batch_norm { "train" } else { "eval" }.to_owned(),
        max_gradient_norm: training.max_gradient_norm,
        determinism: training.determinism.word().to_owned(),
        checkpoint_interval: duration::write(training.checkpoint_interval_ms),
    }
}

/// As people write a metric of the validation split.
fn validation_metric(name: MetricName) -> String {
    format!("validation/{}", name.word())
}

fn optimizer(optimizer: &OptimizerSpec) -> wire::OptimizerSpec {
    match *optimizer {
        OptimizerSpec::AdamW {
            learning_rate,
            weight_decay,
            beta1,
            beta2,
            epsilon,
        } => wire::OptimizerSpec {
            r#type: "adamw".to_owned(),
            learning_rate: Some(learning_rate),
            weight_decay: Some(weight_decay),
            beta1: Some(beta1),
            beta2: Some(beta2),
            epsilon: Some(epsilon),
            ..Default::default()
        },
        OptimizerSpec::Sgd {
            learning_rate,
            weight_decay,
            momentum,
            nesterov,
        } => wire::OptimizerSpec {
            r#type: "sgd".to_owned(),
            learning_rate: Some(learning_rate),
            weight_decay: Some(weight_decay),
            momentum: Some(momentum),
            nesterov: Some(nesterov),
            ..Default::default()
        },
    }
}

fn schedule(schedule: &ScheduleSpec) -> wire::ScheduleSpec {
    let (warmup_ratio, warmup_steps) = match schedule.warmup {
        Warmup::Ratio(ratio) => (Some(ratio), None),
        Warmup::Steps(steps) => (None, Some(steps)),
    };
    let plateau = match &schedule.shape {
        ScheduleShape::Plateau(plateau) => Some(plateau),
        _ => None,
    };
    wire::ScheduleSpec {
        r#type: schedule.shape.word().to_owned(),
        warmup_ratio,
        warmup_steps,
        factor: plateau.map(|plateau| plateau.factor),
        patience: plateau.map(|plateau| plateau.patience),
        threshold: plateau.map(|plateau| plateau.threshold),
        threshold_mode: plateau.map_or("", |plateau| plateau.threshold_mode.word()).to_owned(),
        cooldown: plateau.map(|plateau| plateau.cooldown),
        min_learning_rate: plateau.map(|plateau| plateau.min_learning_rate),
        metric: plateau.map_or_else(String::new, |plateau| validation_metric(plateau.metric)),
    }
}

//! How the head is trained.

use firn_core::spec::{
    ClassWeights, Determinism, EarlyStopping, LossSpec, MetricName, OptimizerSpec, PlateauSpec, ScheduleShape,
    ScheduleSpec, TrainingSpec, Warmup, Word, default_checkpoint_interval_ms,
};
use firn_proto::v1alpha1 as wire;

use super::{duration, fields::Fields};

/// Reads the training part of a job.
pub(super) fn training(fields: &mut Fields, written: &wire::TrainingSpec, has_validation: bool) -> TrainingSpec {
    let early_stopping = written
        .early_stopping
        .as_ref()
        .map(|stopping| early_stopping(fields, stopping));
    let best_metric = best_metric(fields, written, early_stopping.as_ref(), has_validation);
    let train_batch_norm = match written.batch_norm.as_str() {
        "" | "eval" => false,
        "train" => true,
        other => {
            fields.unknown_word("spec.training.batchNorm", other, &["eval", "train"]);
            false
        }
    };
    TrainingSpec {
        epochs: written.epochs.unwrap_or(10),
        batch_size: written.batch_size.unwrap_or(32),
        micro_batch_size: written.micro_batch_size,
        seed: written.seed.unwrap_or(0),
        optimizer: optimizer(fields, &written.optimizer.clone().unwrap_or_default()),
        schedule: schedule(fields, &written.schedule.clone().unwrap_or_default()),
        loss: loss(fields, &written.loss.clone().unwrap_or_default()),
        early_stopping,
        best_metric,
        train_batch_norm,
        max_gradient_norm: written.max_gradient_norm,
        determinism: fields.word_or("spec.training.determinism", &written.determinism, Determinism::Default),
        checkpoint_interval_ms: checkpoint_interval(fields, &written.checkpoint_interval),
    }
}

fn checkpoint_interval(fields: &mut Fields, written: &str) -> u64 {
    if written.is_empty() {
        return default_checkpoint_interval_ms();
    }
    let read = duration::read(written);
    fields.require(read.is_some(), "spec.training.checkpointInterval", || {
        format!("must be a number with a unit (`500ms`, `90s`, `5m`, `1h`), at most 365 days, found `{written}`")
    });
    read.unwrap_or_default()
}

fn optimizer(fields: &mut Fields, written: &wire::OptimizerSpec) -> OptimizerSpec {
    const FIELD: &str = "spec.training.optimizer";
    let learning_rate = written.learning_rate.unwrap_or(1e-3);
    let only_for_sgd = [
        ("momentum", written.momentum.is_some()),
        ("nesterov", written.nesterov.is_some()),
    ];
    let only_for_adamw = [
        ("beta1", written.beta1.is_some()),
        ("beta2", written.beta2.is_some()),
        ("epsilon", written.epsilon.is_some()),
    ];
    match written.r#type.as_str() {
        "sgd" => {
            for (name, is_set) in only_for_adamw {
                fields.absent(
                    is_set,
                    &format!("{FIELD}.{name}"),
                    "`sgd` has none; it belongs to `adamw`",
                );
            }
            OptimizerSpec::Sgd {
                learning_rate,
                weight_decay: written.weight_decay.unwrap_or(0.0),
                momentum: written.momentum.unwrap_or(0.9),
                nesterov: written.nesterov.unwrap_or(false),
            }
        }
        other => {
            if matches!(other, "" | "adamw") {
                for (name, is_set) in only_for_sgd {
                    fields.absent(
                        is_set,
                        &format!("{FIELD}.{name}"),
                        "`adamw` has none; it belongs to `sgd`",
                    );
                }
            } else {
                fields.unknown_word(&format!("{FIELD}.type"), other, &["adamw", "sgd"]);
            }
            OptimizerSpec::AdamW {
                learning_rate,
                weight_decay: written.weight_decay.unwrap_or(0.01),
                beta1: written.beta1.unwrap_or(0.9),
                beta2: written.beta2.unwrap_or(0.999),
                epsilon: written.epsilon.unwrap_or(1e-8),
            }
        }
    }
}

fn schedule(fields: &mut Fields, written: &wire::ScheduleSpec) -> ScheduleSpec {
    let both = written.warmup_ratio.is_some() && written.warmup_steps.is_some();
    fields.require(!both, "spec.training.schedule", || {
        "must have `warmupRatio` or `warmupSteps`, found both".to_owned()
    });
    ScheduleSpec {
        shape: shape(fields, written),
        warmup: match written.warmup_steps {
            Some(steps) => Warmup::Steps(steps),
            None => Warmup::Ratio(written.warmup_ratio.unwrap_or(0.0)),
        },
    }
}

fn shape(fields: &mut Fields, written: &wire::ScheduleSpec) -> ScheduleShape {
    const FIELD: &str = "spec.training.schedule";
    let chosen = fields.word_or(&format!("{FIELD}.type"), &written.r#type, ScheduleShape::Constant);
    let ScheduleShape::Plateau(default) = chosen else {
        let only_for_plateau = [
            ("factor", written.factor.is_some()),
            ("patience", written.patience.is_some()),
            ("threshold", written.threshold.is_some()),
            ("thresholdMode", !written.threshold_mode.is_empty()),
            ("cooldown", written.cooldown.is_some()),
            ("minLearningRate", written.min_learning_rate.is_some()),
            ("metric", !written.metric.is_empty()),
        ];
        for (name, is_set) in only_for_plateau {
            fields.absent(is_set, &format!("{FIELD}.{name}"), "it belongs to `plateau`");
        }
        return chosen;
    };
    let mode = &written.threshold_mode;
    let watched = match written.metric.as_str() {
        "" => None,
        written => metric(fields, &format!("{FIELD}.metric"), written),
    };
    ScheduleShape::Plateau(PlateauSpec {
        metric: watched.unwrap_or(default.metric),
        factor: written.factor.unwrap_or(default.factor),
        patience: written.patience.unwrap_or(default.patience),
        threshold: written.threshold.unwrap_or(default.threshold),
        threshold_mode: fields.word_or(&format!("{FIELD}.thresholdMode"), mode, default.threshold_mode),
        cooldown: written.cooldown.unwrap_or(default.cooldown),
        min_learning_rate: written.min_learning_rate.unwrap_or(default.min_learning_rate),
    })
}

fn loss(fields: &mut Fields, written: &wire::LossSpec) -> LossSpec {
    let named = !written.class_weights.is_empty();
    let class_weights = match written.class_balance.as_str() {
        "balanced" => {
            fields.require(!named, "spec.training.loss.classWeights", || {
                "must be left out when classBalance is `balanced`, which sets the weights".to_owned()
            });
            ClassWeights::Balanced
        }
        other => {
            if !matches!(other, "" | "none") {
                fields.unknown_word("spec.training.loss.classBalance", other, &["none", "balanced"]);
            }
            if named {
                ClassWeights::Named(written.class_weights.clone())
            } else {
                ClassWeights::Uniform
            }
        }
    };
    LossSpec {
        label_smoothing: written.label_smoothing.unwrap_or(0.0),
        class_weights,
    }
}

fn early_stopping(fields: &mut Fields, written: &wire::EarlyStoppingSpec) -> EarlyStopping {
    EarlyStopping {
        metric: metric(fields, "spec.training.earlyStopping.metric", &written.metric).unwrap_or(MetricName::LOSS),
        patience: written.patience.unwrap_or(3),
        min_delta: written.min_delta.unwrap_or(0.0),
    }
}

fn best_metric(
    fields: &mut Fields,
    written: &wire::TrainingSpec,
    early_stopping: Option<&EarlyStopping>,
    has_validation: bool,
) -> MetricName {
    const FIELD: &str = "spec.training.bestMetric";
    let default = early_stopping.map_or(MetricName::LOSS, |stopping| stopping.metric);
    if written.best_metric.is_empty() {
        return default;
    }
    let chosen = metric(fields, FIELD, &written.best_metric);
    if chosen == Some(MetricName::LOSS) && !has_validation {
        // The rules of a spec cannot tell this one from the default.
        fields.violation(FIELD, "`validation/loss` needs spec.data.validation");
    }
    chosen.unwrap_or(default)
}

fn metric(fields: &mut Fields, field: &str, written: &str) -> Option<MetricName> {
    let chosen = written.strip_prefix("validation/").and_then(MetricName::from_word);
    if chosen.is_none() {
        let words: Vec<String> = MetricName::WORDS
            .iter()
            .map(|(word, _)| format!("validation/{word}"))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        fields.unknown_word(field, written, &words);
    }
    chosen
}

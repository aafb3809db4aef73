//! Losses, optimizers, schedules, and the rest of a training.

use firn_core::spec::{
    ClassWeights, Decayed, Determinism, EarlyStopping, LossSpec, MetricName, MixingSpec, OptimizerSpec, PlateauSpec,
    Precision, Sampling, ScheduleShape, ScheduleSpec, Task, ThresholdMode, TrainingSpec, Warmup,
};
use proptest::prelude::*;

use super::word;

pub(super) fn training(
    has_validation: bool,
    may_train_batch_norm: bool,
    mixes: bool,
) -> impl Strategy<Value = TrainingSpec> {
    let schedule = (
        shape(has_validation),
        prop_oneof![
            (0.0..0.99).prop_map(Warmup::Ratio),
            any::<u32>().prop_map(Warmup::Steps)
        ],
    )
        .prop_map(|(shape, warmup)| ScheduleSpec { shape, warmup });
    let stopping = prop::option::of(stopping());
    let limits = (prop::option::of(0.1..9.0), 0u64..4_000_000);
    let numbers = (
        1u32..1000,
        64u32..4096,
        prop::option::of(1u32..64),
        any::<u64>(),
        limits,
    );
    let choices = (
        stopping,
        metric(),
        any::<bool>(),
        word::<Determinism>(),
        word::<Decayed>(),
        prop::option::of(mixing()),
    );
    (numbers, optimizer(), schedule, loss(), choices).prop_map(
        move |(
            numbers,
            optimizer,
            schedule,
            loss,
            (early_stopping, best_metric, batch_norm, determinism, decayed, mixing),
        )| {
            let (epochs, batch_size, micro_batch_size, seed, (max_gradient_norm, checkpoint_interval_ms)) = numbers;
            TrainingSpec {
                epochs,
                batch_size,
                micro_batch_size: micro_batch_size.filter(|_| !(batch_norm && may_train_batch_norm)),
                seed,
                optimizer,
                schedule,
                loss,
                early_stopping: early_stopping.filter(|_| has_validation),
                best_metric: if has_validation { best_metric } else { MetricName::LOSS },
                best_metric_class: class_of(best_metric).filter(|_| has_validation),
                train_batch_norm: batch_norm && may_train_batch_norm,
                max_gradient_norm,
                max_gradient_value: max_gradient_norm.is_none().then_some(0.5),
                decayed,
                layer_decay: 1.0,
                mixing: mixing.filter(|_| mixes),
                ema: None,
                frozen_precision: Precision::Single,
                sampling: Sampling::Shuffle,
                determinism,
                checkpoint_interval_ms,
            }
        },
    )
}

/// One that a classification has.
fn metric() -> impl Strategy<Value = MetricName> {
    word::<MetricName>().prop_filter("of the task", |metric| Task::Classification.has(metric.metric()))
}

/// The class that a metric of one class is of: one that every spec of these has.
fn class_of(metric: MetricName) -> Option<String> {
    metric.is_of_one_class().then(|| "none".to_owned())
}

/// A rate, a decay, two decays of means, and what is added to a denominator.
fn adam() -> impl Strategy<Value = (f64, f64, f64, f64, f64)> {
    (1e-6..1.0, 0.0..1.0, 0.0..0.99, 0.0..0.9999, 1e-12..1e-3)
}

fn optimizer() -> impl Strategy<Value = OptimizerSpec> {
    prop_oneof![
        adam().prop_map(
            |(learning_rate, weight_decay, beta1, beta2, epsilon)| OptimizerSpec::AdamW {
                learning_rate,
                weight_decay,
                beta1,
                beta2,
                epsilon
            }
        ),
        adam().prop_map(
            |(learning_rate, weight_decay, beta1, beta2, epsilon)| OptimizerSpec::Adam {
                learning_rate,
                weight_decay,
                beta1,
                beta2,
                epsilon
            }
        ),
        adam().prop_map(
            |(learning_rate, weight_decay, beta1, beta2, epsilon)| OptimizerSpec::Lamb {
                learning_rate,
                weight_decay,
                beta1,
                beta2,
                epsilon
            }
        ),
        (adam(), any::<bool>()).prop_map(|((learning_rate, weight_decay, momentum, alpha, epsilon), centered)| {
            OptimizerSpec::RmsProp {
                learning_rate,
                weight_decay,
                alpha,
                momentum,
                centered,
                epsilon,
            }
        }),
        (1e-6..1.0, 0.0..1.0, 0.01..0.99, any::<bool>()).prop_map(
            |(learning_rate, weight_decay, momentum, nesterov)| OptimizerSpec::Sgd {
                learning_rate,
                weight_decay,
                momentum,
                nesterov
            }
        ),
    ]
}

fn loss() -> impl Strategy<Value = LossSpec> {
    let class_weights = prop_oneof![
        Just(ClassWeights::Uniform),
        Just(ClassWeights::Balanced),
        prop::collection::btree_map("[a-z]{1,6}", 0.1..9.0, 1..4).prop_map(ClassWeights::Named),
    ];
    (0.0..0.99, class_weights).prop_map(|(label_smoothing, class_weights)| LossSpec::CrossEntropy {
        label_smoothing,
        class_weights,
    })
}

/// A plateau needs a validation split.
fn shape(has_validation: bool) -> impl Strategy<Value = ScheduleShape> {
    let plateau = (
        metric(),
        (0.01..0.99, 0u32..50, 0.0..0.1),
        word::<ThresholdMode>(),
        (0u32..50, 0.0..0.01),
    )
        .prop_map(
            |(metric, (factor, patience, threshold), threshold_mode, (cooldown, min_learning_rate))| PlateauSpec {
                class: class_of(metric),
                metric,
                factor,
                patience,
                threshold,
                threshold_mode,
                cooldown,
                min_learning_rate,
            },
        );
    let settings = (1u32..9, 0.01..0.99, 1.0..99.0);
    (word::<ScheduleShape>(), plateau, settings).prop_map(move |(shape, plateau, (number, part, factor))| match shape {
        ScheduleShape::Plateau(_) if has_validation => ScheduleShape::Plateau(plateau),
        ScheduleShape::Plateau(_) => ScheduleShape::Constant,
        ScheduleShape::CosineRestarts { .. } => ScheduleShape::CosineRestarts {
            cycles: number,
            min_learning_rate: 0.0,
        },
        ScheduleShape::Polynomial { .. } => ScheduleShape::Polynomial {
            power: factor,
            min_learning_rate: 0.0,
        },
        ScheduleShape::Step { .. } => ScheduleShape::Step {
            step_size: number,
            gamma: part,
        },
        // One that fits any number of epochs there is not.
        ScheduleShape::MultiStep { .. } => ScheduleShape::Exponential { gamma: part },
        ScheduleShape::InverseSqrt { .. } => ScheduleShape::InverseSqrt {
            timescale: Some(number),
        },
        // They have no warm-up.
        ScheduleShape::OneCycle(_) | ScheduleShape::RangeTest { .. } => ScheduleShape::Linear,
        shape => shape,
    })
}

fn stopping() -> impl Strategy<Value = EarlyStopping> {
    (metric(), 1u32..50, 0.0..0.1).prop_map(|(metric, patience, min_delta)| EarlyStopping {
        class: class_of(metric),
        metric,
        patience,
        min_delta,
    })
}

fn mixing() -> impl Strategy<Value = MixingSpec> {
    (0.01..9.0, prop::option::of(0.01..9.0), 0.0..1.0, 0.0..1.0).prop_map(
        |(mixup, cutmix_alpha, probability, switch_probability)| MixingSpec {
            mixup_alpha: Some(mixup),
            cutmix_alpha,
            probability,
            switch_probability,
        },
    )
}

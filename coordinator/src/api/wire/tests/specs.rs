//! Valid specs of every kind, for tests that hold for all of them.

use firn_core::slices;
use firn_core::spec::{
    Architecture, ArtifactsSpec, AugmentationSpec, ClassWeights, ColorJitterSpec, CropMode, Crops, DataFormat,
    DataSpec, Decayed, Determinism, DeviceRequest, EarlyStopping, ErasedValue, Freeze, FreezeSpec, HeadActivation,
    HeadSpec, Interpolation, JobSpec, LoraSpec, LossSpec, Metadata, MetricName, MissingLabels, MixingSpec, Modality,
    ModelSpec, OptimizerSpec, PlateauSpec, Precision, PreemptionPolicy, Preprocessing, QuarantineSpec, RandAugmentSpec,
    RandomErasingSpec, RandomResizedCropSpec, ResourcesSpec, RestartPolicy, RowLayout, RunPolicy, Sampling,
    ScheduleShape, ScheduleSpec, SchedulingSpec, SplitSource, StageDropout, Task, ThresholdMode, TrainingSpec,
    TrivialAugmentWideSpec, Warmup, WarpInterpolation, Word, WorkersSpec,
};
use proptest::prelude::*;

fn word<W: Word + std::fmt::Debug>() -> impl Strategy<Value = W> {
    prop::sample::select(W::WORDS.iter().map(|(_, choice)| choice.clone()).collect::<Vec<W>>())
}

/// One that a classification has.
fn metric() -> impl Strategy<Value = MetricName> {
    word::<MetricName>().prop_filter("of the task", |metric| Task::Classification.has(metric.metric()))
}

fn path() -> impl Strategy<Value = String> {
    "/[a-zA-Z0-9 %é_.-]{1,12}(/[a-z]{1,8}){0,2}"
}

fn split() -> impl Strategy<Value = Option<SplitSource>> {
    prop_oneof![
        Just(None),
        path().prop_map(|path| Some(SplitSource::Path(path))),
        (0.01..0.49).prop_map(|fraction| Some(SplitSource::FractionOfTrain(fraction))),
    ]
}

fn data(architecture: Architecture) -> BoxedStrategy<(DataFormat, Preprocessing)> {
    let columns = ("[a-m]{1,8}", "[n-z]{1,8}");
    let crops = architecture.crops();
    let (Crops::From(smallest) | Crops::Only(smallest)) = crops;
    match architecture.modality() {
        Modality::Image => (
            smallest.max(1)..2048,
            0.1f64..1.0,
            [0.0..1.0, 0.0..1.0, 0.0..1.0],
            [0.1..3.0, 0.1..3.0, 0.1..3.0],
            0u8..4,
        )
            .prop_map(move |(resize, part, mean, std, kind)| {
                let crop = match crops {
                    Crops::From(_) => ((f64::from(resize) * part).ceil() as u32).max(smallest),
                    Crops::Only(size) => size,
                };
                (
                    match kind {
                        0 => DataFormat::ImageFolder,
                        _ => DataFormat::images(
                            match kind {
                                1 => RowLayout::JsonLines,
                                _ => RowLayout::Delimited {
                                    delimiter: ';',
                                    quoted: kind == 2,
                                },
                            },
                            "image",
                            "class",
                            (kind == 2).then(|| "/data/images".to_owned()),
                        ),
                    },
                    Preprocessing::Image {
                        resize,
                        interpolation: Interpolation::WORDS[usize::from(kind) % 2].1,
                        crop_mode: CropMode::WORDS[usize::from(kind / 2) % 2].1,
                        crop,
                        mean,
                        std,
                    },
                )
            })
            .boxed(),
        Modality::Text => (columns, 0u8..4, any::<bool>(), prop::option::of(3u32..600))
            .prop_map(|((text, label), kind, quoted, max_length)| {
                let format = match kind {
                    0 if quoted => DataFormat::pairs(RowLayout::JsonLines, text, "other", label),
                    0 => DataFormat::texts(RowLayout::JsonLines, text, label),
                    _ => DataFormat::texts(
                        RowLayout::Delimited {
                            delimiter: [',', '\t', ';'][usize::from(kind - 1)],
                            quoted,
                        },
                        text,
                        label,
                    ),
                };
                (format, Preprocessing::Text { max_length })
            })
            .boxed(),
    }
}

fn model(architecture: Architecture) -> impl Strategy<Value = ModelSpec> {
    let stages = architecture.stages(5);
    let cut = prop_oneof![
        Just(Freeze::All),
        Just(Freeze::Nothing),
        prop::sample::select(stages.clone()).prop_map(Freeze::Through),
    ];
    let patterns = prop::collection::vec(prop::sample::select(vec![r"\.bias$", "norm", r"^layer\.1\."]), 0..3);
    // One frozen stage, of a file that has to be there.
    let is_script = architecture == Architecture::TorchScript;
    let freeze = (cut, any::<bool>(), patterns).prop_map(move |(through, is_gradual, patterns)| {
        if is_script {
            return Freeze::All.into();
        }
        let unfreeze = (is_gradual && through == Freeze::All).then(|| [(stages[0].clone(), 2), (stages[1].clone(), 1)]);
        let mut freeze = FreezeSpec::from(through);
        freeze.unfreeze.extend(unfreeze.into_iter().flatten());
        if !freeze.trains_head_alone() {
            freeze.parameters = patterns.into_iter().map(str::to_owned).collect();
        }
        freeze
    });
    let is_text = architecture.modality() == Modality::Text;
    (
        prop::option::of(path()),
        path(),
        freeze,
        (0.0..0.99, head()),
        prop::sample::select(architecture.poolings()),
    )
        .prop_map(
            move |(weights, tokenizer, freeze, (dropout, head), pooling)| ModelSpec {
                architecture,
                weights: match is_script {
                    true => Some("/models/network.pt".to_owned()),
                    false => weights.map(|path| format!("{path}.safetensors")),
                },
                tokenizer: is_text.then_some(tokenizer),
                lora: (is_text && !freeze.trains_head_alone() && freeze.parameters.is_empty()).then(|| LoraSpec {
                    rank: 4,
                    alpha: 8.0,
                    dropout,
                    targets: vec!["query".to_owned()],
                }),
                dropout: match is_text && !freeze.trains_head_alone() && dropout < 0.5 {
                    true => StageDropout::Configuration,
                    false => StageDropout::None,
                },
                freeze,
                head,
                pooling,
            },
        )
}

fn head() -> impl Strategy<Value = HeadSpec> {
    let activation = prop::sample::select(vec![
        HeadActivation::Relu,
        HeadActivation::Gelu,
        HeadActivation::Silu,
        HeadActivation::Tanh,
    ]);
    let sizes = prop::collection::vec(1..=65_536_u32, 1..=8);
    prop_oneof![
        (0.0..0.99).prop_map(|dropout| HeadSpec::Linear { dropout }),
        (0.0..0.99, sizes, activation).prop_map(|(dropout, hidden_sizes, activation)| HeadSpec::Mlp {
            dropout,
            hidden_sizes,
            activation,
        }),
        (0.0..0.99).prop_map(|dropout| HeadSpec::Ordinal { dropout }),
        (0.0..0.99, 0.1..100.0, any::<bool>()).prop_map(|(dropout, scale, learn_scale)| HeadSpec::Cosine {
            dropout,
            scale,
            learn_scale,
        }),
    ]
}

/// How many samples may be corrupt, what becomes of rows without labels, and what of images in training.
fn data_choices(is_image: bool) -> impl Strategy<Value = (u32, MissingLabels, Option<AugmentationSpec>)> + Clone {
    let missing = prop::sample::select(vec![MissingLabels::Error, MissingLabels::Drop, MissingLabels::Keep]);
    let augmentation = prop::option::of(augmentation()).prop_map(move |found| found.filter(|_| is_image));
    (any::<u32>(), missing, augmentation)
}

fn augmentation() -> impl Strategy<Value = AugmentationSpec> + Clone {
    let range = || (0.01..0.5, 0.5..1.0).prop_map(|(least, most)| [least, most]);
    let erasing = (0.0..1.0, range(), range(), any::<bool>()).prop_map(|(probability, scale, ratio, is_random)| {
        let value = if is_random {
            ErasedValue::Random
        } else {
            ErasedValue::Zero
        };
        RandomErasingSpec {
            probability,
            scale,
            ratio,
            value,
        }
    });
    let policy = (1u32..9, 0u32..31, any::<bool>());
    let jitter = (0.0..2.0, 0.0..2.0, 0.0..2.0, 0.0..0.5);
    let parts = (
        prop::option::of((range(), range())),
        prop::option::of(policy),
        prop::option::of(jitter),
        prop::option::of(erasing),
    );
    (parts, 0.0..1.0, 0.0..180.0).prop_map(|((crop, policy, jitter, random_erasing), flip, rotation)| {
        AugmentationSpec {
            random_resized_crop: crop.map(|(scale, ratio)| RandomResizedCropSpec { scale, ratio }),
            horizontal_flip: flip,
            vertical_flip: 1.0 - flip,
            rotation,
            rand_augment: policy
                .filter(|(.., is_trivial)| !is_trivial)
                .map(|(num_ops, magnitude, _)| RandAugmentSpec {
                    num_ops,
                    magnitude,
                    num_magnitude_bins: 31,
                }),
            trivial_augment_wide: policy.filter(|(.., is_trivial)| *is_trivial).map(|(bins, ..)| {
                TrivialAugmentWideSpec {
                    num_magnitude_bins: bins + 1,
                }
            }),
            color_jitter: jitter.map(|(brightness, contrast, saturation, hue)| ColorJitterSpec {
                brightness,
                contrast,
                saturation,
                hue,
            }),
            grayscale: 1.0 - flip,
            random_erasing,
            interpolation: if flip < 0.5 {
                WarpInterpolation::Nearest
            } else {
                WarpInterpolation::Bilinear
            },
        }
    })
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

fn training(has_validation: bool, may_train_batch_norm: bool, mixes: bool) -> impl Strategy<Value = TrainingSpec> {
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

fn stopping() -> impl Strategy<Value = EarlyStopping> {
    (metric(), 1u32..50, 0.0..0.1).prop_map(|(metric, patience, min_delta)| EarlyStopping {
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

fn resources(one_rank: bool) -> impl Strategy<Value = ResourcesSpec> {
    (1u32..5, 0u32..4, 1u32..9, word::<DeviceRequest>()).prop_map(move |(min_workers, more, slots, device)| {
        ResourcesSpec {
            workers: WorkersSpec {
                min: if one_rank { 1 } else { min_workers },
                max: if one_rank { 1 } else { min_workers + more },
            },
            slots_per_worker: if one_rank { 1 } else { slots },
            device,
        }
    })
}

fn scheduling() -> impl Strategy<Value = (SchedulingSpec, RunPolicy)> {
    let selector = prop::collection::btree_map("[a-z]{1,6}", "[a-z]{0,6}", 0..3);
    let policy = (prop::option::of(1u64..10_000), prop::option::of(0u32..10_000));
    (0u32..1000, word::<PreemptionPolicy>(), selector, policy).prop_map(
        |(priority, preemption_policy, worker_selector, (active_deadline_ms, ttl_seconds_after_finished))| {
            let scheduling = SchedulingSpec {
                priority,
                preemption_policy,
                worker_selector,
            };
            let run_policy = RunPolicy {
                active_deadline_ms,
                ttl_seconds_after_finished,
            };
            (scheduling, run_policy)
        },
    )
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let labels = prop::collection::btree_map("[a-z]{1,6}", ".{0,12}", 0..3);
    ("[a-z0-9]{1,9}", "[a-z0-9]{1,9}", labels).prop_map(|(name, namespace, labels)| Metadata {
        name,
        namespace,
        labels,
    })
}

/// Any spec that keeps to every rule.
pub(super) fn valid_spec() -> impl Strategy<Value = JobSpec> {
    word::<Architecture>()
        .prop_flat_map(|architecture| (model(architecture), data(architecture), path(), split(), split()))
        .prop_flat_map(|(model, (format, preprocessing), train, validation, test)| {
            let batch_norm = model.architecture.has_batch_norm() && !model.freeze.trains_head_alone();
            let is_image = matches!(preprocessing, Preprocessing::Image { .. });
            let data = data_choices(is_image).prop_map(move |(max_quarantined, missing, augmentation)| DataSpec {
                format: format.clone(),
                missing_labels: (format != DataFormat::ImageFolder).then_some(missing),
                classes: Vec::new(),
                train: train.clone(),
                validation: validation.clone(),
                test: test.clone(),
                preprocessing: preprocessing.clone(),
                augmentation,
                quarantine: QuarantineSpec {
                    max_samples: max_quarantined,
                },
            });
            (
                Just(model),
                data.clone(),
                data.prop_flat_map(move |data| training(data.validation.is_some(), batch_norm, is_image)),
            )
        })
        .prop_flat_map(|(model, data, training)| {
            let one_rank = training.train_batch_norm;
            (
                Just((model, data, training)),
                resources(one_rank),
                metadata(),
                0u32..100,
                (prop::option::of(path()), scheduling()),
            )
        })
        .prop_map(
            |((model, data, mut training), resources, metadata, max_restarts, rest)| {
                let (folder, (scheduling, run_policy)) = rest;
                let ranks = resources.workers.max * resources.slots_per_worker;
                if ranks > slices::of_job(&training) {
                    training.determinism = Determinism::Default;
                }
                if !model.freeze.unfreeze.is_empty() {
                    (training.epochs, training.layer_decay) = (training.epochs.max(3), 0.75);
                }
                JobSpec {
                    metadata,
                    task: Task::Classification,
                    model,
                    data,
                    training,
                    resources,
                    restart_policy: RestartPolicy { max_restarts },
                    artifacts: ArtifactsSpec {
                        folder,
                        merged_model: max_restarts % 2 == 0,
                    },
                    scheduling,
                    run_policy,
                }
            },
        )
}

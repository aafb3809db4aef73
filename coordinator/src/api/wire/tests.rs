//! A stored job is the same spec again, whatever the spec; and what is wrong with a message is all found at once.

use std::collections::BTreeMap;

use firn_core::spec::{
    Architecture, ArtifactsSpec, ClassWeights, DataFormat, DataSpec, DeviceRequest, EarlyStopping, Freeze, HeadSpec,
    JobSpec, LossSpec, MetricName, Modality, ModelSpec, OptimizerSpec, Pooling, Preprocessing, ResourcesSpec,
    ScheduleShape, ScheduleSpec, SplitSource, Task, TrainingSpec, Warmup, Word, validate,
};
use firn_proto::v1alpha1 as wire;
use proptest::prelude::*;

use super::{Violation, invalid_job, job_spec, stored_job, violations};

fn word<W: Word + std::fmt::Debug>() -> impl Strategy<Value = W> {
    prop::sample::select(W::WORDS.iter().map(|(_, choice)| *choice).collect::<Vec<W>>())
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

fn data(modality: Modality) -> BoxedStrategy<(DataFormat, Preprocessing)> {
    let columns = ("[a-m]{1,8}", "[n-z]{1,8}");
    match modality {
        Modality::Image => (
            1u32..2048,
            0.1f64..1.0,
            [0.0..1.0, 0.0..1.0, 0.0..1.0],
            [0.1..3.0, 0.1..3.0, 0.1..3.0],
        )
            .prop_map(|(resize, part, mean, std)| {
                let crop = (f64::from(resize) * part).ceil() as u32;
                (
                    DataFormat::ImageFolder,
                    Preprocessing::Image {
                        resize,
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
                    0 => DataFormat::JsonLines { text, label },
                    _ => DataFormat::Table {
                        delimiter: if kind == 1 { ',' } else { '\t' },
                        quoted,
                        text,
                        label,
                    },
                };
                (format, Preprocessing::Text { max_length })
            })
            .boxed(),
    }
}

fn model(architecture: Architecture) -> impl Strategy<Value = ModelSpec> {
    let mut stages = architecture.stages();
    if architecture == Architecture::Bert {
        stages.push("layer.4".to_owned());
    }
    let freeze = prop_oneof![
        Just(Freeze::All),
        Just(Freeze::Nothing),
        prop::sample::select(stages).prop_map(Freeze::Through),
    ];
    let is_text = architecture.modality() == Modality::Text;
    (prop::option::of(path()), path(), freeze, 0.0..0.99, word::<Pooling>()).prop_map(
        move |(weights, tokenizer, freeze, dropout, pooling)| ModelSpec {
            architecture,
            weights: weights.map(|path| format!("{path}.safetensors")),
            tokenizer: is_text.then_some(tokenizer),
            freeze,
            head: HeadSpec { dropout },
            pooling: if is_text { pooling } else { Pooling::Mean },
        },
    )
}

fn optimizer() -> impl Strategy<Value = OptimizerSpec> {
    prop_oneof![
        (1e-6..1.0, 0.0..1.0, 0.0..0.99, 0.0..0.9999, 1e-12..1e-3).prop_map(
            |(learning_rate, weight_decay, beta1, beta2, epsilon)| OptimizerSpec::AdamW {
                learning_rate,
                weight_decay,
                beta1,
                beta2,
                epsilon
            }
        ),
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
    (0.0..0.99, class_weights).prop_map(|(label_smoothing, class_weights)| LossSpec {
        label_smoothing,
        class_weights,
    })
}

fn training(has_validation: bool, may_train_batch_norm: bool) -> impl Strategy<Value = TrainingSpec> {
    let schedule = (
        word::<ScheduleShape>(),
        prop_oneof![
            (0.0..0.99).prop_map(Warmup::Ratio),
            any::<u32>().prop_map(Warmup::Steps)
        ],
    )
        .prop_map(|(shape, warmup)| ScheduleSpec { shape, warmup });
    let stopping = prop::option::of((word::<MetricName>(), 1u32..50, 0.0..0.1)).prop_map(
        |stopping: Option<(MetricName, u32, f64)>| {
            stopping.map(|(metric, patience, min_delta)| EarlyStopping {
                metric,
                patience,
                min_delta,
            })
        },
    );
    let numbers = (
        1u32..1000,
        64u32..4096,
        prop::option::of(1u32..64),
        any::<u64>(),
        prop::option::of(0.1..9.0),
    );
    let choices = (stopping, word::<MetricName>(), any::<bool>());
    (numbers, optimizer(), schedule, loss(), choices).prop_map(
        move |(numbers, optimizer, schedule, loss, (early_stopping, best_metric, batch_norm))| {
            let (epochs, batch_size, micro_batch_size, seed, max_gradient_norm) = numbers;
            TrainingSpec {
                epochs,
                batch_size,
                micro_batch_size,
                seed,
                optimizer,
                schedule,
                loss,
                early_stopping: early_stopping.filter(|_| has_validation),
                best_metric: if has_validation { best_metric } else { MetricName::Loss },
                train_batch_norm: batch_norm && may_train_batch_norm,
                max_gradient_norm,
            }
        },
    )
}

fn valid_spec() -> impl Strategy<Value = JobSpec> {
    word::<Architecture>()
        .prop_flat_map(|architecture| {
            (
                model(architecture),
                data(architecture.modality()),
                path(),
                split(),
                split(),
            )
        })
        .prop_flat_map(|(model, (format, preprocessing), train, validation, test)| {
            let batch_norm = model.architecture.has_batch_norm() && model.freeze != Freeze::All;
            let data = (any::<u32>()).prop_map(move |max_quarantined| DataSpec {
                format: format.clone(),
                train: train.clone(),
                validation: validation.clone(),
                test: test.clone(),
                preprocessing: preprocessing.clone(),
                max_quarantined,
            });
            (
                Just(model),
                data.clone(),
                data.prop_flat_map(move |data| training(data.validation.is_some(), batch_norm)),
            )
        })
        .prop_flat_map(|(model, data, training)| {
            let resources = (1u32..5, 0u32..4, 1u32..9, word::<DeviceRequest>()).prop_map(
                |(min_workers, more, slots_per_worker, device)| ResourcesSpec {
                    min_workers,
                    max_workers: min_workers + more,
                    slots_per_worker,
                    device,
                },
            );
            let labels = prop::collection::btree_map("[a-z]{1,6}", ".{0,12}", 0..3);
            (
                Just((model, data, training)),
                resources,
                labels,
                "[a-z0-9]{1,9}",
                0u32..100,
                prop::option::of(path()),
            )
        })
        .prop_map(
            |((model, data, training), resources, labels, name, max_restarts, folder)| JobSpec {
                name,
                labels,
                task: Task::Classification,
                model,
                data,
                training,
                resources,
                max_restarts,
                artifacts: ArtifactsSpec {
                    folder,
                    merged_model: max_restarts % 2 == 0,
                },
            },
        )
}

proptest! {
    #[test]
    fn a_stored_job_is_the_same_spec_again(spec in valid_spec()) {
        prop_assert_eq!(validate(&spec), []);
        let stored = stored_job(&spec);
        prop_assert_eq!(job_spec(&stored), Ok(spec.clone()));
        // And through the stored JSON that ranks read.
        let json = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(serde_json::from_str::<JobSpec>(&json).unwrap(), spec);
    }
}

fn smallest_job(architecture: &str, format: &str) -> wire::FineTuneJob {
    let uri = |uri: &str| {
        Some(wire::SplitSpec {
            uri: uri.to_owned(),
            split: None,
        })
    };
    wire::FineTuneJob {
        api_version: super::API_VERSION.to_owned(),
        kind: super::KIND.to_owned(),
        metadata: Some(wire::Metadata {
            name: "smallest".to_owned(),
            ..Default::default()
        }),
        spec: Some(wire::JobSpec {
            task: Some(wire::TaskSpec {
                r#type: "classification".to_owned(),
            }),
            model: Some(wire::ModelSpec {
                architecture: architecture.to_owned(),
                weights: "file:///models/weights.safetensors".to_owned(),
                ..Default::default()
            }),
            data: Some(wire::DataSpec {
                format: format.to_owned(),
                train: uri("/data/train"),
                ..Default::default()
            }),
            ..Default::default()
        }),
        status: None,
    }
}

#[test]
fn every_default_is_the_documented_one() {
    let spec = job_spec(&smallest_job("mobilenet_v2", "imagefolder")).unwrap();
    assert_eq!(spec.model.freeze, Freeze::All);
    assert_eq!(spec.model.tokenizer, None);
    assert_eq!(
        spec.data.preprocessing,
        Architecture::MobilenetV2.default_preprocessing()
    );
    let training = &spec.training;
    assert_eq!((training.epochs, training.batch_size, training.seed), (10, 32, 0));
    let adamw = OptimizerSpec::AdamW {
        learning_rate: 1e-3,
        weight_decay: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
    };
    assert_eq!(training.optimizer, adamw);
    assert_eq!(
        training.schedule,
        ScheduleSpec {
            shape: ScheduleShape::Constant,
            warmup: Warmup::Ratio(0.0)
        }
    );
    assert_eq!(
        training.loss,
        LossSpec {
            label_smoothing: 0.0,
            class_weights: ClassWeights::Uniform
        }
    );
    assert_eq!(
        (training.early_stopping.clone(), training.best_metric),
        (None, MetricName::Loss)
    );
    let resources = ResourcesSpec {
        min_workers: 1,
        max_workers: 1,
        slots_per_worker: 1,
        device: DeviceRequest::Auto,
    };
    assert_eq!(spec.resources, resources);
    assert_eq!(
        (
            spec.max_restarts,
            spec.data.max_quarantined,
            spec.artifacts.merged_model
        ),
        (3, 0, true)
    );

    let spec = job_spec(&smallest_job("bert", "tsv")).unwrap();
    assert_eq!(spec.model.tokenizer.as_deref(), Some("/models/tokenizer.json"));
    assert_eq!(spec.model.pooling, Pooling::Mean);
    assert_eq!(spec.data.preprocessing, Preprocessing::Text { max_length: None });
    let table = |delimiter, quoted| DataFormat::Table {
        delimiter,
        quoted,
        text: "text".into(),
        label: "label".into(),
    };
    assert_eq!(spec.data.format, table('\t', false));
    assert_eq!(
        job_spec(&smallest_job("bert", "csv")).unwrap().data.format,
        table(',', true)
    );
}

#[test]
fn defaults_follow_other_choices() {
    let mut job = smallest_job("resnet18", "imagefolder");
    let spec = job.spec.as_mut().unwrap();
    spec.data.as_mut().unwrap().validation = Some(wire::SplitSpec {
        split: Some(0.2),
        ..Default::default()
    });
    spec.training = Some(wire::TrainingSpec {
        optimizer: Some(wire::OptimizerSpec {
            r#type: "sgd".to_owned(),
            ..Default::default()
        }),
        early_stopping: Some(wire::EarlyStoppingSpec {
            metric: "validation/f1_macro".into(),
            ..Default::default()
        }),
        ..Default::default()
    });
    let workers = wire::WorkersSpec {
        min: Some(3),
        max: None,
    };
    spec.resources = Some(wire::ResourcesSpec {
        workers: Some(workers),
        ..Default::default()
    });
    let spec = job_spec(&job).unwrap();
    assert_eq!(spec.training.best_metric, MetricName::F1Macro);
    assert_eq!(spec.training.early_stopping.map(|stopping| stopping.patience), Some(3));
    let sgd = OptimizerSpec::Sgd {
        learning_rate: 1e-3,
        weight_decay: 0.0,
        momentum: 0.9,
        nesterov: false,
    };
    assert_eq!(spec.training.optimizer, sgd);
    assert_eq!(spec.resources.max_workers, 3);
}

#[test]
fn an_empty_message_names_all_that_is_required() {
    let found = job_spec(&wire::FineTuneJob::default()).unwrap_err();
    let fields: Vec<&str> = found.iter().map(|violation| violation.field.as_str()).collect();
    let required = [
        "apiVersion",
        "kind",
        "metadata.name",
        "spec.task.type",
        "spec.model.architecture",
        "spec.data.format",
        "spec.data.train.uri",
    ];
    assert_eq!(fields, required);
}

#[test]
fn a_choice_that_was_not_understood_starts_no_avalanche() {
    let mut job = smallest_job("resnet19", "imagefolder");
    let spec = job.spec.as_mut().unwrap();
    let model = spec.model.as_mut().unwrap();
    model.freeze = Some(wire::FreezeSpec {
        through: "layer.3".to_owned(),
    });
    model.pooling = "cls".to_owned();
    spec.training = Some(wire::TrainingSpec {
        batch_norm: "train".to_owned(),
        ..Default::default()
    });
    let found = job_spec(&job).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].field, "spec.model.architecture");
}

#[test]
fn violations_travel_in_the_status() {
    let found = vec![
        Violation {
            field: "spec.training.epochs".to_owned(),
            message: "must be from 1 to 9, found 0".to_owned(),
        },
        Violation {
            field: "kind".to_owned(),
            message: "is required".to_owned(),
        },
    ];
    let status = invalid_job(&found);
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "the job is not valid: spec.training.epochs: must be from 1 to 9, found 0 (and 1 more)"
    );
    assert_eq!(violations(&status), found);
    assert_eq!(violations(&tonic::Status::not_found("jobs/none")), []);
}

#[test]
fn labels_are_kept() {
    let mut job = smallest_job("resnet18", "imagefolder");
    job.metadata.as_mut().unwrap().labels = BTreeMap::from([("team".to_owned(), "vision".to_owned())]);
    assert_eq!(job_spec(&job).unwrap().labels["team"], "vision");
}

//! Every rule of a spec beyond its types, one row each: what is changed in a valid spec, the field that is named, what is said.

use std::collections::BTreeMap;

use firn_core::spec::{
    Architecture, ArtifactsSpec, ClassWeights, CropMode, DataFormat, DataSpec, Decayed, Determinism, DeviceRequest,
    EarlyStopping, Freeze, HeadSpec, Interpolation, JobSpec, LossSpec, Metadata, MetricName, ModelSpec, OptimizerSpec,
    Pooling, Precision, Preprocessing, QuarantineSpec, ResourcesSpec, RestartPolicy, RowLayout, RunPolicy, Sampling,
    ScheduleShape, ScheduleSpec, SchedulingSpec, SplitSource, StageDropout, Task, TrainingSpec, Warmup, WorkersSpec,
    validate,
};

fn adamw() -> OptimizerSpec {
    OptimizerSpec::AdamW {
        learning_rate: 1e-3,
        weight_decay: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
    }
}

fn images() -> JobSpec {
    JobSpec {
        metadata: Metadata {
            name: "ants-and-bees".to_owned(),
            namespace: "default".to_owned(),
            labels: BTreeMap::from([("team".to_owned(), "vision".to_owned())]),
        },
        task: Task::Classification,
        model: ModelSpec {
            architecture: Architecture::Resnet18,
            weights: Some("/data/resnet18.safetensors".to_owned()),
            tokenizer: None,
            freeze: Freeze::All.into(),
            lora: None,
            dropout: StageDropout::None,
            head: HeadSpec::Linear { dropout: 0.1 },
            pooling: Pooling::Mean,
        },
        data: DataSpec {
            format: DataFormat::ImageFolder,
            missing_labels: None,
            classes: Vec::new(),
            train: "/data/train".to_owned(),
            validation: Some(SplitSource::FractionOfTrain(0.2)),
            test: None,
            preprocessing: Architecture::Resnet18.default_preprocessing(),
            augmentation: None,
            quarantine: QuarantineSpec { max_samples: 0 },
        },
        training: training_of_images(),
        resources: ResourcesSpec {
            workers: WorkersSpec { min: 1, max: 2 },
            slots_per_worker: 1,
            device: DeviceRequest::Auto,
        },
        restart_policy: RestartPolicy { max_restarts: 3 },
        artifacts: ArtifactsSpec {
            folder: None,
            merged_model: true,
        },
        scheduling: SchedulingSpec::default(),
        run_policy: RunPolicy::default(),
    }
}

fn training_of_images() -> TrainingSpec {
    TrainingSpec {
        epochs: 10,
        batch_size: 64,
        micro_batch_size: None,
        seed: 0,
        optimizer: adamw(),
        schedule: ScheduleSpec {
            shape: ScheduleShape::Cosine,
            warmup: Warmup::Ratio(0.05),
        },
        loss: LossSpec::default(),
        early_stopping: None,
        best_metric: MetricName::named("f1_macro"),
        best_metric_class: None,
        train_batch_norm: false,
        max_gradient_norm: None,
        max_gradient_value: None,
        decayed: Decayed::All,
        layer_decay: 1.0,
        mixing: None,
        ema: None,
        frozen_precision: Precision::Single,
        sampling: Sampling::Shuffle,
        determinism: Determinism::Default,
        checkpoint_interval_ms: 60_000,
    }
}

fn reviews() -> JobSpec {
    let mut spec = images();
    spec.model.architecture = Architecture::Bert;
    spec.model.weights = Some("/data/minilm/model.safetensors".to_owned());
    spec.data.format = DataFormat::texts(
        RowLayout::Delimited {
            delimiter: '\t',
            quoted: false,
        },
        "text",
        "label",
    );
    spec.data.preprocessing = Preprocessing::Text { max_length: Some(128) };
    spec
}

/// The violations after a change, one a line.
fn said(mut spec: JobSpec, change: impl FnOnce(&mut JobSpec)) -> String {
    change(&mut spec);
    validate(&spec)
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn valid_specs_have_no_violations() {
    assert_eq!(said(images(), |_| ()), "");
    assert_eq!(said(reviews(), |_| ()), "");
    for stage in ["embeddings", "layer.5", "pool"] {
        assert_eq!(
            said(reviews(), |spec| spec.model.freeze.through =
                Freeze::Through(stage.to_owned())),
            ""
        );
    }
    for stage in ["stem", "layer4", "pool"] {
        assert_eq!(
            said(images(), |spec| spec.model.freeze.through =
                Freeze::Through(stage.to_owned())),
            ""
        );
    }
}

#[test]
fn all_violations_are_found_at_once() {
    let found = said(images(), |spec| {
        spec.metadata.name = "Ants".to_owned();
        spec.training.epochs = 0;
        spec.resources.slots_per_worker = 0;
    });
    assert_eq!(found.lines().count(), 3, "{found}");
}

#[test]
fn names_and_paths_are_checked() {
    for name in ["", "Ants", "a_b", "-a", "a-", &"a".repeat(64)] {
        assert_eq!(
            said(images(), |spec| spec.metadata.name = name.to_owned()),
            format!(
                "metadata.name: must be 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends, found `{name}`"
            )
        );
    }
    assert_eq!(
        said(images(), |spec| spec.data.train = "data/train".to_owned()),
        "spec.data.train.uri: must be an absolute path on the workers, found `data/train`"
    );
    assert_eq!(
        said(images(), |spec| spec.model.weights =
            Some("/data/resnet18.pth".to_owned())),
        "spec.model.weights: must be a `.safetensors` file, the `.safetensors.index.json` of a sharded one, or a folder that holds either (with a `/` at its end): other formats can run code when they are opened; found `/data/resnet18.pth`"
    );
    assert_eq!(
        said(images(), |spec| spec.artifacts.folder = Some("out".to_owned())),
        "spec.artifacts.uri: must be an absolute path on the workers, found `out`"
    );
}

#[test]
fn models_and_their_cuts_are_checked() {
    assert_eq!(
        said(images(), |spec| spec.model.freeze.through =
            Freeze::Through("layer5".to_owned())),
        "spec.model.freeze.through: must be `all`, `none` or a stage of `resnet18`, found `layer5`; did you mean `layer1`? \
         (stages: stem, layer1, layer2, layer3, layer4, pool)"
    );
    assert_eq!(
        said(reviews(), |spec| spec.model.freeze.through =
            Freeze::Through("encoder".to_owned())),
        "spec.model.freeze.through: must be `all`, `none` or a stage of `bert`, found `encoder` \
         (stages: embeddings, layer.0, layer.1, … and pool)"
    );
    assert_eq!(
        said(reviews(), |spec| spec.model.weights = None),
        "spec.model.tokenizer: is required for `bert` without weights: it gives the vocabulary, and the `config.json` beside it the sizes"
    );
    assert_eq!(
        said(images(), |spec| spec.model.tokenizer =
            Some("/data/tokenizer.json".to_owned())),
        "spec.model.tokenizer: must be left out for `resnet18`, which takes images"
    );
    assert_eq!(
        said(images(), |spec| spec.model.head = HeadSpec::Linear { dropout: 1.0 }),
        "spec.model.head.dropout: must be at least 0 and below 1, found 1"
    );
    assert_eq!(
        said(images(), |spec| spec.training.train_batch_norm = true),
        "spec.training.batchNorm: must be `eval` when freeze.through is `all`: no BatchNorm layer is above the cut"
    );
    assert_eq!(
        said(reviews(), |spec| {
            spec.training.train_batch_norm = true;
            spec.model.freeze.through = Freeze::Nothing;
        }),
        "spec.training.batchNorm: must be `eval`: `bert` has no BatchNorm layers"
    );
    for determinism in [Determinism::Default, Determinism::Strict] {
        let shared = said(images(), |spec| {
            spec.training.train_batch_norm = true;
            spec.training.determinism = determinism;
            spec.model.freeze.through = Freeze::Nothing;
        });
        assert_eq!(shared, "", "{determinism:?}");
    }
}

#[test]
fn data_is_checked() {
    assert_eq!(
        said(reviews(), |spec| spec.data.format = DataFormat::ImageFolder),
        "spec.data.format: `imagefolder` gives images, but `bert` takes text"
    );
    assert_eq!(
        said(images(), |spec| spec.data.validation =
            Some(SplitSource::FractionOfTrain(1.0))),
        "spec.data.validation.split: must be above 0 and below 1, found 1"
    );
    assert_eq!(
        said(images(), |spec| {
            spec.data.validation = Some(SplitSource::FractionOfTrain(0.5));
            spec.data.test = Some(SplitSource::FractionOfTrain(0.625));
        }),
        "spec.data.test.split: validation and test together must leave samples to train on, but take 1.125 of train"
    );
    assert_eq!(
        said(reviews(), |spec| {
            spec.data.format = DataFormat::texts(RowLayout::JsonLines, "text", "text");
        }),
        "spec.data.columns.label: must be another column than the text, found `text` for both"
    );
    let image = |resize, crop, mean, std| Preprocessing::Image {
        resize,
        interpolation: Interpolation::Bilinear,
        crop_mode: CropMode::Center,
        crop,
        mean,
        std,
    };
    assert_eq!(
        said(images(), |spec| spec.data.preprocessing =
            image(64, 224, [0.5; 3], [0.5; 3])),
        "spec.data.preprocessing.crop: must be from 1 to resize (64), found 224"
    );
    assert_eq!(
        said(images(), |spec| spec.data.preprocessing =
            image(0, 0, [123.7, 0.5, 0.5], [0.5, 0.0, 0.5])),
        "spec.data.preprocessing.resize: must be from 1 to 8192, found 0\n\
         spec.data.preprocessing.crop: must be from 1 to resize (0), found 0\n\
         spec.data.preprocessing.mean[0]: must be from 0 to 1, found 123.7\n\
         spec.data.preprocessing.std[1]: must be above 0, found 0"
    );
    assert_eq!(
        said(reviews(), |spec| spec.data.preprocessing =
            Preprocessing::Text { max_length: Some(2) }),
        "spec.data.preprocessing.maxLength: must be from 3 to 65536, found 2"
    );
}

#[test]
fn training_is_checked() {
    assert_eq!(
        said(images(), |spec| {
            spec.training.micro_batch_size = Some(65);
            spec.training.max_gradient_norm = Some(0.0);
            spec.training.schedule.warmup = Warmup::Ratio(1.0);
            spec.training.loss = LossSpec::CrossEntropy {
                label_smoothing: -0.1,
                class_weights: ClassWeights::Uniform,
            };
        }),
        "spec.training.microBatchSize: must be from 1 to batchSize (64), found 65\n\
         spec.training.schedule.warmupRatio: must be at least 0 and below 1, found 1\n\
         spec.training.loss.labelSmoothing: must be at least 0 and below 1, found -0.1\n\
         spec.training.maxGradientNorm: must be above 0, found 0"
    );
    assert_eq!(
        said(images(), |spec| {
            let weights = BTreeMap::from([("ants".to_owned(), 0.0), ("bees".to_owned(), f64::INFINITY)]);
            spec.training.loss = LossSpec::CrossEntropy {
                label_smoothing: 0.0,
                class_weights: ClassWeights::Named(weights),
            };
        }),
        "spec.training.loss.classWeights.ants: must be above 0, found 0\n\
         spec.training.loss.classWeights.bees: must be above 0, found inf"
    );
    assert_eq!(
        said(images(), |spec| {
            spec.training.optimizer = OptimizerSpec::AdamW {
                learning_rate: f64::NAN,
                weight_decay: -1e-9,
                beta1: 1.0,
                beta2: 0.9,
                epsilon: 0.0,
            };
        }),
        "spec.training.optimizer.learningRate: must be above 0, found NaN\n\
         spec.training.optimizer.weightDecay: must be at least 0, found -1e-9\n\
         spec.training.optimizer.beta1: must be at least 0 and below 1, found 1\n\
         spec.training.optimizer.epsilon: must be above 0, found 0"
    );
    assert_eq!(
        said(images(), |spec| {
            spec.training.optimizer = OptimizerSpec::Sgd {
                learning_rate: 0.1,
                weight_decay: 0.0,
                momentum: 0.0,
                nesterov: true,
            };
        }),
        "spec.training.optimizer.nesterov: needs a momentum above 0, found 0"
    );
}

#[test]
fn what_ends_training_is_checked() {
    assert_eq!(
        said(images(), |spec| {
            spec.training.early_stopping = Some(EarlyStopping {
                class: None,
                metric: MetricName::LOSS,
                patience: 0,
                min_delta: -1.0,
            });
        }),
        "spec.training.earlyStopping.patience: must be from 1 to 1000000, found 0\n\
         spec.training.earlyStopping.minDelta: must be at least 0, found -1"
    );
    assert_eq!(
        said(images(), |spec| spec.data.validation = None),
        "spec.training.bestMetric: `validation/f1_macro` needs spec.data.validation"
    );
}

#[test]
fn resources_are_checked() {
    assert_eq!(
        said(images(), |spec| spec.resources.workers.min = 3),
        "spec.resources.workers.max: must be from min (3) to 10000, found 2"
    );
    assert_eq!(
        said(images(), |spec| spec.training.batch_size = 1),
        "spec.training.batchSize: must be at least the 2 ranks that share it (2 workers × 1 slots), found 1"
    );
    assert_eq!(
        said(images(), |spec| {
            spec.training.determinism = Determinism::Strict;
            spec.resources.workers.max = 9;
        }),
        "spec.training.determinism: must be `default` for 9 ranks: `strict` cuts a batch of 64 into 8 slices, and each rank takes at least one"
    );
    assert_eq!(
        said(images(), |spec| {
            spec.training.determinism = Determinism::Strict;
            spec.training.batch_size = 128;
            spec.resources.workers.max = 16;
        }),
        ""
    );
}

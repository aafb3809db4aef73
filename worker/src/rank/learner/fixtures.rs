//! Small models, and samples that are a formula of their number.

use firn_core::spec::{
    Architecture, ClassWeights, CropMode, Decayed, Determinism, Freeze, HeadSpec, Interpolation, LossSpec, MetricName,
    ModelSpec, OptimizerSpec, Pooling, Precision, Preprocessing, Sampling, ScheduleShape, ScheduleSpec, StageDropout,
    TrainingSpec, Warmup,
};
use firn_data::{Batch, RawTensor, Targets, Tensors, Values};
use firn_models::{Model, ModelOptions, Objective};
use tch::Device;

use super::{Learner, computation::Computation, inputs::Inputs};

const CLASSES: i64 = 3;
const SIDE: usize = 32;

/// Before the first step, over that many samples: a text model or an image model with a weighted loss.
pub(crate) fn learner(training: &TrainingSpec, samples: u64, disturbance: Disturbance) -> Learner {
    let computation = Computation {
        model: match disturbance.texts {
            true => text_model(training),
            false => image_model(training),
        },
        objective: Objective::cross_entropy(Some(&[0.5, 1.0, 3.0]), 0.1, Device::Cpu).unwrap(),
        training: training.clone(),
        inputs: Inputs::new(&preprocessing(disturbance), Device::Cpu).unwrap(),
    };
    Learner::new(computation, "settings".to_owned(), samples).unwrap()
}

/// As the samples are made: a rank without any still knows the size of an image.
fn preprocessing(disturbance: Disturbance) -> Preprocessing {
    match disturbance.texts {
        true => Preprocessing::Text { max_length: None },
        false => Preprocessing::Image {
            resize: SIDE as u32,
            interpolation: Interpolation::Bilinear,
            crop_mode: CropMode::Center,
            crop: SIDE as u32,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
    }
}

pub(crate) fn training(determinism: Determinism) -> TrainingSpec {
    TrainingSpec {
        epochs: 1,
        batch_size: 16,
        micro_batch_size: None,
        seed: 5,
        optimizer: OptimizerSpec::AdamW {
            learning_rate: 1e-3,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        },
        schedule: ScheduleSpec {
            shape: ScheduleShape::Constant,
            warmup: Warmup::Steps(0),
        },
        loss: LossSpec::CrossEntropy {
            label_smoothing: 0.1,
            class_weights: ClassWeights::Uniform,
        },
        early_stopping: None,
        best_metric: MetricName::LOSS,
        best_metric_class: None,
        train_batch_norm: false,
        max_gradient_norm: Some(0.5),
        max_gradient_value: None,
        decayed: Decayed::All,
        layer_decay: 1.0,
        mixing: None,
        ema: None,
        frozen_precision: Precision::Single,
        sampling: Sampling::Shuffle,
        checkpoint_interval_ms: 0,
        determinism,
    }
}

/// A small encoder of two layers, the upper one to train, from random weights.
fn text_model(training: &TrainingSpec) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let config =
        r#"{"hidden_size":48,"num_hidden_layers":2,"num_attention_heads":3,"intermediate_size":96,"vocab_size":200}"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    load(
        training,
        ModelSpec {
            architecture: Architecture::Bert,
            weights: None,
            tokenizer: Some(folder.path().join("tokenizer.json").to_string_lossy().into_owned()),
            freeze: Freeze::Through("layer.0".to_owned()).into(),
            lora: None,
            dropout: StageDropout::None,
            head: HeadSpec::Linear { dropout: 0.2 },
            pooling: Pooling::Mean,
        },
    )
}

/// MobileNetV2 with its last convolution to train, from random weights.
fn image_model(training: &TrainingSpec) -> Model {
    load(
        training,
        ModelSpec {
            architecture: Architecture::MobilenetV2,
            weights: None,
            tokenizer: None,
            freeze: Freeze::Through("features.17".to_owned()).into(),
            lora: None,
            dropout: StageDropout::None,
            head: HeadSpec::Linear { dropout: 0.2 },
            pooling: Pooling::Mean,
        },
    )
}

fn load(training: &TrainingSpec, spec: ModelSpec) -> Model {
    Model::load(&ModelOptions {
        spec: &spec,
        classes: CLASSES as usize,
        seed: training.seed,
        device: Device::Cpu,
        train_batch_norm: training.train_batch_norm,
    })
    .unwrap()
}

/// A value in [-1, 1) for each pixel of a sample (Knuth's multiplicative hash).
fn pixel(sample: u64, index: usize) -> f32 {
    let hash = ((sample as u32) << 16 ^ index as u32).wrapping_mul(2_654_435_769);
    f32::from((hash >> 16) as u16) / 32_768.0 - 1.0
}

/// How a run differs from the usual one.
#[derive(Clone, Copy, Default)]
pub(crate) struct Disturbance {
    /// The network reads texts in place of images.
    pub(crate) texts: bool,
    /// This sample is set aside.
    pub(crate) missing: Option<u64>,
    /// This sample has this pixel.
    pub(crate) odd: Option<(u64, f32)>,
    /// This step is begun, interrupted after its first micro-batch, and taken again.
    pub(crate) interrupted: Option<u64>,
}

pub(crate) fn batch(samples: &[u64], disturbance: Disturbance) -> Batch {
    Batch {
        indices: samples.to_vec(),
        turns: samples.to_vec(),
        targets: Targets::Classes(samples.iter().map(|sample| *sample as i64 % CLASSES).collect()),
        tensors: match disturbance.texts {
            true => tokens(samples),
            false => pixels(samples, disturbance.odd),
        },
        corrupt: Vec::new(),
    }
}

fn pixels(samples: &[u64], odd: Option<(u64, f32)>) -> Tensors {
    let mut pixels = Vec::new();
    for &sample in samples {
        let mut image: Vec<f32> = (0..SIDE * SIDE * 3).map(|index| pixel(sample, index)).collect();
        if let Some((_, value)) = odd.filter(|(odd, _)| *odd == sample) {
            image[100] = value;
        }
        pixels.extend(image);
    }
    Tensors {
        samples: samples.len(),
        arrays: vec![RawTensor {
            name: "pixels",
            shape: vec![SIDE, SIDE, 3],
            values: Values::Floats(pixels),
        }],
    }
}

/// Sample i has 3 + i mod 11 tokens, padded to the longest of the batch.
fn tokens(samples: &[u64]) -> Tensors {
    let own = |sample: u64| 3 + (sample % 11) as usize;
    let length = samples.iter().map(|sample| own(*sample)).max().unwrap_or(0);
    let places = || {
        samples
            .iter()
            .flat_map(|sample| (0..length).map(|place| (*sample, place)))
    };
    let ids = places().map(|(sample, place)| match place < own(sample) {
        true => (sample as i64 * 7 + place as i64 * 13) % 200,
        false => 0,
    });
    let mask = places().map(|(sample, place)| i64::from(place < own(sample)));
    let array = |name, values| RawTensor {
        name,
        shape: vec![length],
        values: Values::Integers(values),
    };
    Tensors {
        samples: samples.len(),
        arrays: vec![array("ids", ids.collect()), array("mask", mask.collect())],
    }
}

//! Models made of tensors that `reference.rs` fills, and their inputs.

use std::{path::Path, sync::Once};

use firn_core::spec::{Architecture, Crops, Freeze, HeadSpec, Modality, ModelSpec, Pooling, StageDropout};
use firn_models::{Input, Library, Model, ModelError, ModelOptions, Shapes};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

pub(crate) use crate::reference::{fill, tensor, uniform};

static THREADS: Once = Once::new();

/// The reference values of this name.
pub(crate) fn golden(name: &str) -> Value {
    THREADS.call_once(|| tch::set_num_threads(1));
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn floats(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

/// All tensors of a `tensors` table of names and shapes, filled; counters are 3.
pub(crate) fn filled(table: &Value) -> Vec<(String, Tensor)> {
    let entries = table.as_object().unwrap().iter();
    entries
        .map(|(name, shape)| {
            let shape: Vec<i64> = shape.as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
            let counter = name.ends_with("num_batches_tracked");
            let tensor = if counter {
                Tensor::from(3_i64)
            } else {
                fill(name, &shape)
            };
            (name.clone(), tensor)
        })
        .collect()
}

/// Names and shapes of the backbone's tensors under the names of the library; texts need a `config.json`.
pub(crate) fn shapes_of(architecture: Architecture, library: Library, config: &Value) -> Shapes {
    let beside = tempfile::tempdir().unwrap();
    let mut spec = spec(architecture, None, Freeze::All);
    if config.is_object() {
        std::fs::write(beside.path().join("config.json"), config.to_string()).unwrap();
        spec.tokenizer = Some(beside.path().join("tokenizer.json").to_str().unwrap().to_owned());
    }
    firn_models::tensors(&spec, library).unwrap().unwrap()
}

/// The backbone under the names of the first library, filled by the formula as it is under those of the second; texts need a `config.json`.
pub(crate) fn filled_as(
    architecture: Architecture,
    [named, filled]: [Library; 2],
    config: &Value,
) -> Vec<(String, Tensor)> {
    let tensors = |library| shapes_of(architecture, library, config);
    let names = tensors(filled).into_iter().map(|(name, _)| name);
    let named = tensors(named).into_iter().zip(names);
    named
        .map(|((name, shape), source)| (name, fill(&source, &shape)))
        .collect()
}

/// A weights file in a folder of its own, gone when dropped.
pub(crate) struct WeightsFolder {
    pub(crate) folder: tempfile::TempDir,
}

impl WeightsFolder {
    pub(crate) fn new(tensors: &[(String, Tensor)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Tensor::write_safetensors(tensors, folder.path().join("model.safetensors")).unwrap();
        Self { folder }
    }

    pub(crate) fn with_config(tensors: &[(String, Tensor)], config: &Value) -> Self {
        let made = Self::new(tensors);
        std::fs::write(made.folder.path().join("config.json"), config.to_string()).unwrap();
        made
    }

    pub(crate) fn weights(&self) -> String {
        self.folder
            .path()
            .join("model.safetensors")
            .to_str()
            .unwrap()
            .to_owned()
    }
}

pub(crate) fn spec(architecture: Architecture, weights: Option<String>, freeze: Freeze) -> ModelSpec {
    let head = HeadSpec::Linear { dropout: 0.0 };
    ModelSpec {
        architecture,
        weights,
        tokenizer: None,
        freeze: freeze.into(),
        lora: None,
        dropout: StageDropout::None,
        head,
        pooling: Pooling::Mean,
    }
}

pub(crate) fn through(stage: &str) -> Freeze {
    Freeze::Through(stage.to_owned())
}

pub(crate) fn load(spec: &ModelSpec) -> Result<Model, ModelError> {
    load_with(spec, false)
}

pub(crate) fn load_with(spec: &ModelSpec, train_batch_norm: bool) -> Result<Model, ModelError> {
    Model::load(&ModelOptions {
        spec,
        classes: 5,
        seed: 0,
        device: Device::Cpu,
        train_batch_norm,
    })
}

/// A model with the reference's backbone and the heads of the same file.
pub(crate) fn with_head(model: Model, head: &str) -> Model {
    let width = model.trainable().last().map(|_| head_width(&model)).unwrap();
    let state: Vec<(String, Tensor)> = model
        .trainable_state()
        .into_iter()
        .map(|(name, tensor)| match name.strip_prefix("head.") {
            Some("weight") => (name, fill(&format!("{head}.weight"), &[5, width])),
            Some(_) => (name, fill(&format!("{head}.bias"), &[5])),
            None if name.starts_with("AuxLogits.fc.") => (name.clone(), fill(&name, &tensor.size())),
            None => (name, tensor),
        })
        .collect();
    model.load_state(&state).unwrap();
    model
}

fn head_width(model: &Model) -> i64 {
    model
        .trainable()
        .iter()
        .find(|(name, _)| name == "head.weight")
        .unwrap()
        .1
        .size()[1]
}

/// Two images, the same as the reference's.
pub(crate) fn images(height: usize, width: usize) -> Input {
    let pixels: Vec<f32> = uniform("pixels", 2 * height * width * 3)
        .into_iter()
        .map(|value| value as f32 * 2.0)
        .collect();
    Input::images(&pixels, height, width, Device::Cpu).unwrap()
}

/// Two images of the only size that a network takes, or of this one; for texts four rows.
pub(crate) fn input_of(architecture: Architecture, [height, width]: [usize; 2]) -> Input {
    match (architecture.modality(), architecture.crops()) {
        (Modality::Text, _) => tokens(200, &[17, 5, 1, 11]),
        (Modality::Image, Crops::Only(size)) => images(size as usize, size as usize),
        (Modality::Image, Crops::From(_)) => images(height, width),
    }
}

/// Rows of these lengths, the same as the reference's.
pub(crate) fn tokens(vocabulary: i64, lengths: &[usize]) -> Input {
    let longest = *lengths.iter().max().unwrap();
    let mask: Vec<i64> = lengths
        .iter()
        .flat_map(|&n| (0..longest).map(move |i| i64::from(i < n)))
        .collect();
    let ids: Vec<i64> = uniform("tokens", mask.len())
        .into_iter()
        .zip(&mask)
        .map(|(u, mask)| ((u + 1.0) / 2.0 * vocabulary as f64) as i64 * mask)
        .collect();
    Input::tokens(&ids, &mask, longest, Device::Cpu).unwrap()
}

/// Largest absolute difference, printed for the record; panics above `limit`.
pub(crate) fn close(what: &str, ours: &Tensor, reference: &[f64], limit: f64) {
    let ours: Vec<f64> = Vec::try_from(ours.detach().to_kind(Kind::Double).contiguous().view(-1)).unwrap();
    assert_eq!(ours.len(), reference.len(), "{what}: number of values");
    let difference = ours
        .iter()
        .zip(reference)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    println!("{what}: largest difference {difference:.2e} over {} values", ours.len());
    assert!(
        difference <= limit,
        "{what}: largest difference {difference:.3e}, allowed {limit:.0e}"
    );
}

/// Compares tensors with the reference's `summary` of them; `key` gives the reference's name.
pub(crate) fn close_summary(ours: &[(String, Tensor)], reference: &Value, key: impl Fn(&str) -> String, limit: f64) {
    let reference = reference.as_object().unwrap();
    assert_eq!(ours.len(), reference.len(), "number of tensors");
    let mut worst: f64 = 0.0;
    for (name, tensor) in ours {
        let expected = &reference[&key(name)];
        let values: Vec<f64> = Vec::try_from(tensor.detach().to_kind(Kind::Double).contiguous().view(-1)).unwrap();
        let squares: f64 = values.iter().map(|v| v * v).sum();
        let weighted: f64 = values
            .iter()
            .zip(uniform("summary", values.len()))
            .map(|(v, w)| v * w)
            .sum();
        let norm = expected["squares"].as_f64().unwrap().sqrt();
        let mut differences = vec![
            (squares.sqrt() - norm).abs() / norm.max(1e-3),
            (weighted - expected["weighted"].as_f64().unwrap()).abs() / norm.max(1e-3),
        ];
        for (at, value) in expected["at"]
            .as_array()
            .unwrap()
            .iter()
            .zip(floats(&expected["values"]))
        {
            differences.push((values[at.as_u64().unwrap() as usize] - value).abs() / norm.max(1.0));
        }
        let largest = differences.into_iter().fold(0.0, f64::max);
        assert!(
            largest <= limit,
            "{name}: {largest:.3e} of its norm {norm:.3e}, allowed {limit:.0e}"
        );
        worst = worst.max(largest);
    }
    println!("{} tensors: largest difference {worst:.2e} of a norm", ours.len());
}

//! Two layers with gates, of which `dinov2_vitg14` has forty, against transformers and timm.

use std::path::Path;

use firn_core::spec::{Architecture, Network, Vit};
use serde_json::Value;
use tch::{Device, Tensor};

use super::{Family, names};
use crate::{
    parameter_builder::{ParameterBuilder, Source},
    reference::{difference, fill, tensor, uniform},
    stage::{Features, Pass},
    weights::{
        file::WeightFile,
        naming::{Library, Naming},
    },
};

const LIMIT: f64 = 1e-4;

/// Of two layers.
const STAGES: [&str; 5] = ["embeddings", "layer.0", "layer.1", "norm", "pool"];

/// Those of `gated_cases` in `tests/reference/parity.py`; what else there is to say is the row's.
fn sizes() -> Vit {
    let Network::Vit(giant) = Architecture::Dinov2VitG14.network() else {
        unreachable!("it is a Vision Transformer")
    };
    Vit {
        image: 56,
        width: 48,
        wide: 128,
        layers: 2,
        heads: 3,
        ..giant
    }
}

/// A file of the library, filled by the formula.
fn tensors(library: Library) -> Vec<(String, Tensor)> {
    let naming = Naming::of(names::DINOV2, library).unwrap();
    let (_, entries) = crate::architecture::inventory(&sizes(), &naming).unwrap();
    let entries = entries.into_iter();
    entries
        .map(|entry| (entry.key.clone(), fill(&entry.key, &entry.tensor.size())))
        .collect()
}

/// The largest difference after any stage of the network that this file holds.
fn largest_difference(tensors: &[(String, Tensor)], expected: &Value) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    Tensor::write_safetensors(tensors, &path).unwrap();
    let file = WeightFile::open(&path).unwrap();
    let naming = Naming::detect(names::DINOV2, file.keys());
    let mut builder = ParameterBuilder::new(Source::File(&file), &naming, Device::Cpu);
    let stages = sizes().build(&mut builder).unwrap();
    assert!(builder.finish().problems.is_empty());
    let pixels = tensor(&uniform("pixels", 2 * 56 * 56 * 3), &[2, 56, 56, 3]).permute([0, 3, 1, 2]) * 2.0;
    let mut features = Features::unmasked(pixels);
    assert_eq!(STAGES.len(), stages.len());
    let differences = STAGES.iter().zip(&stages).map(|(name, stage)| {
        let input = std::mem::replace(&mut features, Features::unmasked(Tensor::new()));
        features = stage.forward(input, &Pass::default()).unwrap();
        let expected: Vec<f64> = serde_json::from_value(expected[*name].clone()).unwrap();
        difference(&features.tensor, &expected)
    });
    differences.fold(0.0, f64::max)
}

/// The files that transformers 4 wrote have the gate and what it multiplies in one matrix, in this order.
fn published(tensors: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let up = |gate: &str| {
        let name = gate.replace("gate_proj", "up_proj");
        &tensors.iter().find(|(found, _)| *found == name).unwrap().1
    };
    let kept = tensors.iter().filter(|(name, _)| !name.contains("up_proj"));
    let renamed = kept.map(|(name, tensor)| match name.contains("gate_proj") {
        true => (
            name.replace("gate_proj", "weights_in"),
            Tensor::cat(&[tensor, up(name)], 0),
        ),
        false => (name.replace("down_proj", "weights_out"), tensor.shallow_clone()),
    });
    renamed.collect()
}

/// The authors' own files have other names of the gated part than timm.
fn of_the_authors(tensors: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let renamed = tensors.iter().map(|(name, tensor)| {
        let name = name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3");
        (name, tensor.shallow_clone())
    });
    renamed.collect()
}

#[test]
fn gated_layers_equal_those_of_transformers_and_timm() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gated.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let [transformers, timm] = [Library::HuggingFace, Library::Timm].map(tensors);
    for (file, part, library, tensors) in [
        (
            "transformers 4",
            "mlp.weights_in",
            "hugging_face",
            published(&transformers),
        ),
        ("transformers 5", "mlp.gate_proj", "hugging_face", transformers),
        ("its authors", "mlp.w12", "timm", of_the_authors(&timm)),
        ("timm", "mlp.fc1", "timm", timm),
    ] {
        assert!(tensors.iter().any(|(name, _)| name.contains(part)), "{file}");
        let worst = largest_difference(&tensors, &golden[library]["stages"]);
        println!("gated layers in a file of {file}: {worst:.2e}");
        assert!(worst < LIMIT, "{file}: {worst:.1e}");
    }
}

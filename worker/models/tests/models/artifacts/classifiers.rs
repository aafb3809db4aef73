//! Exports of encoders whose head is that of transformers' classifier, under the names of its class.

use std::collections::BTreeMap;

use firn_core::spec::{Architecture, HeadActivation, HeadSpec, ModelSpec, Pooling, Word as _};
use firn_models::{Library, Model, export};
use serde_json::Value;
use tch::Tensor;

use super::{python::same_in_python, trained};
use crate::support::*;

/// An encoder, and the names of the layers of its class.
type Case = (Architecture, HeadActivation, [&'static str; 2]);

const CASES: [Case; 3] = [
    (
        Architecture::Bert,
        HeadActivation::Tanh,
        ["bert.pooler.dense", "classifier"],
    ),
    (
        Architecture::Roberta,
        HeadActivation::Tanh,
        ["classifier.dense", "classifier.out_proj"],
    ),
    (
        Architecture::Distilbert,
        HeadActivation::Relu,
        ["pre_classifier", "classifier"],
    ),
];

const WIDTH: u32 = 64;

fn spec_of(file: &WeightsFolder, architecture: Architecture, activation: HeadActivation) -> ModelSpec {
    ModelSpec {
        pooling: Pooling::Cls,
        head: HeadSpec::Mlp {
            dropout: 0.25,
            hidden_sizes: vec![WIDTH],
            activation,
        },
        ..spec(architecture, Some(file.weights()), through("layer.1"))
    }
}

/// The tensors of an encoder under the names of its class.
fn encoder(architecture: Architecture) -> (Vec<(String, Tensor)>, Value) {
    let config = golden(&format!("stages/{}.hugging_face", architecture.word()))["config"].clone();
    let tensors = filled_as(architecture, [Library::HuggingFace; 2], &config);
    (tensors, config)
}

/// As sentence encoders are published: without what stands before all names.
fn bare(tensors: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let bare = |name: &String| name.split_once('.').map_or(name.clone(), |(_, tail)| tail.to_owned());
    tensors
        .iter()
        .map(|(name, tensor)| (bare(name), tensor.shallow_clone()))
        .collect()
}

fn logits(model: &Model, architecture: Architecture) -> Tensor {
    let input = input_of(architecture, [0, 0]);
    model.logits(&model.features(&input).unwrap(), None).unwrap()
}

#[test]
fn exported_encoders_with_a_dense_layer_load_strictly_in_transformers_classifiers() {
    for (architecture, activation, [dense, output]) in CASES {
        let (tensors, config) = encoder(architecture);
        for source in [bare(&tensors), tensors] {
            let (file, folder) = (
                WeightsFolder::with_config(&source, &config),
                tempfile::tempdir().unwrap(),
            );
            let spec = spec_of(&file, architecture, activation);
            let (model, _) = trained(&spec, false);
            let merged = folder.path().join("model.safetensors");
            export::merged(&model, &merged).unwrap();
            let names = ["a", "b", "c", "d", "e"].map(str::to_owned);
            let written = export::config(&model, &names);
            let dropped = written.get("classifier_dropout").or(written.get("seq_classif_dropout"));
            assert_eq!(dropped, Some(&Value::from(0.25)), "{written}");
            std::fs::write(folder.path().join("config.json"), written.to_string()).unwrap();
            let shapes: BTreeMap<_, _> = Tensor::read_safetensors(&merged).unwrap().into_iter().collect();
            let (width, outputs) = (i64::from(WIDTH), 5);
            for (layer, shape) in [(dense, [width, width]), (output, [outputs, width])] {
                assert_eq!(shapes[&format!("{layer}.weight")].size(), shape, "{layer}");
                assert_eq!(shapes[&format!("{layer}.bias")].size(), shape[..1], "{layer}");
            }
            let again = ModelSpec {
                weights: Some(merged.to_str().unwrap().to_owned()),
                ..spec.clone()
            };
            let again = load(&again).unwrap();
            let head = folder.path().join("head.safetensors");
            std::fs::write(&head, export::head(&model).unwrap()).unwrap();
            export::adopt(&again, &head).unwrap();
            let expected = logits(&model, architecture);
            assert!(expected.equal(&logits(&again, architecture)));
            let logits = Vec::try_from(expected.to_kind(tch::Kind::Double).view(-1)).unwrap();
            same_in_python(folder.path(), &logits);
        }
    }
}

/// Builds before named the tensors of such a job as its file did.
#[test]
fn what_was_trained_above_a_bare_encoder_is_taken_under_its_old_names() {
    for (architecture, activation, _) in CASES {
        let (tensors, config) = encoder(architecture);
        let file = WeightsFolder::with_config(&bare(&tensors), &config);
        let spec = spec_of(&file, architecture, activation);
        let (model, _) = trained(&spec, false);
        let head = file.folder.path().join("head.safetensors");
        std::fs::write(&head, export::head(&model).unwrap()).unwrap();
        let prefix = format!("{}.", architecture.word());
        let old: Vec<(String, Tensor)> = Tensor::read_safetensors(&head)
            .unwrap()
            .into_iter()
            .map(|(name, tensor)| (name.trim_start_matches(prefix.as_str()).to_owned(), tensor))
            .collect();
        assert!(
            old.iter()
                .any(|(name, _)| name.starts_with("encoder.layer.2.") || name.starts_with("transformer.layer.2."))
        );
        Tensor::write_safetensors(&old, &head).unwrap();
        let again = load(&spec).unwrap();
        export::adopt(&again, &head).unwrap();
        assert!(logits(&model, architecture).equal(&logits(&again, architecture)));
    }
}

#[test]
fn other_heads_and_poolings_of_encoders_are_opened_without_them() {
    let (tensors, config) = encoder(Architecture::Bert);
    let file = WeightsFolder::with_config(&tensors, &config);
    let form = spec_of(&file, Architecture::Bert, HeadActivation::Tanh);
    let mlp = |hidden_sizes: &[u32], activation| HeadSpec::Mlp {
        dropout: 0.0,
        hidden_sizes: hidden_sizes.to_vec(),
        activation,
    };
    let class = |spec: &ModelSpec| {
        let model = load(spec).unwrap();
        export::opened(&model).and_then(export::Opened::class)
    };
    assert_eq!(class(&form), Some("BertForSequenceClassification"));
    for head in [
        mlp(&[WIDTH], HeadActivation::Relu),
        mlp(&[WIDTH + 1], HeadActivation::Tanh),
        mlp(&[WIDTH, WIDTH], HeadActivation::Tanh),
        HeadSpec::Linear { dropout: 0.0 },
        HeadSpec::Ordinal { dropout: 0.0 },
    ] {
        assert_eq!(class(&ModelSpec { head, ..form.clone() }), None);
    }
    for pooling in [Pooling::Mean, Pooling::Last, Pooling::Max, Pooling::Attention] {
        assert_eq!(
            class(&ModelSpec {
                pooling,
                ..form.clone()
            }),
            None,
            "{pooling:?}"
        );
    }
}

//! Dropout inside of networks: where transformers has it, by masks that a second implementation draws, too.

use firn_core::spec::{Architecture, ModelSpec, Pooling, StageDropout};
use firn_models::{Dropout, Model};
use tch::Tensor;

use crate::support::*;

fn network(name: &str, file: &WeightsFolder, dropout: StageDropout) -> ModelSpec {
    let (architecture, pooling) = match name {
        "bert" => (Architecture::Bert, Pooling::Mean),
        "distilbert" => (Architecture::Distilbert, Pooling::Mean),
        _ => (Architecture::Gpt2, Pooling::Last),
    };
    ModelSpec {
        dropout,
        pooling,
        ..spec(architecture, Some(file.weights()), through("layer.0"))
    }
}

fn model(name: &str, dropout: StageDropout) -> Model {
    let case = &golden("dropped")[name];
    let file = WeightsFolder::with_config(&filled(&case["tensors"]), &case["config"]);
    let head = if name == "gpt2" { "score" } else { "classifier" };
    with_head(load(&network(name, &file, dropout)).unwrap(), head)
}

/// Firn's name as the library has it.
fn key(name: &str, ours: &str) -> String {
    match (name, ours.strip_prefix("head.")) {
        ("gpt2", Some(tail)) => format!("score.{tail}"),
        (_, Some(tail)) => format!("classifier.{tail}"),
        ("gpt2", None) => format!("transformer.{ours}"),
        ("bert", None) => format!("bert.{ours}"),
        (_, None) => {
            let words = [
                ("encoder.layer.", "transformer.layer."),
                ("attention.self.query", "attention.q_lin"),
                ("attention.self.key", "attention.k_lin"),
                ("attention.self.value", "attention.v_lin"),
                ("attention.output.dense", "attention.out_lin"),
                ("attention.output.LayerNorm", "sa_layer_norm"),
                ("intermediate.dense", "ffn.lin1"),
                ("output.dense", "ffn.lin2"),
                ("output.LayerNorm", "output_layer_norm"),
            ];
            let translated = words
                .iter()
                .fold(ours.to_owned(), |name, (ours, theirs)| name.replace(ours, theirs));
            format!("distilbert.{translated}")
        }
    }
}

#[test]
fn units_are_dropped_where_transformers_drops_them_and_the_gradients_are_its() {
    for name in ["bert", "distilbert", "gpt2"] {
        let case = &golden("dropped")[name];
        let model = model(name, StageDropout::Configuration);
        let samples: Vec<u64> = serde_json::from_value(case["samples"].clone()).unwrap();
        let dropout = Dropout {
            seed: case["seed"].as_u64().unwrap(),
            epoch: case["epoch"].as_u64().unwrap() as u32,
            samples: &samples,
        };
        let features = model.features(&tokens(200, &[17, 5, 1, 11])).unwrap();
        let logits = model.logits(&features, Some(&dropout)).unwrap();
        close(
            &format!("{name} with dropout: logits"),
            &logits,
            &floats(&case["logits"]),
            1e-4,
        );
        let loss = crate::training::objective(&logits);
        let parameters: Vec<&Tensor> = model.trainable().iter().map(|(_, tensor)| tensor).collect();
        let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
        let names = model.trainable().iter().map(|(name, _)| name.clone());
        let gradients: Vec<_> = names.zip(gradients).collect();
        close_summary(&gradients, &case["gradients"], |ours| key(name, ours), 1e-4);
    }
}

#[test]
fn nothing_is_dropped_when_samples_are_scored_nor_where_the_spec_says_so() {
    for name in ["bert", "distilbert", "gpt2"] {
        let (with, without) = (
            model(name, StageDropout::Configuration),
            model(name, StageDropout::None),
        );
        let features = with.features(&tokens(200, &[17, 5, 1, 11])).unwrap();
        let dropout = Dropout {
            seed: 3,
            epoch: 1,
            samples: &[1, 2, 3, 4],
        };
        let scored = with.logits(&features, None).unwrap();
        assert!(
            scored.equal(&without.logits(&features, Some(&dropout)).unwrap()),
            "{name}"
        );
        let trained = with.logits(&features, Some(&dropout)).unwrap();
        assert!((trained - scored).abs().max().double_value(&[]) > 1e-2, "{name}");
    }
}

//! Models without weights: what they start from.

use firn_core::spec::{Architecture, Freeze};
use tch::{Device, Tensor};

use crate::support::*;

#[test]
fn random_weights_depend_on_the_seed_alone() {
    let case = &golden("berts")["small"];
    let folder = WeightsFolder::with_config(&[("x".to_owned(), Tensor::from(0.0_f32))], &case["config"]);
    let mut spec = spec(Architecture::Bert, None, through("layer.0"));
    spec.tokenizer = Some(folder.folder.path().join("tokenizer.json").to_str().unwrap().to_owned());
    let digest = |seed| {
        let options = firn_models::ModelOptions {
            spec: &spec,
            classes: 2,
            seed,
            device: Device::Cpu,
            train_batch_norm: false,
        };
        firn_models::Model::load(&options).unwrap().frozen_digest()
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn the_sizes_of_an_encoder_without_weights_come_from_beside_its_tokenizer() {
    let case = &golden("berts")["small"];
    let folder = WeightsFolder::with_config(&[("x".to_owned(), Tensor::from(0.0_f32))], &case["config"]);
    let mut spec = spec(Architecture::Bert, None, Freeze::All);
    spec.tokenizer = Some(folder.folder.path().join("tokenizer.json").to_str().unwrap().to_owned());
    let model = load(&spec).unwrap();
    assert_eq!(model.max_length(), Some(40));
    assert_eq!(
        model.summary().stages,
        ["embeddings", "layer.0", "layer.1", "layer.2", "pool"]
    );
}

#[test]
fn random_weights_keep_activations_alive() {
    let model = load(&spec(Architecture::Resnet50, None, Freeze::All)).unwrap();
    let features = model.features(&images(64, 64)).unwrap().tensor;
    let deviation = features.std(false).double_value(&[]);
    assert!(
        deviation.is_finite() && deviation > 1e-3,
        "deviation of the features {deviation}"
    );
}

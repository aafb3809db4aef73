//! What a model leaves: checkpoints of what trains, and exports.

mod checkpoints;
mod classifiers;
mod exports;
mod libraries;
mod python;

use firn_core::spec::{Architecture, Decayed, Modality, ModelSpec, OptimizerSpec};
use firn_models::{Model, Optimizer};
use tch::Tensor;

use crate::support::*;

const RULE: OptimizerSpec = OptimizerSpec::AdamW {
    learning_rate: 1e-2,
    weight_decay: 0.01,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
};

/// A model some steps into training on the reference's images.
fn trained(spec: &ModelSpec, train_batch_norm: bool) -> (Model, Optimizer) {
    let model = load_with(spec, train_batch_norm).unwrap();
    let mut optimizer = Optimizer::new(&RULE, Decayed::All, model.trainable()).unwrap();
    let input = match spec.architecture {
        // Its auxiliary head reads no smaller ones.
        Architecture::InceptionV3 => images(299, 299),
        architecture => input_of(architecture, [64, 64]),
    };
    let is_text = spec.architecture.modality() == Modality::Text;
    let samples: Vec<u64> = (0..if is_text { 4 } else { 2 }).collect();
    for epoch in 0..3 {
        let dropout = firn_models::Dropout {
            seed: 1,
            epoch,
            samples: &samples,
        };
        let outputs = model.outputs(&model.features(&input).unwrap(), &dropout).unwrap();
        let auxiliary = outputs.auxiliary.map(|(_, logits)| logits);
        let logits = Tensor::cat(
            &[Some(outputs.head), auxiliary]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>(),
            0,
        );
        let parameters: Vec<&Tensor> = model.trainable().iter().map(|(_, tensor)| tensor).collect();
        let loss = logits.square().mean(tch::Kind::Float) + logits.sum(tch::Kind::Float);
        let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
        let gradients: Vec<_> = gradients.into_iter().map(Some).collect();
        optimizer.step(1e-2, &gradients).unwrap();
    }
    (model, optimizer)
}

fn resnet(file: &WeightsFolder) -> ModelSpec {
    spec(Architecture::Resnet18, Some(file.weights()), through("layer3"))
}

fn resnet_weights() -> WeightsFolder {
    WeightsFolder::new(&filled(&golden("images")["resnet18"]["tensors"]))
}

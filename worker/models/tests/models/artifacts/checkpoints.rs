//! Checkpoints, and the digest of the frozen part that they name.

use firn_core::spec::Decayed;
use firn_models::{
    Model, Optimizer,
    checkpoint::{self, Checkpoint},
};
use tch::Tensor;

use super::{RULE, resnet, resnet_weights, trained};
use crate::support::*;

fn snapshot(model: &Model, optimizer: &Optimizer) -> Checkpoint {
    Checkpoint {
        step: 3,
        epochs: 1,
        spec_digest: "spec".to_owned(),
        frozen_digest: model.frozen_digest(),
        model: model.trainable_state(),
        optimizer: optimizer.state(),
        average: None,
    }
}

#[test]
fn a_checkpoint_round_trips_bit_for_bit() {
    let file = resnet_weights();
    let (model, optimizer) = trained(&resnet(&file), true);
    let bytes = checkpoint::encode(&snapshot(&model, &optimizer)).unwrap();
    let read = checkpoint::decode(&bytes).unwrap();
    assert_eq!((read.step, read.epochs, read.optimizer.step), (3, 1, 3));
    read.belongs_to("spec", &model.frozen_digest()).unwrap();
    let other = load_with(&resnet(&file), true).unwrap();
    let mut other_optimizer = Optimizer::new(&RULE, Decayed::All, other.trainable()).unwrap();
    other.load_state(&read.model).unwrap();
    other_optimizer.load_state(&read.optimizer).unwrap();
    assert_eq!(bytes, checkpoint::encode(&snapshot(&other, &other_optimizer)).unwrap());
}

/// That of the job `running` of `tests/fixtures/builds/0.1.0-99a32e8`, which knew no average.
const BEFORE_AVERAGES: &[u8] = include_bytes!("../../golden/checkpoint-99a32e8.safetensors");

#[test]
fn a_checkpoint_of_a_build_that_knew_no_average_is_read_and_would_be_written_so_today() {
    let read = checkpoint::decode(BEFORE_AVERAGES).unwrap();
    assert_eq!((read.step, read.epochs, read.optimizer.step), (20, 2, 20));
    assert!(read.average.is_none());
    assert_eq!(checkpoint::encode(&read).unwrap(), BEFORE_AVERAGES);
}

#[test]
fn an_average_round_trips_beside_the_state_that_it_is_of() {
    let (model, optimizer) = trained(&resnet(&resnet_weights()), true);
    let average = model.trainable_state().into_iter();
    let average: Vec<_> = average.map(|(name, tensor)| (name, tensor * 0.5)).collect();
    let stored = Checkpoint {
        average: Some(average),
        ..snapshot(&model, &optimizer)
    };
    let bytes = checkpoint::encode(&stored).unwrap();
    let read = checkpoint::decode(&bytes).unwrap();
    assert_eq!(checkpoint::encode(&read).unwrap(), bytes);
    let (expected, found) = (stored.average.unwrap(), read.average.unwrap());
    assert_eq!(found.len(), expected.len());
    for ((name, found), (expected_name, expected)) in found.iter().zip(&expected) {
        assert!(name == expected_name && found.equal(expected), "{name}");
    }
}

#[test]
fn a_checkpoint_of_another_job_or_backbone_is_refused() {
    let (model, optimizer) = trained(&resnet(&resnet_weights()), false);
    let read = checkpoint::decode(&checkpoint::encode(&snapshot(&model, &optimizer)).unwrap()).unwrap();
    let error = read
        .belongs_to("another", &model.frozen_digest())
        .unwrap_err()
        .to_string();
    assert_eq!(error, "checkpoint: spec digest: expected another, found spec");
    let error = read.belongs_to("spec", "abc").unwrap_err().to_string();
    assert!(
        error.starts_with("checkpoint: frozen digest: expected abc, found "),
        "{error}"
    );
}

#[test]
fn damaged_checkpoints_are_refused_with_the_entry_at_fault() {
    let (model, optimizer) = trained(&resnet(&resnet_weights()), false);
    let bytes = checkpoint::encode(&snapshot(&model, &optimizer)).unwrap();
    assert!(checkpoint::decode(&bytes[..bytes.len() - 4]).is_err(), "cut short");
    assert!(checkpoint::decode(b"").is_err(), "empty");
    let replace = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        let mut changed = bytes.clone();
        changed[at..at + from.len()].copy_from_slice(to);
        checkpoint::decode(&changed).unwrap_err().to_string()
    };
    assert_eq!(
        replace(b"firn.checkpoint.1", b"firn.checkpoint.9"),
        "checkpoint: format: expected firn.checkpoint.1, found firn.checkpoint.9"
    );
    assert_eq!(
        replace(b"\"model.head.bias\"", b"\"model.head.bios\""),
        "checkpoint: tensor `model.head.bias`: expected its values, found nothing"
    );
    assert_eq!(
        replace(b"\"epochs\":\"1\"", b"\"epochs\":\"x\""),
        "checkpoint: header field `epochs`: expected a whole number, found x"
    );
}

#[test]
fn a_state_with_other_names_or_shapes_changes_nothing() {
    let model = load(&resnet(&resnet_weights())).unwrap();
    let before: Vec<Tensor> = model
        .trainable_state()
        .iter()
        .map(|(_, tensor)| tensor.copy())
        .collect();
    let mut state: Vec<_> = model
        .trainable_state()
        .into_iter()
        .map(|(n, t)| (n, t.zeros_like()))
        .collect();
    state.last_mut().unwrap().1 = Tensor::zeros([6], tch::kind::FLOAT_CPU);
    let error = model.load_state(&state).unwrap_err().to_string();
    assert_eq!(
        error,
        "trainable state: expected `head.bias` of shape [5], found `head.bias` of shape [6]"
    );
    state.pop();
    assert!(model.load_state(&state).is_err());
    assert!(
        before
            .iter()
            .zip(model.trainable_state())
            .all(|(before, (_, now))| before.equal(&now))
    );
}

#[test]
fn the_frozen_digest_covers_buffers_and_not_what_trains() {
    let file = resnet_weights();
    let digest = |name: &str| {
        let mut tensors = filled(&golden("images")["resnet18"]["tensors"]);
        for (key, tensor) in &mut tensors {
            if key == name {
                *tensor += 1e-3;
            }
        }
        load(&resnet(&WeightsFolder::new(&tensors))).unwrap().frozen_digest()
    };
    let original = load(&resnet(&file)).unwrap().frozen_digest();
    assert_eq!(original, digest("none of them"));
    assert_ne!(original, digest("layer3.1.bn2.running_var"));
    assert_ne!(original, digest("conv1.weight"));
    assert_eq!(original, digest("layer4.0.conv1.weight"), "above the cut");
    assert_eq!(original, digest("fc.weight"), "the old head");
}

#[test]
fn training_leaves_the_frozen_part_as_it_was() {
    for train_batch_norm in [false, true] {
        let (model, _) = trained(&resnet(&resnet_weights()), train_batch_norm);
        let proof = model.verify_frozen().unwrap();
        assert_eq!(proof.original, model.frozen_digest());
    }
}

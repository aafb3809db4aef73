//! Gradual unfreezing: what trains in which epoch, and that what does not is what was loaded.

use firn_core::spec::{Architecture, Freeze, FreezeSpec, ModelSpec};
use firn_models::{Library, Model, ModelError};
use tch::{Kind, Tensor};

use crate::support::*;

/// A head that is joined by `layer4` in the second epoch and by `layer3` in the fourth.
fn gradual(parameters: &[&str]) -> ModelSpec {
    let unfreeze = [("layer4", 1), ("layer3", 3)].map(|(stage, epoch)| (stage.to_owned(), epoch));
    ModelSpec {
        freeze: FreezeSpec {
            through: Freeze::All,
            unfreeze: unfreeze.into(),
            parameters: parameters.iter().map(|&pattern| pattern.to_owned()).collect(),
        },
        ..spec(Architecture::Resnet18, None, Freeze::All)
    }
}

fn training_now(model: &Model) -> Vec<&str> {
    let trainable = model.trainable().iter().zip(model.placements());
    let now = trainable.filter(|(_, placement)| model.trains_now(placement));
    now.map(|((name, _), _)| name.as_str()).collect()
}

fn tensor_of(model: &Model, name: &str) -> Tensor {
    let mut trainable = model.trainable().iter();
    let found = trainable.find(|(known, _)| known == name);
    found.unwrap().1.detach()
}

fn logits(model: &Model) -> Tensor {
    let features = model.features(&images(64, 64)).unwrap();
    model.logits(&features, None).unwrap()
}

#[test]
fn each_phase_gives_gradients_to_its_stages_and_to_nothing_else() {
    let mut model = load(&gradual(&[])).unwrap();
    for (epoch, stages) in [
        (0, &[][..]),
        (1, &["layer4"]),
        (2, &["layer4"]),
        (3, &["layer3", "layer4"]),
        (9, &["layer3", "layer4"]),
    ] {
        model.enter_epoch(epoch).unwrap();
        let loss = logits(&model).square().sum(Kind::Float);
        loss.backward();
        let trained: Vec<&str> = training_now(&model);
        for (name, tensor) in model.trainable() {
            let stage = name.split('.').next().unwrap();
            let trains = stage == "head" || stages.contains(&stage);
            assert_eq!(trained.contains(&name.as_str()), trains, "{name} in epoch {epoch}");
            assert_eq!(
                tensor.grad().defined() && tensor.grad().abs().sum(Kind::Float).double_value(&[]) > 0.0,
                trains,
                "{name} in epoch {epoch}"
            );
            tensor.shallow_clone().zero_grad();
        }
    }
    let summary = model.summary();
    assert_eq!(summary.cut, "layer2");
    let trainable: usize = model.trainable().iter().map(|(_, tensor)| tensor.numel()).sum();
    assert_eq!(summary.trainable_parameters, trainable as u64);
}

#[test]
fn a_phase_changes_no_number_and_computes_the_same() {
    let mut model = load(&gradual(&[])).unwrap();
    let values = |model: &Model| -> Vec<Tensor> {
        model
            .trainable_state()
            .iter()
            .map(|(_, tensor)| tensor.copy())
            .collect()
    };
    let (before, first) = (
        values(&model),
        Vec::<f64>::try_from(logits(&model).to_kind(Kind::Double).view(-1)).unwrap(),
    );
    for epoch in [1, 3, 0] {
        model.enter_epoch(epoch).unwrap();
        assert!(
            before
                .iter()
                .zip(values(&model))
                .all(|(before, now)| before.equal(&now))
        );
        // Below the cut BatchNorm is folded into the convolutions.
        close(&format!("logits in epoch {epoch}"), &logits(&model), &first, 1e-4);
    }
}

#[test]
fn what_is_frozen_in_a_phase_is_held_to_what_was_loaded() {
    let mut model = load(&gradual(&[])).unwrap();
    let digest = model.frozen_digest();
    let raise = |model: &Model, name: &str| {
        let _ = tensor_of(model, name).view(-1).get(0).g_add_scalar_(1.0);
    };
    model.verify_frozen().unwrap();
    raise(&model, "head.bias");
    model.verify_frozen().unwrap();
    let name = "layer4.0.conv1.weight";
    let loaded = tensor_of(&model, name).copy();
    raise(&model, name);
    let error = model.verify_frozen().unwrap_err();
    assert!(
        matches!(error, ModelError::FrozenChanged { .. }),
        "it trains in the second epoch, and not before: {error}"
    );
    model.enter_epoch(1).unwrap();
    model.verify_frozen().unwrap();
    let error = model.enter_epoch(0).unwrap_err();
    assert!(
        matches!(error, ModelError::FrozenChanged { .. }),
        "a job that goes back begins from what was loaded: {error}"
    );
    tensor_of(&model, name).copy_(&loaded);
    model.enter_epoch(1).unwrap();
    model.enter_epoch(0).unwrap();
    assert_eq!(
        model.frozen_digest(),
        digest,
        "checkpoints of all phases name the same backbone"
    );
}

#[test]
fn parameters_that_a_pattern_finds_stay_frozen_above_the_cut_and_are_proven() {
    let patterns = [r"^layer4\.1\.", r"bn1\.(weight|bias)$"];
    let held = |name: &str| name.starts_with("layer4.1.") || name.ends_with("bn1.weight") || name.ends_with("bn1.bias");
    let (mut plain, mut model) = (load(&gradual(&[])).unwrap(), load(&gradual(&patterns)).unwrap());
    let names = |model: &Model| -> Vec<String> { model.trainable().iter().map(|(name, _)| name.clone()).collect() };
    let expected: Vec<String> = names(&plain).into_iter().filter(|name| !held(name)).collect();
    assert_eq!(names(&model), expected);
    assert_ne!(model.frozen_digest(), plain.frozen_digest());
    plain.enter_epoch(3).unwrap();
    model.enter_epoch(3).unwrap();
    assert!(logits(&model).equal(&logits(&plain)));
    model.verify_frozen().unwrap();
}

#[test]
fn a_pattern_that_finds_nothing_above_the_cut_is_refused_by_name() {
    let error = load(&gradual(&[r"^layer4\.", r"^layer2\."])).err().unwrap().to_string();
    assert_eq!(
        error,
        "spec.model.freeze.parameters[1]: expected a pattern that finds a parameter above the cut, such as `layer4.1.bn2.bias`, found `^layer2\\.`, which finds none"
    );
    let mut deep = spec(Architecture::Bert, None, Freeze::All);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("config.json"),
        r#"{"num_hidden_layers":2,"hidden_size":48,"num_attention_heads":3}"#,
    )
    .unwrap();
    deep.tokenizer = Some(folder.path().join("tokenizer.json").to_str().unwrap().to_owned());
    deep.freeze.unfreeze.insert("layer.7".to_owned(), 1);
    let error = load(&deep).err().unwrap().to_string();
    assert!(
        error.starts_with("bert has no stage `layer.7` to freeze through, did you mean `layer.0`?"),
        "{error}"
    );
}

#[test]
fn rates_fall_from_layer_to_layer_as_in_timm() {
    let timm = golden("layer_decay");
    let spec = spec(Architecture::DeitTinyPatch16_224, None, Freeze::Nothing);
    let model = load(&spec).unwrap();
    let names = firn_models::tensors(&spec, Library::Timm).unwrap().unwrap();
    let heads = [("head.weight", ()), ("head.bias", ())].map(|(name, ())| name.to_owned());
    let names: Vec<String> = names.into_iter().map(|(name, _)| name).chain(heads).collect();
    assert_eq!(names.len(), model.placements().len());
    assert_eq!(names.len(), timm.as_object().unwrap().len());
    for (name, placement) in names.iter().zip(model.placements()) {
        let (ours, expected) = (0.75_f64.powi(placement.distance as i32), timm[name].as_f64().unwrap());
        assert!(
            (ours - expected).abs() < 1e-12,
            "{name}: expected {expected}, found {ours}"
        );
    }
}

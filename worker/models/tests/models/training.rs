//! Gradients, losses and optimizers equal PyTorch's.

use firn_core::spec::{Architecture, Decayed, Freeze, OptimizerSpec, Pooling, Word};
use firn_models::{Dropout, Expected, Library, Model, Objective, Optimizer, state_digest};
use tch::{Device, Tensor};

use crate::support::*;

/// Relative to the norm of each gradient.
const LIMIT: f64 = 1e-4;

pub(crate) fn objective(logits: &Tensor) -> Tensor {
    let labels: Vec<i64> = (0..logits.size()[0]).map(|i| i % 5).collect();
    let sums = cross_entropy().sums(logits, Expected::Classes(&labels));
    sums.unwrap().loss
}

/// The reference's.
pub(crate) fn cross_entropy() -> Objective {
    Objective::cross_entropy(Some(&[1.0, 0.5, 2.0, 1.5, 0.25]), 0.1, Device::Cpu).unwrap()
}

fn gradients(model: &Model, logits: &Tensor) -> Vec<(String, Tensor)> {
    gradients_of(model, &objective(logits))
}

fn gradients_of(model: &Model, loss: &Tensor) -> Vec<(String, Tensor)> {
    let parameters: Vec<&Tensor> = model.trainable().iter().map(|(_, tensor)| tensor).collect();
    let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
    model
        .trainable()
        .iter()
        .map(|(name, _)| name.clone())
        .zip(gradients)
        .collect()
}

fn cut_resnet(train_batch_norm: bool) -> Model {
    let file = WeightsFolder::new(&filled(&golden("images")["resnet18"]["tensors"]));
    let spec = spec(Architecture::Resnet18, Some(file.weights()), through("layer3"));
    with_head(load_with(&spec, train_batch_norm).unwrap(), "fc")
}

#[test]
fn gradients_above_the_cut_of_a_resnet_equal_pytorchs() {
    let reference = &golden("cut_resnet")["eval"];
    let model = cut_resnet(false);
    let features = model.features(&images(96, 80)).unwrap();
    let dropout = Dropout {
        seed: 0,
        epoch: 0,
        samples: &[0, 1],
    };
    let logits = model.logits(&features, Some(&dropout)).unwrap();
    close("cut ResNet-18: logits", &logits, &floats(&reference["logits"]), 1e-4);
    close_summary(
        &gradients(&model, &logits),
        &reference["gradients"],
        |name| name.replace("head.", "fc."),
        LIMIT,
    );
    assert!(!features.tensor.requires_grad(), "no gradient reaches below the cut");
}

#[test]
fn batch_norm_above_the_cut_trains_as_pytorchs_when_it_is_told_to() {
    let reference = &golden("cut_resnet")["train"];
    let model = cut_resnet(true);
    let features = model.features(&images(96, 80)).unwrap();
    let dropout = Dropout {
        seed: 0,
        epoch: 0,
        samples: &[0, 1],
    };
    let logits = model.logits(&features, Some(&dropout)).unwrap();
    close(
        "trained BatchNorm: logits",
        &logits,
        &floats(&reference["logits"]),
        1e-4,
    );
    close_summary(
        &gradients(&model, &logits),
        &reference["gradients"],
        |name| name.replace("head.", "fc."),
        5e-4,
    );
    let state = model.trainable_state();
    let statistics: Vec<_> = state.into_iter().filter(|(name, _)| name.contains("running")).collect();
    close_summary(&statistics, &reference["statistics"], str::to_owned, LIMIT);
    model.verify_frozen().unwrap();
}

#[test]
fn batch_norm_above_the_cut_stays_in_eval_mode_otherwise() {
    let model = cut_resnet(false);
    assert!(
        model
            .trainable_state()
            .iter()
            .all(|(name, _)| !name.contains("running"))
    );
    let features = model.features(&images(96, 80)).unwrap();
    let dropout = Dropout {
        seed: 0,
        epoch: 0,
        samples: &[0, 1],
    };
    let trained = model.logits(&features, Some(&dropout)).unwrap();
    assert!(trained.equal(&model.logits(&features, None).unwrap()));
}

#[test]
fn evaluation_never_moves_statistics_even_where_batch_norm_trains() {
    let model = cut_resnet(true);
    let values = |model: &Model| -> Vec<Tensor> { model.trainable_state().iter().map(|(_, t)| t.copy()).collect() };
    let before = values(&model);
    let _ = model.logits(&model.features(&images(96, 80)).unwrap(), None).unwrap();
    assert!(
        before
            .iter()
            .zip(values(&model))
            .all(|(before, after)| before.equal(&after))
    );
}

#[test]
fn gradients_above_the_cut_of_a_bert_equal_pytorchs() {
    let case = &golden("berts")["small"];
    let file = WeightsFolder::with_config(&filled(&case["tensors"]), &case["config"]);
    let spec = spec(Architecture::Bert, Some(file.weights()), through("layer.1"));
    let model = with_head(load(&spec).unwrap(), "classifier");
    let logits = model
        .logits(&model.features(&tokens(200, &[17, 5, 1, 11])).unwrap(), None)
        .unwrap();
    let key = |name: &str| match name.strip_prefix("head.") {
        Some(tail) => format!("classifier.{tail}"),
        None => format!("bert.{name}"),
    };
    close_summary(&gradients(&model, &logits), &case["gradients"], key, LIMIT);
}

#[test]
fn loss_and_gradients_above_the_cut_of_a_vgg_equal_pytorchs() {
    for (name, architecture) in [("vgg11", Architecture::Vgg11), ("vgg16_bn", Architecture::Vgg16Bn)] {
        let reference = &golden("cut_vggs")[name];
        let file = WeightsFolder::new(&filled(&golden("vggs")[name]["tensors"]));
        let frozen = through(reference["frozen"].as_str().unwrap());
        let loaded = load(&spec(architecture, Some(file.weights()), frozen)).unwrap();
        let model = with_head(loaded, "classifier.6");
        let logits = model.logits(&model.features(&images(96, 80)).unwrap(), None).unwrap();
        let expected = [reference["loss"].as_f64().unwrap()];
        close(&format!("{name}: loss"), &objective(&logits), &expected, 1e-5);
        let mut gradients = gradients(&model, &logits);
        gradients.retain(|(name, _)| name != "classifier.0.weight");
        close_summary(
            &gradients,
            &reference["gradients"],
            |name| name.replace("head.", "classifier.6."),
            1e-5,
        );
    }
}

#[test]
fn loss_and_gradients_above_the_cut_of_a_gpt2_equal_pytorchs() {
    let case = &golden("gpt2");
    let file = WeightsFolder::with_config(&filled(&case["tensors"]), &case["config"]);
    let mut spec = spec(Architecture::Gpt2, Some(file.weights()), through("layer.1"));
    spec.pooling = Pooling::Last;
    let model = with_head(load(&spec).unwrap(), "score");
    let features = model.features(&tokens(200, &[17, 5, 1, 11])).unwrap();
    let logits = model.logits(&features, None).unwrap();
    let expected = [case["loss"].as_f64().unwrap()];
    close("gpt2: loss", &objective(&logits), &expected, 1e-5);
    let key = |name: &str| match name.strip_prefix("head.") {
        Some(tail) => format!("score.{tail}"),
        None => format!("transformer.{name}"),
    };
    close_summary(&gradients(&model, &logits), &case["gradients"], key, 1e-5);
}

#[test]
fn logits_loss_and_gradients_above_the_cut_of_a_decoder_equal_pytorchs() {
    for (name, case) in golden("decoders").as_object().unwrap() {
        let config = &case["config"];
        let architecture = Architecture::from_word(config["model_type"].as_str().unwrap()).unwrap();
        let tensors = filled_as(architecture, [Library::HuggingFace; 2], config);
        let file = WeightsFolder::with_config(&tensors, config);
        let mut spec = spec(architecture, Some(file.weights()), through("layer.1"));
        spec.pooling = Pooling::Last;
        let model = with_head(load(&spec).unwrap(), "score");
        let features = model.features(&tokens(200, &[17, 5, 1, 11])).unwrap();
        let logits = model.logits(&features, None).unwrap();
        close(&format!("{name}: logits"), &logits, &floats(&case["logits"]), 1e-5);
        let expected = [case["loss"].as_f64().unwrap()];
        close(&format!("{name}: loss"), &objective(&logits), &expected, 1e-5);
        let key = |name: &str| match name.strip_prefix("head.") {
            Some(tail) => format!("score.{tail}"),
            None => format!("model.{name}"),
        };
        close_summary(&gradients(&model, &logits), &case["gradients"], key, 1e-5);
    }
}

/// Both heads of Inception v3, in a network that is frozen so far.
fn cut_inception(frozen: &str) -> Model {
    let file = WeightsFolder::new(&filled(&golden("inception")["tensors"]));
    let spec = spec(Architecture::InceptionV3, Some(file.weights()), through(frozen));
    with_head(load(&spec).unwrap(), "fc")
}

#[test]
fn the_auxiliary_head_of_inception_v3_adds_its_loss_where_its_stage_trains_as_in_pytorch() {
    for (frozen, auxiliary_trains) in [("Mixed_6d", true), ("Mixed_7b", false)] {
        let reference = &golden("inception")["training"][frozen];
        let model = cut_inception(frozen);
        let features = model.features(&images(299, 299)).unwrap();
        let dropout = Dropout {
            seed: 0,
            epoch: 0,
            samples: &[0, 1],
        };
        let outputs = model.outputs(&features, &dropout).unwrap();
        let what = format!("Inception v3 frozen through {frozen}");
        close(
            &format!("{what}: logits"),
            &outputs.head,
            &floats(&reference["logits"]),
            1e-5,
        );
        assert_eq!(outputs.auxiliary.is_some(), auxiliary_trains);
        if let Some((weight, auxiliary)) = &outputs.auxiliary {
            assert!((weight - 0.4).abs() < 1e-12);
            let expected = floats(&reference["auxiliary"]);
            close(&format!("{what}: auxiliary logits"), auxiliary, &expected, 1e-5);
        }
        let loss = outputs.sums(&cross_entropy(), Expected::Classes(&[0, 1])).unwrap().loss;
        let expected = [reference["loss"].as_f64().unwrap()];
        close(&format!("{what}: loss"), &loss, &expected, 1e-5);
        let gradients = gradients_of(&model, &loss);
        close_summary(
            &gradients,
            &reference["gradients"],
            |name| name.replace("head.", "fc."),
            1e-5,
        );
    }
}

#[test]
fn images_too_small_for_an_auxiliary_head_that_trains_are_refused() {
    let error = cut_inception("Mixed_6d").check_crop(224).unwrap_err().to_string();
    assert_eq!(
        error,
        "spec.data.preprocessing.crop: expected at least 299 where `Mixed_6e` trains, whose auxiliary head \
         `AuxLogits.fc` learns with it, found 224"
    );
    cut_inception("Mixed_6d").check_crop(299).unwrap();
    cut_inception("Mixed_6e").check_crop(224).unwrap();
}

#[test]
fn everything_trains_when_nothing_is_frozen() {
    let model = load(&spec(Architecture::Resnet18, None, Freeze::Nothing)).unwrap();
    let logits = model.logits(&model.features(&images(64, 64)).unwrap(), None).unwrap();
    let gradients = gradients(&model, &logits);
    assert_eq!(gradients.len(), 62, "60 tensors of the backbone, 2 of the head");
    let (name, first) = &gradients[0];
    assert_eq!(name, "conv1.weight");
    assert!(first.abs().max().double_value(&[]) > 0.0);
}

#[test]
fn a_head_learns_through_the_whole_path() {
    let file = WeightsFolder::new(&filled(&golden("images")["resnet18"]["tensors"]));
    let model = load(&spec(Architecture::Resnet18, Some(file.weights()), through("layer3"))).unwrap();
    let rule = OptimizerSpec::AdamW {
        learning_rate: 1e-3,
        weight_decay: 0.0,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
    };
    let mut optimizer = Optimizer::new(&rule, Decayed::All, model.trainable()).unwrap();
    let features = model.features(&images(64, 64)).unwrap();
    let loss_now = |model: &Model| objective(&model.logits(&features, None).unwrap());
    let before = loss_now(&model).double_value(&[]);
    for _ in 0..10 {
        let gradients: Vec<Option<Tensor>> = gradients(&model, &model.logits(&features, None).unwrap())
            .into_iter()
            .map(|(_, t)| Some(t))
            .collect();
        optimizer.step(1e-3, &gradients).unwrap();
    }
    let after = loss_now(&model).double_value(&[]);
    assert!(after < 0.7 * before, "loss {before} became {after}");
    model.verify_frozen().unwrap();
}

#[test]
fn the_digest_of_the_state_sees_every_number_that_the_next_step_depends_on() {
    let model = cut_resnet(true);
    let rule = OptimizerSpec::Sgd {
        learning_rate: 0.1,
        weight_decay: 0.0,
        momentum: 0.9,
        nesterov: false,
    };
    let mut optimizer = Optimizer::new(&rule, Decayed::All, model.trainable()).unwrap();
    let average: Vec<_> = model
        .trainable_state()
        .into_iter()
        .map(|(name, t)| (name, t.detach().copy()))
        .collect();
    let mut seen = vec![state_digest(model.trainable_state(), &optimizer, &average).unwrap()];
    assert_eq!(
        state_digest(model.trainable_state(), &optimizer, &average).unwrap(),
        seen[0]
    );
    let zeros: Vec<Option<Tensor>> = model
        .trainable()
        .iter()
        .map(|(_, tensor)| Some(tensor.zeros_like()))
        .collect();
    optimizer.step(0.1, &zeros).unwrap();
    seen.push(state_digest(model.trainable_state(), &optimizer, &average).unwrap());
    let slots = optimizer.state().tensors.into_iter();
    let averaged = average
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
    for (_, tensor) in model.trainable_state().into_iter().chain(slots).chain(averaged) {
        let _ = tensor.detach().view(-1).get(0).g_add_scalar_(1.0);
        seen.push(state_digest(model.trainable_state(), &optimizer, &average).unwrap());
    }
    let all = seen.len();
    assert!(all > 2 * model.trainable().len());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "two states have one digest");
}

#[test]
fn a_trained_number_that_is_not_finite_is_found_and_named() {
    let model = cut_resnet(false);
    assert_eq!(model.not_finite().unwrap(), None);
    let (name, tensor) = &model.trainable()[1];
    let _ = tensor.detach().view(-1).get(0).g_mul_scalar_(f64::INFINITY);
    let (found, value) = model.not_finite().unwrap().unwrap();
    assert_eq!(&found, name);
    assert!(!value.is_finite());
}

//! Low-rank adapters compute, learn, merge and are stored as PEFT's.

use firn_core::spec::{Architecture, Freeze, LoraSpec, ModelSpec, Pooling};
use firn_models::{Dropout, Model, export, export_adapter};
use safetensors::SafeTensors;
use serde_json::Value;
use tch::{Device, Tensor};

use crate::support::*;

fn lora(targets: &[&str]) -> LoraSpec {
    LoraSpec {
        rank: 4,
        alpha: 6.0,
        dropout: 0.0,
        targets: targets.iter().map(|&target| target.to_owned()).collect(),
    }
}

fn gpt2(file: &WeightsFolder, lora: Option<LoraSpec>) -> ModelSpec {
    ModelSpec {
        lora,
        pooling: Pooling::Last,
        ..spec(Architecture::Gpt2, Some(file.weights()), through("layer.0"))
    }
}

fn weights(case: &Value) -> WeightsFolder {
    WeightsFolder::with_config(&filled(&case["tensors"]), &case["config"])
}

/// Firn's name as PEFT has it, without what PEFT puts before all.
fn key(name: &str) -> String {
    match name.strip_prefix("head.") {
        Some(tail) => format!("score.{tail}"),
        None => format!("transformer.{name}"),
    }
}

/// All that trains, filled by the formula.
fn filled_model(file: &WeightsFolder) -> Model {
    let model = load(&gpt2(file, Some(lora(&["c_attn", "mlp.c_proj"])))).unwrap();
    let state = model.trainable_state().into_iter();
    let state: Vec<_> = state
        .map(|(name, tensor)| (name.clone(), fill(&key(&name), &tensor.size())))
        .collect();
    model.load_state(&state).unwrap();
    model
}

fn logits(model: &Model) -> Tensor {
    let features = model.features(&tokens(200, &[17, 5, 1, 11])).unwrap();
    model.logits(&features, None).unwrap()
}

#[test]
fn logits_and_gradients_of_adapters_equal_pefts() {
    let case = &golden("lora");
    let model = filled_model(&weights(case));
    let outputs = logits(&model);
    close("LoRA in GPT-2: logits", &outputs, &floats(&case["logits"]), 1e-4);
    let loss = crate::training::objective(&outputs);
    let parameters: Vec<&Tensor> = model.trainable().iter().map(|(_, tensor)| tensor).collect();
    let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
    let names = model.trainable().iter().map(|(name, _)| name.clone());
    let gradients: Vec<_> = names.zip(gradients).collect();
    close_summary(&gradients, &case["gradients"], key, 1e-4);
    model.verify_frozen().unwrap();
}

#[test]
fn a_model_with_new_adapters_computes_what_it_computed_without_them() {
    let file = weights(&golden("lora"));
    let with = load(&gpt2(&file, Some(lora(&[])))).unwrap();
    let without = load(&gpt2(&file, None)).unwrap();
    assert!(logits(&with).equal(&logits(&without)), "B begins at 0");
    let names: Vec<&str> = with.trainable().iter().map(|(name, _)| name.as_str()).collect();
    // Four linear layers in each of two layers above the cut, two matrices each, and the head.
    assert_eq!(names.len(), 2 * 4 * 2 + 1, "{names:?}");
    let summary = with.summary();
    assert_eq!(
        summary.trainable_parameters,
        2 * (4 * (64 + 192) + 4 * (64 + 64) + 2 * 4 * (64 + 160)) + 5 * 64
    );
    let (_, a) = &with.trainable()[0];
    let bound = 1.0 / 64_f64.sqrt();
    assert!(
        a.abs().max().double_value(&[]) <= bound && a.abs().max().double_value(&[]) > 0.9 * bound,
        "as torch.nn.Linear's"
    );
}

#[test]
fn merged_weights_are_pefts_and_compute_the_same() {
    let case = &golden("lora");
    let file = weights(case);
    let model = filled_model(&file);
    let merged = file.folder.path().join("merged/model.safetensors");
    std::fs::create_dir(merged.parent().unwrap()).unwrap();
    std::fs::copy(
        file.folder.path().join("config.json"),
        merged.with_file_name("config.json"),
    )
    .unwrap();
    export::merged(&model, &merged).unwrap();
    let bytes = std::fs::read(&merged).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(tensors.names().iter().all(|name| !name.contains("lora")));
    let of = |name: &str| {
        let view = tensors.tensor(name).unwrap();
        let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
        (
            name.to_owned(),
            Tensor::f_from_data_size(view.data(), &shape, tch::Kind::Float).unwrap(),
        )
    };
    let ours: Vec<_> = case["merged"]
        .as_object()
        .unwrap()
        .keys()
        .map(|name| of(name))
        .collect();
    close_summary(&ours, &case["merged"], str::to_owned, 1e-6);
    let mut plain = gpt2(&file, None);
    plain.weights = Some(merged.to_str().unwrap().to_owned());
    plain.freeze.through = Freeze::All;
    let again = load(&plain).unwrap();
    let head = vec![(
        "head.weight".to_owned(),
        model.trainable().last().unwrap().1.shallow_clone(),
    )];
    again.load_state(&head).unwrap();
    close("merged GPT-2: logits", &logits(&again), &floats(&case["logits"]), 1e-4);
    let beside = logits(&model);
    let mut model = model;
    model.merge_adapters().unwrap();
    assert!(logits(&model).equal(&logits(&again)), "to the last bit");
    assert!(
        !logits(&model).equal(&beside),
        "adapters beside the weights round otherwise"
    );
    model.verify_frozen().unwrap();
    model.part_adapters();
    assert!(logits(&model).equal(&beside));
}

#[test]
fn what_is_stored_has_pefts_names() {
    let case = &golden("lora");
    let files = export_adapter::files(&filled_model(&weights(case))).unwrap();
    let [(weights_name, weights), (configuration_name, configuration)] = &files[..] else {
        panic!("two files")
    };
    assert_eq!(
        (*weights_name, *configuration_name),
        ("adapter/adapter_model.safetensors", "adapter/adapter_config.json")
    );
    let tensors = SafeTensors::deserialize(weights).unwrap();
    let mut names: Vec<&str> = tensors.names().into_iter().collect();
    names.sort_unstable();
    let mut expected: Vec<String> = case["gradients"]
        .as_object()
        .unwrap()
        .keys()
        .map(|name| format!("base_model.model.{name}"))
        .collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    let configuration: Value = serde_json::from_slice(configuration).unwrap();
    assert_eq!(
        (configuration["r"].as_u64(), configuration["lora_alpha"].as_f64()),
        (Some(4), Some(6.0))
    );
    assert_eq!(configuration["target_modules"].as_array().unwrap().len(), 4);
    assert_eq!(configuration["target_modules"][0], "transformer.h.1.attn.c_attn");
    assert_eq!(configuration["task_type"], "SEQ_CLS");
    assert!(
        export_adapter::files(&load(&gpt2(&weights_of(case), None)).unwrap())
            .unwrap()
            .is_empty()
    );
}

fn weights_of(case: &Value) -> WeightsFolder {
    weights(case)
}

#[test]
fn targets_that_are_no_linear_layer_are_refused_by_name() {
    let file = weights(&golden("lora"));
    let error = load(&gpt2(&file, Some(lora(&["c_attn", "query"]))))
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        error,
        "spec.model.lora.targets[1]: expected a linear layer above the cut: `c_attn`, `c_proj`, `c_fc`, found `query`"
    );
    let mut pooled = gpt2(&file, Some(lora(&[])));
    pooled.freeze.through = Freeze::Through("layer.2".to_owned());
    let error = load(&pooled).err().unwrap().to_string();
    assert_eq!(
        error,
        "spec.model.lora: expected a linear layer above the cut, found none"
    );
}

#[test]
fn dropout_before_an_adapter_depends_on_the_sample_and_not_on_its_batch() {
    let file = weights(&golden("lora"));
    let spec = ModelSpec {
        lora: Some(LoraSpec {
            dropout: 0.5,
            ..lora(&[])
        }),
        ..gpt2(&file, None)
    };
    let model = load(&spec).unwrap();
    let state: Vec<_> = model
        .trainable_state()
        .into_iter()
        .map(|(name, tensor)| (name.clone(), fill(&name, &tensor.size())))
        .collect();
    model.load_state(&state).unwrap();
    let of = |ids: &[i64], length: usize, samples: &[u64], epoch: u32| {
        let mask = vec![1; ids.len()];
        let input = firn_models::Input::tokens(ids, &mask, length, Device::Cpu).unwrap();
        let dropout = Dropout {
            seed: 3,
            epoch,
            samples,
        };
        model
            .logits(&model.features(&input).unwrap(), Some(&dropout))
            .unwrap()
            .detach()
    };
    let together = of(&[5, 6, 7, 8, 9, 10], 3, &[4, 9], 0);
    let alone = of(&[8, 9, 10], 3, &[9], 0);
    let difference = |one: &Tensor, other: &Tensor| (one - other).abs().max().double_value(&[]);
    assert!(difference(&together.get(1), &alone.get(0)) < 1e-5);
    assert!(difference(&of(&[8, 9, 10], 3, &[9], 1), &alone) > 1e-3, "another epoch");
    assert!(
        difference(&of(&[8, 9, 10], 3, &[8], 0), &alone) > 1e-3,
        "another sample"
    );
}

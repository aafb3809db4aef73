//! What a job with low-rank adapters leaves of them: the two files that PEFT loads.
//!
//! `adapter_model.safetensors` holds A and B of each layer, under the names that PEFT gives them in a network of the library whose names the weights have. The new
//! output layer is with them where a class of transformers computes the same with it. `adapter_config.json` says what they are. The network itself
//! is not in them: PEFT loads it from where it came.
//!
//! They lie in a folder of their own: beside a `model.safetensors` in which they are merged, transformers would add them a second time.

use std::path::Path;

use firn_core::spec::LoraSpec;
use serde_json::{Value, json};

use crate::{
    architecture::Opened,
    error::ModelError,
    export,
    head::POOLING,
    model::Model,
    weights::write::{Entry, write},
};

/// Before every name in PEFT's file.
const PREFIX: &str = "base_model.model.";

/// The folder that PEFT is given.
pub const FOLDER: &str = "adapter";
const WEIGHTS: &str = "adapter/adapter_model.safetensors";
const CONFIGURATION: &str = "adapter/adapter_config.json";

/// The bytes of both files, by name; none without adapters.
///
/// # Errors
/// Those of libtorch.
pub fn files(model: &Model) -> Result<Vec<(&'static str, Vec<u8>)>, ModelError> {
    let Some(plan) = &model.adapters else {
        return Ok(Vec::new());
    };
    let mut weights = Vec::new();
    let modules = head_modules(model);
    let trained = model.trainable_state();
    let stored = trained
        .iter()
        .filter(|(name, _)| modules.is_some() || !is_of_head(name));
    let entries = stored.map(|(name, tensor)| {
        let name = export::in_whole(model, name);
        Entry::of(format!("{PREFIX}{name}"), tensor)
    });
    let entries = entries.collect::<Result<_, _>>()?;
    write(&mut weights, entries, &[("format".to_owned(), "pt".to_owned())])
        .expect("writing to memory succeeds: names and shapes are plain JSON");
    let configuration = configuration(model, &plan.spec, modules);
    let configuration = serde_json::to_vec_pretty(&configuration).expect("a JSON value is JSON");
    Ok(vec![(WEIGHTS, weights), (CONFIGURATION, configuration)])
}

/// The modules of the head in the class of transformers that computes the same with it; `None`: no class does.
fn head_modules(model: &Model) -> Option<Vec<&'static str>> {
    match export::opened(model)? {
        Opened::ByDenseClass(class) => Some(class.modules.to_vec()),
        Opened::ByClass(_) => Some(vec![export::output_layer(model)]),
        Opened::WithoutHead(_) => None,
    }
}

/// Of the output layer, or of a pooling that learns.
fn is_of_head(name: &str) -> bool {
    export::head_tail(name).is_some() || name.starts_with(POOLING)
}

fn configuration(model: &Model, lora: &LoraSpec, modules: Option<Vec<&str>>) -> Value {
    let layers: Vec<&str> = model.adapted.iter().map(|layer| layer.layer.as_str()).collect();
    let is_transposed = model.adapted.iter().any(|layer| layer.is_transposed);
    let base = model.origin.as_ref().and_then(|origin| origin.path.parent());
    let class = export::opened(model).and_then(Opened::class);
    let is_classifier = class.is_some_and(|class| class.ends_with("ForSequenceClassification"));
    json!({
        "peft_type": "LORA",
        "task_type": is_classifier.then_some("SEQ_CLS"),
        "base_model_name_or_path": base.map(|folder: &Path| folder.to_string_lossy()),
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": layers,
        "modules_to_save": modules,
        "fan_in_fan_out": is_transposed,
        "bias": "none",
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
        "inference_mode": true,
    })
}

//! What a job with low-rank adapters leaves of them: the two files that PEFT loads.
//!
//! `adapter_model.safetensors` holds A and B of each layer and the new output layer, under the names that PEFT gives them in a network of the library whose names
//! the weights have. `adapter_config.json` says what they are. The network itself is not in them: PEFT loads it from where it came.

use std::path::Path;

use firn_core::spec::LoraSpec;
use serde_json::{Value, json};

use crate::{
    architecture::Opened,
    error::ModelError,
    model::Model,
    weights::write::{Entry, write},
};

/// Before every name in PEFT's file.
const PREFIX: &str = "base_model.model.";

/// The names of both files.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// What the weights are.
pub const CONFIGURATION: &str = "adapter_config.json";

/// The bytes of both files, by name; none without adapters.
///
/// # Errors
/// Those of libtorch.
pub fn files(model: &Model) -> Result<Vec<(&'static str, Vec<u8>)>, ModelError> {
    let Some(plan) = &model.adapters else {
        return Ok(Vec::new());
    };
    let mut weights = Vec::new();
    let trained = model.trainable_state();
    let entries = trained.iter().map(|(name, tensor)| {
        let name = crate::export::exported(model, name);
        Entry::of(format!("{PREFIX}{name}"), tensor)
    });
    let entries = entries.collect::<Result<_, _>>()?;
    write(&mut weights, entries, &[("format".to_owned(), "pt".to_owned())])
        .expect("writing to memory succeeds: names and shapes are plain JSON");
    let configuration = configuration(model, &plan.spec);
    let configuration = serde_json::to_vec_pretty(&configuration).expect("a JSON value is JSON");
    Ok(vec![(WEIGHTS, weights), (CONFIGURATION, configuration)])
}

fn configuration(model: &Model, lora: &LoraSpec) -> Value {
    let layers: Vec<&str> = model.adapted.iter().map(|layer| layer.layer.as_str()).collect();
    let is_transposed = model.adapted.iter().any(|layer| layer.is_transposed);
    let base = model.origin.as_ref().and_then(|origin| origin.path.parent());
    let opened = crate::export::opened(model);
    let is_classifier = matches!(opened, Some(Opened::ByClass(class)) if class.ends_with("ForSequenceClassification"));
    json!({
        "peft_type": "LORA",
        "task_type": is_classifier.then_some("SEQ_CLS"),
        "base_model_name_or_path": base.map(|folder: &Path| folder.to_string_lossy()),
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": layers,
        "modules_to_save": [model.naming.head()],
        "fan_in_fan_out": is_transposed,
        "bias": "none",
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
        "inference_mode": true,
    })
}

//! `config.json`: what the whole network is, what its outputs mean, and whether transformers opens it as it is.

use firn_core::spec::{Word, to_value};
use serde_json::{Map, Value, json};

use super::{FORMAT, Opened, opened};
use crate::{head::HEAD, model::Model, weights::naming::Library};

/// `config.json` for a network whose outputs are called `names`. That of a network of transformers names the class that opens it, or says in `firn_note` why
/// there is none.
pub fn config(model: &Model, names: &[String]) -> Value {
    let labels = names.iter().enumerate();
    let of_ids: Map<_, _> = labels
        .clone()
        .map(|(id, name)| (id.to_string(), name.clone().into()))
        .collect();
    let of_names: Map<_, _> = labels.map(|(id, name)| (name.clone(), id.into())).collect();
    let mut config = json!({
        "firn_format": FORMAT,
        "architecture": model.architecture.word(),
        "num_labels": names.len(),
        "id2label": of_ids,
        "label2id": of_names,
    });
    let library = model.naming.dialect.library;
    let own = model.family.configuration(library);
    let fields = config.as_object_mut().expect("it was made as an object");
    if !model.head.spec().is_linear() {
        let head = to_value(model.head.spec()).expect("a head is plain data");
        fields.insert("head".to_owned(), head);
    }
    fields.extend(own);
    if library == Library::HuggingFace {
        // What is exported may be of another type below the cut, and is computed in this one.
        config["torch_dtype"] = "float32".into();
    }
    if let Some(class) = opened(model).and_then(Opened::class) {
        config["architectures"] = json!([class]);
    }
    match opened(model) {
        Some(Opened::ByDenseClass(class)) => config[class.dropout] = model.head.spec().dropout().into(),
        Some(Opened::WithoutHead(reason)) => {
            config["firn_note"] =
                format!("`AutoModel` opens the encoder; its output layer is `{HEAD}` in model.safetensors: {reason}")
                    .into();
        }
        Some(Opened::ByClass(_)) | None => {}
    }
    config
}

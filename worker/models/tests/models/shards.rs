//! Weights in shards, read through their index.

use firn_core::spec::{Architecture, Freeze};
use serde_json::json;
use tch::Tensor;

use crate::{
    support::*,
    weights::{refusal, resnet18},
};

const INDEX: &str = "model.safetensors.index.json";

/// The tensors in two shards and their index, as Hugging Face writes them.
fn sharded(tensors: &[(String, Tensor)]) -> (tempfile::TempDir, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut map = serde_json::Map::new();
    for (number, shard) in [first, second].into_iter().enumerate() {
        let name = format!("model-0000{}-of-00002.safetensors", number + 1);
        Tensor::write_safetensors(shard, folder.path().join(&name)).unwrap();
        map.extend(shard.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
    }
    let index = json!({"metadata": {}, "weight_map": map});
    std::fs::write(folder.path().join(INDEX), index.to_string()).unwrap();
    (folder, index)
}

#[test]
fn weights_in_shards_are_those_of_one_file() {
    let whole = WeightsFolder::new(&resnet18());
    let model = |weights: &std::path::Path| {
        let weights = weights.to_str().unwrap().to_owned();
        load(&spec(Architecture::Resnet18, Some(weights), Freeze::All)).unwrap()
    };
    let expected = model(whole.folder.path()).frozen_digest();
    let (folder, _) = sharded(&resnet18());
    for place in [folder.path().join(INDEX), folder.path().to_path_buf()] {
        let model = model(&place);
        assert_eq!(model.frozen_digest(), expected);
        let merged = folder.path().join("merged.safetensors");
        firn_models::export::merged(&model, &merged).unwrap();
        let exported = Tensor::read_safetensors(&merged).unwrap();
        for (name, tensor) in resnet18().iter().filter(|(name, _)| !name.starts_with("fc.")) {
            let (_, found) = exported.iter().find(|(found, _)| found == name).unwrap();
            assert!(found.equal(tensor), "{name}");
        }
        assert_eq!(exported.len(), resnet18().len());
    }
}

#[test]
fn a_shard_that_changed_since_it_was_loaded_is_not_exported() {
    let (folder, _) = sharded(&resnet18());
    let place = folder.path().to_str().unwrap().to_owned();
    let model = load(&spec(Architecture::Resnet18, Some(place), Freeze::All)).unwrap();
    let shard = folder.path().join("model-00002-of-00002.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let error = firn_models::export::merged(&model, &folder.path().join("merged.safetensors")).unwrap_err();
    assert!(
        error.to_string().contains("as when it was loaded, found digest"),
        "{error}"
    );
}

#[test]
fn an_index_that_does_not_lead_to_the_weights_is_refused_by_what_is_wrong() {
    let with = |tensor: &str, shard: &str| {
        let (folder, mut index) = sharded(&resnet18());
        index["weight_map"][tensor] = json!(shard);
        std::fs::write(folder.path().join(INDEX), index.to_string()).unwrap();
        folder
    };
    let shard = |text: &str| {
        let (folder, _) = sharded(&resnet18());
        std::fs::write(folder.path().join(INDEX), text).unwrap();
        folder
    };
    let name = "the name of a `.safetensors` file in the folder of the index";
    let written = "a JSON object whose `weight_map` names the file of each tensor";
    for (folder, expected) in [
        (
            with("fc.bias", "model-00003-of-00003.safetensors"),
            "shard `model-00003-of-00003.safetensors`: expected a file beside the index, found No such file or directory (os error 2)"
                .to_owned(),
        ),
        (
            with("fc.scale", "model-00001-of-00002.safetensors"),
            "tensor `fc.scale`: expected its values in `model-00001-of-00002.safetensors`, found nothing there".to_owned(),
        ),
        (
            with("fc.bias", "../model.safetensors"),
            format!("`weight_map`: expected {name}, found `../model.safetensors`"),
        ),
        (
            with("fc.bias", "/etc/model.safetensors"),
            format!("`weight_map`: expected {name}, found `/etc/model.safetensors`"),
        ),
        (
            with("fc.bias", "pytorch_model.bin"),
            format!("`weight_map`: expected {name}, found `pytorch_model.bin`"),
        ),
        (
            shard("{\"weight_map\": {}}"),
            "`weight_map`: expected the shard of each tensor, found no tensor".to_owned(),
        ),
        (
            shard("{}"),
            format!("index of weights: expected {written}, found missing field `weight_map` at line 1 column 2"),
        ),
    ] {
        let index = folder.path().join(INDEX);
        let error = refusal(Architecture::Resnet18, index.to_str().unwrap(), Freeze::All).to_string();
        assert_eq!(error, format!("{}: {expected}", index.display()));
    }
}

#[test]
fn one_shard_alone_is_told_to_be_one() {
    let (folder, _) = sharded(&resnet18());
    let shard = folder.path().join("model-00001-of-00002.safetensors");
    let error = refusal(Architecture::Resnet18, shard.to_str().unwrap(), Freeze::All).to_string();
    let expected = format!(
        "{} does not fit resnet18 (it is one shard of several: name their `….safetensors.index.json`): ",
        shard.display()
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn a_folder_without_weights_under_their_usual_names_says_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let refused = || refusal(Architecture::Resnet18, folder.path().to_str().unwrap(), Freeze::All).to_string();
    let says = |found: &str| {
        let folder = folder.path().display();
        format!("{folder} holds neither `model.safetensors` nor `model.safetensors.index.json`; {found}")
    };
    assert_eq!(refused(), says("no other safetensors file is there"));
    std::fs::write(folder.path().join("resnet18.safetensors"), b"").unwrap();
    assert_eq!(refused(), says("name one of its files: `resnet18.safetensors`"));
}

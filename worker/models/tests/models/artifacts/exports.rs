//! Exports: what the libraries of the published weights load.

use std::{collections::BTreeMap, path::Path};

use firn_core::spec::{Architecture, Freeze, ModelSpec, Pooling};
use firn_models::{Model, export};
use safetensors::SafeTensors;
use tch::Tensor;

use super::{python::same_in_python, resnet, resnet_weights, trained};
use crate::support::*;

/// Name → type, shape and bytes.
fn contents(bytes: &[u8]) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let entries = tensors.iter();
    entries
        .map(|(name, view)| {
            (
                name.to_owned(),
                (
                    format!("{:?}", view.dtype()),
                    view.shape().to_vec(),
                    view.data().to_vec(),
                ),
            )
        })
        .collect()
}

/// What a library keeps beside the weights: it is added where a file is without it.
fn is_constant(name: &str) -> bool {
    ["relative_position_index", "relative_coords_table", "mask_token"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Exports into `folder` and checks everything that needs no Python: names, untouched bytes, and the logits after loading again.
pub(super) fn export_case(spec: &ModelSpec, folder: &Path) -> Vec<f64> {
    let (model, _) = trained(spec, false);
    let merged = folder.join("model.safetensors");
    export::merged(&model, &merged).unwrap();
    let classes: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    std::fs::write(folder.join("config.json"), export::config(&model, &classes).to_string()).unwrap();
    let source = contents(&std::fs::read(spec.weights.as_ref().unwrap()).unwrap());
    // Where no class of the library computes with the head, it has another name than there.
    let of_library = |name: String| match (export::opened(&model), name.strip_prefix("head.")) {
        (Some(export::Opened::WithoutHead(_)), Some(tail)) => format!("classifier.{tail}"),
        _ => name,
    };
    let exported = contents(&std::fs::read(&merged).unwrap());
    let exported: BTreeMap<_, _> = exported
        .into_iter()
        .map(|(name, entry)| (of_library(name), entry))
        .collect();
    let head = contents(&export::head(&model).unwrap());
    let of_source = exported.iter().filter(|(name, _)| !is_constant(name));
    assert_eq!(
        source.keys().collect::<Vec<_>>(),
        of_source.clone().map(|(name, _)| name).collect::<Vec<_>>(),
        "the names of the source file"
    );
    for (name, entry) in of_source {
        match head.get(name) {
            Some(trained) => assert_eq!(entry, trained, "{name} is the trained one"),
            None => assert_eq!(entry, &source[name], "{name} is untouched"),
        }
    }
    assert_eq!(head.len(), model.trainable_state().len());
    let input = match spec.architecture {
        _ if source.keys().any(|key| key.contains("embedder")) => images(64, 96),
        Architecture::SwinT => images(224, 224),
        Architecture::SwinV2T => images(256, 256),
        Architecture::Dinov2VitS14 | Architecture::Dinov2VitS14Reg => images(112, 112),
        architecture => input_of(architecture, [96, 80]),
    };
    let logits = |model: &Model| model.logits(&model.features(&input).unwrap(), None).unwrap();
    let again = ModelSpec {
        weights: Some(merged.to_str().unwrap().to_owned()),
        ..spec.clone()
    };
    let again = load(&again).unwrap();
    let trained = folder.join("head.safetensors");
    std::fs::write(&trained, export::head(&model).unwrap()).unwrap();
    export::adopt(&again, &trained).unwrap();
    assert!(
        logits(&model).equal(&logits(&again)),
        "what was exported gives the same logits here"
    );
    Vec::try_from(logits(&model).to_kind(tch::Kind::Double).view(-1)).unwrap()
}

#[test]
fn an_exported_resnet_loads_strictly_in_torchvision() {
    let (file, folder) = (resnet_weights(), tempfile::tempdir().unwrap());
    let logits = export_case(&resnet(&file), folder.path());
    same_in_python(folder.path(), &logits);
}

#[test]
fn an_exported_mobilenet_loads_strictly_in_torchvision() {
    let file = WeightsFolder::new(&filled(&golden("images")["mobilenet_v2"]["tensors"]));
    let folder = tempfile::tempdir().unwrap();
    let logits = export_case(
        &spec(Architecture::MobilenetV2, Some(file.weights()), Freeze::All),
        folder.path(),
    );
    same_in_python(folder.path(), &logits);
}

#[test]
fn an_exported_resnet_under_hugging_faces_names_loads_strictly_in_transformers() {
    let file = WeightsFolder::new(&filled(&golden("images")["resnet18_hugging_face"]["tensors"]));
    let folder = tempfile::tempdir().unwrap();
    let logits = export_case(&resnet(&file), folder.path());
    same_in_python(folder.path(), &logits);
}

#[test]
fn an_exported_bert_loads_strictly_in_transformers() {
    let case = &golden("berts")["small"];
    let file = WeightsFolder::with_config(&filled(&case["tensors"]), &case["config"]);
    let folder = tempfile::tempdir().unwrap();
    let logits = export_case(
        &spec(Architecture::Bert, Some(file.weights()), through("layer.1")),
        folder.path(),
    );
    same_in_python(folder.path(), &logits);
}

#[test]
fn an_exported_vgg_whose_last_wide_layer_trained_loads_strictly_in_torchvision() {
    let file = WeightsFolder::new(&filled(&golden("vggs")["vgg11"]["tensors"]));
    let folder = tempfile::tempdir().unwrap();
    let logits = export_case(
        &spec(Architecture::Vgg11, Some(file.weights()), through("classifier.0")),
        folder.path(),
    );
    same_in_python(folder.path(), &logits);
}

fn inception_weights() -> Vec<(String, Tensor)> {
    filled(&golden("inception")["tensors"])
}

#[test]
fn an_exported_inception_whose_auxiliary_head_trained_loads_strictly_in_torchvision() {
    let (file, folder) = (WeightsFolder::new(&inception_weights()), tempfile::tempdir().unwrap());
    let spec = spec(Architecture::InceptionV3, Some(file.weights()), through("Mixed_6d"));
    let logits = export_case(&spec, folder.path());
    same_in_python(folder.path(), &logits);
}

#[test]
fn an_auxiliary_head_that_is_frozen_or_absent_is_exported_as_it_came() {
    for (has_auxiliary, frozen) in [(true, Freeze::All), (false, through("Mixed_6d"))] {
        let mut tensors = inception_weights();
        tensors.retain(|(name, _)| has_auxiliary || !name.starts_with("AuxLogits."));
        let (file, folder) = (WeightsFolder::new(&tensors), tempfile::tempdir().unwrap());
        let logits = export_case(
            &spec(Architecture::InceptionV3, Some(file.weights()), frozen),
            folder.path(),
        );
        same_in_python(folder.path(), &logits);
    }
}

#[test]
fn a_frozen_auxiliary_head_gets_as_many_outputs_as_the_head_for_the_export() {
    let seven = |(name, tensor): (String, Tensor)| match name.contains("fc.") {
        true => {
            let shape: Vec<i64> = std::iter::once(7).chain(tensor.size().into_iter().skip(1)).collect();
            (name.clone(), fill(&name, &shape))
        }
        false => (name, tensor),
    };
    let tensors: Vec<_> = inception_weights().into_iter().map(seven).collect();
    let (file, folder) = (WeightsFolder::new(&tensors), tempfile::tempdir().unwrap());
    let (model, _) = trained(
        &spec(Architecture::InceptionV3, Some(file.weights()), Freeze::All),
        false,
    );
    let merged = folder.path().join("model.safetensors");
    export::merged(&model, &merged).unwrap();
    let classes: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    std::fs::write(
        folder.path().join("config.json"),
        export::config(&model, &classes).to_string(),
    )
    .unwrap();
    let source = contents(&std::fs::read(file.weights()).unwrap());
    let exported = contents(&std::fs::read(&merged).unwrap());
    assert_eq!(exported["AuxLogits.fc.weight"].1, [5, 768]);
    assert_eq!(exported["AuxLogits.fc.bias"].1, [5]);
    for (name, entry) in exported.iter().filter(|(name, _)| !name.contains("fc.")) {
        assert_eq!(entry, &source[name], "{name} is untouched");
    }
    let logits = model
        .logits(&model.features(&images(96, 80)).unwrap(), None)
        .unwrap()
        .to_kind(tch::Kind::Double);
    same_in_python(folder.path(), &Vec::<f64>::try_from(logits.view(-1)).unwrap());
}

#[test]
fn an_exported_gpt2_loads_strictly_in_transformers() {
    let case = &golden("gpt2");
    let mut config = case["config"].clone();
    config["pad_token_id"] = 199.into();
    let file = WeightsFolder::with_config(&filled(&case["tensors"]), &config);
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(Architecture::Gpt2, Some(file.weights()), through("layer.1"));
    spec.pooling = Pooling::Last;
    let logits = export_case(&spec, folder.path());
    same_in_python(folder.path(), &logits);
}

#[test]
fn a_model_without_weights_exports_under_torchvisions_names() {
    let folder = tempfile::tempdir().unwrap();
    let model = load(&spec(Architecture::Resnet18, None, Freeze::All)).unwrap();
    export::merged(&model, &folder.path().join("model.safetensors")).unwrap();
    let exported = contents(&std::fs::read(folder.path().join("model.safetensors")).unwrap());
    let table = golden("images")["resnet18"]["tensors"].clone();
    let expected: BTreeMap<String, Vec<usize>> = serde_json::from_value(table).unwrap();
    let found: BTreeMap<String, Vec<usize>> = exported
        .into_iter()
        .map(|(name, (_, shape, _))| (name, shape))
        .collect();
    assert_eq!(expected, found);
}

#[test]
fn counters_that_the_source_lacks_are_added() {
    let mut tensors = filled(&golden("images")["resnet18"]["tensors"]);
    tensors.retain(|(name, _)| !name.ends_with("num_batches_tracked"));
    let (file, folder) = (WeightsFolder::new(&tensors), tempfile::tempdir().unwrap());
    let model = load(&resnet(&file)).unwrap();
    export::merged(&model, &folder.path().join("model.safetensors")).unwrap();
    let exported = contents(&std::fs::read(folder.path().join("model.safetensors")).unwrap());
    assert_eq!(
        exported["bn1.num_batches_tracked"],
        ("I64".to_owned(), vec![], vec![0; 8])
    );
    assert_eq!(exported.len(), 122);
}

#[test]
fn a_source_that_changed_since_it_was_loaded_is_not_exported() {
    let (file, folder) = (resnet_weights(), tempfile::tempdir().unwrap());
    let model = load(&resnet(&file)).unwrap();
    let mut bytes = std::fs::read(file.weights()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(file.weights(), bytes).unwrap();
    let error = export::merged(&model, &folder.path().join("model.safetensors"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("as when it was loaded, found digest"), "{error}");
    assert!(!folder.path().join("model.safetensors").exists());
}

//! Exports of networks that several libraries have, under the names of each.

use firn_core::spec::{Architecture, Freeze, Pooling, Word};
use firn_models::Library;
use serde_json::Value;
use tch::Tensor;

use super::{exports::export_case, python::same_in_python};
use crate::support::*;

/// A file of the library with a head of five outputs and this name, and the counters of BatchNorm.
fn file_of(architecture: Architecture, library: Library, config: Option<&Value>, head: &str) -> WeightsFolder {
    let mut tensors = filled_as(architecture, [library; 2], config.unwrap_or(&Value::Null));
    let norms: Vec<String> = tensors
        .iter()
        .filter_map(|(name, _)| name.strip_suffix("running_mean"))
        .map(str::to_owned)
        .collect();
    tensors.extend(
        norms
            .iter()
            .map(|norm| (format!("{norm}num_batches_tracked"), Tensor::from(3_i64))),
    );
    let without = WeightsFolder::with_config(&tensors, config.unwrap_or(&Value::Null));
    let model = load(&spec(architecture, Some(without.weights()), Freeze::All)).unwrap();
    for (name, tensor) in model.trainable() {
        let name = name.replace("head.", &format!("{head}."));
        let shape = tensor.size();
        tensors.push((name.clone(), fill(&name, &shape)));
    }
    WeightsFolder::with_config(&tensors, config.unwrap_or(&Value::Null))
}

fn loads_strictly(architecture: Architecture, library: Library, frozen: Freeze, head: &str) {
    let (file, folder) = (file_of(architecture, library, None, head), tempfile::tempdir().unwrap());
    let logits = export_case(&spec(architecture, Some(file.weights()), frozen), folder.path());
    same_in_python(folder.path(), &logits);
}

#[test]
fn an_exported_resnext_loads_strictly_in_torchvision() {
    loads_strictly(Architecture::Resnext50_32x4d, Library::Torchvision, Freeze::All, "fc");
}

#[test]
fn an_exported_resnet_for_cifar_whose_last_layer_trained_loads_strictly_where_its_weights_come_from() {
    loads_strictly(
        Architecture::Resnet20Cifar,
        Library::PytorchResnetCifar10,
        through("layer2"),
        "linear",
    );
}

#[test]
fn an_exported_mobilenet_v3_whose_wide_layer_trained_loads_strictly_in_torchvision() {
    loads_strictly(
        Architecture::MobilenetV3Small,
        Library::Torchvision,
        through("pool"),
        "classifier.3",
    );
}

#[test]
fn an_exported_mobilenet_v3_whose_convolved_wide_layer_trained_loads_strictly_in_timm() {
    let frozen = through("pool");
    loads_strictly(Architecture::MobilenetV3Small, Library::Timm, frozen, "classifier");
}

#[test]
fn an_exported_mobilenet_v2_loads_strictly_in_timm() {
    let frozen = through("features.16");
    loads_strictly(Architecture::MobilenetV2, Library::Timm, frozen, "classifier");
}

#[test]
fn an_exported_vgg_whose_last_convolved_wide_layer_trained_loads_strictly_in_timm() {
    loads_strictly(Architecture::Vgg11, Library::Timm, through("classifier.0"), "head.fc");
}

#[test]
fn an_exported_efficientnet_loads_strictly_in_torchvision() {
    loads_strictly(
        Architecture::EfficientnetB0,
        Library::Torchvision,
        through("features.7"),
        "classifier.1",
    );
}

#[test]
fn an_exported_convnext_loads_strictly_in_the_library_of_its_file() {
    let (architecture, frozen) = (Architecture::ConvnextTiny, through("features.6"));
    loads_strictly(architecture, Library::Torchvision, frozen.clone(), "classifier.2");
    loads_strictly(architecture, Library::HuggingFace, frozen, "classifier");
}

#[test]
fn an_exported_vision_transformer_loads_strictly_in_the_library_of_its_file() {
    let (architecture, frozen) = (Architecture::DeitTinyPatch16_224, through("layer.10"));
    loads_strictly(architecture, Library::Torchvision, frozen.clone(), "heads.head");
    loads_strictly(architecture, Library::HuggingFace, frozen, "classifier");
}

#[test]
fn an_exported_dinov2_loads_strictly_in_the_library_of_its_file() {
    let (architecture, frozen) = (Architecture::Dinov2VitS14, through("layer.10"));
    loads_strictly(architecture, Library::HuggingFace, frozen.clone(), "classifier");
    loads_strictly(architecture, Library::Timm, frozen, "head");
}

#[test]
fn an_exported_dinov2_with_registers_loads_strictly_in_the_library_of_its_file() {
    let (architecture, frozen) = (Architecture::Dinov2VitS14Reg, through("layer.10"));
    loads_strictly(architecture, Library::HuggingFace, frozen.clone(), "classifier");
    loads_strictly(architecture, Library::Timm, frozen, "head");
}

#[test]
fn an_exported_swin_loads_strictly_in_the_library_of_its_file() {
    let (architecture, frozen) = (Architecture::SwinT, through("features.6"));
    loads_strictly(architecture, Library::Torchvision, frozen.clone(), "head");
    loads_strictly(architecture, Library::HuggingFace, frozen, "classifier");
}

#[test]
fn an_exported_swin_of_the_second_version_loads_strictly_in_the_library_of_its_file() {
    let (architecture, frozen) = (Architecture::SwinV2T, through("features.6"));
    loads_strictly(architecture, Library::Torchvision, frozen.clone(), "head");
    loads_strictly(architecture, Library::HuggingFace, frozen, "classifier");
}

#[test]
fn exports_under_timms_names_keep_them() {
    for (architecture, stage, head) in [
        (Architecture::DeitTinyPatch16_224, "layer.10", "head"),
        (Architecture::ConvnextTiny, "features.6", "head.fc"),
        (Architecture::SwinT, "features.6", "head.fc"),
        (Architecture::SwinV2T, "features.6", "head.fc"),
    ] {
        let (file, folder) = (
            file_of(architecture, Library::Timm, None, head),
            tempfile::tempdir().unwrap(),
        );
        export_case(&spec(architecture, Some(file.weights()), through(stage)), folder.path());
    }
}

#[test]
fn exported_roberta_and_distilbert_load_strictly_in_transformers() {
    for (word, architecture) in [
        ("roberta", Architecture::Roberta),
        ("distilbert", Architecture::Distilbert),
    ] {
        let config = &golden(&format!("stages/{word}.hugging_face"))["config"];
        let file = file_of(architecture, Library::HuggingFace, Some(config), "classifier");
        let folder = tempfile::tempdir().unwrap();
        let logits = export_case(
            &spec(architecture, Some(file.weights()), through("layer.1")),
            folder.path(),
        );
        same_in_python(folder.path(), &logits);
    }
}

#[test]
fn exported_decoders_load_strictly_in_transformers() {
    for (name, case) in golden("decoders").as_object().unwrap() {
        let mut config = case["config"].clone();
        config["pad_token_id"] = 199.into();
        let architecture = Architecture::from_word(config["model_type"].as_str().unwrap()).unwrap();
        let file = file_of(architecture, Library::HuggingFace, Some(&config), "score");
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(architecture, Some(file.weights()), through("layer.1"));
        spec.pooling = Pooling::Last;
        println!("{name}");
        let logits = export_case(&spec, folder.path());
        same_in_python(folder.path(), &logits);
    }
}

#[test]
fn an_exported_modernbert_loads_strictly_in_transformers() {
    let config = &golden("stages/modernbert.hugging_face")["config"];
    let file = file_of(
        Architecture::ModernBert,
        Library::HuggingFace,
        Some(config),
        "classifier",
    );
    for frozen in [through("layer.2"), through("pool")] {
        let folder = tempfile::tempdir().unwrap();
        let logits = export_case(
            &spec(Architecture::ModernBert, Some(file.weights()), frozen),
            folder.path(),
        );
        same_in_python(folder.path(), &logits);
    }
}

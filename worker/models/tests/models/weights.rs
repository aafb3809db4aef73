//! Weights files that are wrong, and models without weights.

use firn_core::spec::{Architecture, Freeze};
use firn_models::{ModelError, TensorProblem};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::support::*;

pub(crate) fn resnet18() -> Vec<(String, Tensor)> {
    filled(&golden("images")["resnet18"]["tensors"])
}

pub(crate) fn refusal(architecture: Architecture, weights: &str, freeze: Freeze) -> ModelError {
    match load(&spec(architecture, Some(weights.to_owned()), freeze)) {
        Ok(_) => panic!("the model was loaded"),
        Err(error) => error,
    }
}

#[test]
fn all_missing_and_misshapen_tensors_are_told_at_once() {
    let mut tensors = resnet18();
    tensors.retain(|(name, _)| name != "layer2.0.bn1.running_var" && name != "conv1.weight");
    for (name, tensor) in &mut tensors {
        if name == "layer1.0.conv1.weight" {
            *tensor = Tensor::zeros([64, 64, 1, 1], (Kind::Float, Device::Cpu));
        }
        if name == "bn1.bias" {
            *tensor = Tensor::zeros([64], (Kind::Int64, Device::Cpu));
        }
    }
    let file = WeightsFolder::new(&tensors);
    let error = refusal(Architecture::Resnet18, &file.weights(), Freeze::All);
    let expected = format!(
        "{} does not fit resnet18: `conv1.weight` of shape [64, 3, 7, 7] is missing; \
         `bn1.bias`: expected F32, F16, BF16 or F64, found I64; \
         `layer1.0.conv1.weight`: expected shape [64, 64, 3, 3], found [64, 64, 1, 1]; \
         `layer2.0.bn1.running_var` of shape [128] is missing",
        file.weights()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_file_of_another_architecture_says_how_much_is_wrong() {
    let file = WeightsFolder::new(&resnet18());
    let error = refusal(Architecture::MobilenetV2, &file.weights(), Freeze::All);
    assert!(error.to_string().ends_with("; and 248 more"), "{error}");
    let begins = format!(
        "{} does not fit mobilenet_v2 (it looks like resnet18): it holds `bn1.bias`, `bn1.running_mean`, `bn1.running_var`, \
         and 97 more, which mobilenet_v2 does not know; `features.0.0.weight` of shape [32, 3, 3, 3] is missing; ",
        file.weights()
    );
    assert!(error.to_string().starts_with(&begins), "{error}");
    let ModelError::WeightsDoNotFit { problems, .. } = error else {
        panic!("another error")
    };
    assert_eq!(problems.len(), 260);
    assert!(
        problems
            .iter()
            .all(|problem| matches!(problem, TensorProblem::Missing { .. }))
    );
}

#[test]
fn pickles_are_refused_unread() {
    for name in ["model.pt", "model.pth", "pytorch_model.bin", "model.CKPT"] {
        let error = refusal(Architecture::Resnet18, &format!("/nowhere/{name}"), Freeze::All).to_string();
        assert!(
            error.starts_with(&format!("/nowhere/{name} is a pickle file, and opening a pickle runs")),
            "{error}"
        );
        let stem = name.rsplit_once('.').unwrap().0;
        assert!(
            error.ends_with(&format!(
                "sys.argv[2], {{'format': 'pt'}})\" '/nowhere/{name}' '/nowhere/{stem}.safetensors'"
            )),
            "the command ends with the files: {error}"
        );
    }
}

#[test]
fn a_pickle_under_another_name_is_refused_too() {
    let folder = tempfile::tempdir().unwrap();
    for (name, start) in [
        ("zip.safetensors", b"PK\x03\x04rest".as_slice()),
        ("old.safetensors", b"\x80\x02rest"),
        ("new.safetensors", b"\x80\x04rest"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, start).unwrap();
        let error = refusal(Architecture::Resnet18, path.to_str().unwrap(), Freeze::All);
        assert!(matches!(error, ModelError::PickleRefused { .. }), "{error}");
        let target = path.with_extension("converted.safetensors");
        assert!(
            error.to_string().ends_with(&format!("'{}'", target.display())),
            "the file itself is not overwritten: {error}"
        );
    }
}

#[test]
fn unreadable_files_are_named() {
    let error = refusal(Architecture::Resnet18, "/nowhere/model.safetensors", Freeze::All).to_string();
    assert_eq!(
        error,
        "cannot read /nowhere/model.safetensors: No such file or directory (os error 2)"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, b"not a weights file at all").unwrap();
    let error = refusal(Architecture::Resnet18, path.to_str().unwrap(), Freeze::All).to_string();
    assert!(
        error.starts_with(&format!("{} is not a readable safetensors file: ", path.display())),
        "{error}"
    );
}

#[test]
fn a_truncated_file_is_refused() {
    let file = WeightsFolder::new(&resnet18());
    let bytes = std::fs::read(file.weights()).unwrap();
    std::fs::write(file.weights(), &bytes[..bytes.len() - 1]).unwrap();
    let error = refusal(Architecture::Resnet18, &file.weights(), Freeze::All);
    assert!(matches!(error, ModelError::NotSafetensors { .. }), "{error}");
}

#[test]
fn the_accidents_of_a_download_are_named() {
    let file = WeightsFolder::new(&resnet18());
    let whole = std::fs::read(file.weights()).unwrap();
    let cases: [(&[u8], &str); 7] = [
        (b"", "it is empty"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras writes it"),
        (b"GGUF\x03\0\0\0", "it is a GGUF file, as llama.cpp reads it"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 46827520\n",
            "it is a Git LFS pointer, not the file that it points to; `git lfs pull` fetches that",
        ),
        (
            b"\n<!DOCTYPE html><html></html>",
            "it is an HTML page, perhaps the answer of a server that wants a login",
        ),
        (
            &whole[..whole.len() - 1000],
            "it is cut short: 1000 bytes less than its header says",
        ),
        (
            b"\xff\0\0\0\0\0\0\0{\"conv1.weight\"",
            "it is cut short: its header alone has 255 bytes, the file 23",
        ),
    ];
    for (bytes, reason) in cases {
        std::fs::write(file.weights(), bytes).unwrap();
        let error = refusal(Architecture::Resnet18, &file.weights(), Freeze::All).to_string();
        let expected = format!("{} is not a readable safetensors file: {reason}", file.weights());
        assert_eq!(error, expected);
    }
}

#[test]
fn the_weights_of_a_deeper_network_are_refused() {
    let file = WeightsFolder::new(&filled(&golden("images")["resnet34"]["tensors"]));
    let error = refusal(Architecture::Resnet18, &file.weights(), Freeze::All).to_string();
    let expected = format!(
        "{} holds more layers than resnet18 has (it looks like resnet34): \
         `layer1.2.bn1.bias`, `layer1.2.bn1.running_mean`, `layer1.2.bn1.running_var`, and 77 more would not be used",
        file.weights()
    );
    assert_eq!(error, expected);

    let case = &golden("berts")["small"];
    let mut config = case["config"].clone();
    config["num_hidden_layers"] = 2.into();
    let file = WeightsFolder::with_config(&filled(&case["tensors"]), &config);
    let error = refusal(Architecture::Bert, &file.weights(), Freeze::All).to_string();
    assert!(
        error.contains("holds more layers than bert has (it looks like 3 layers, the `config.json` beside it says 2)"),
        "{error}"
    );
}

#[test]
fn weights_of_another_family_say_which() {
    let case = &golden("berts")["small"];
    let tensors = filled(&case["tensors"]);
    let with_config = WeightsFolder::with_config(&tensors, &case["config"]);
    let alone = WeightsFolder::new(&tensors);
    for (file, looks_like) in [(with_config, "bert"), (alone, "bert of 3 layers")] {
        let error = refusal(Architecture::Resnet18, &file.weights(), Freeze::All).to_string();
        let begins = format!(
            "{} does not fit resnet18 (it looks like {looks_like}): ",
            file.weights()
        );
        assert!(error.starts_with(&begins), "{error}");
    }
    let narrow: Vec<_> = resnet18()
        .into_iter()
        .map(|(name, tensor)| match tensor.dim() {
            4 => (name, tensor.narrow(0, 0, 8).contiguous()),
            _ => (name, tensor),
        })
        .collect();
    let file = WeightsFolder::new(&narrow);
    let error = refusal(Architecture::Vgg11, &file.weights(), Freeze::All).to_string();
    assert!(
        error.contains("does not fit vgg11 (it looks like resnet18, with other sizes): "),
        "{error}"
    );
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    let mut tensors = resnet18();
    for (name, tensor) in &mut tensors {
        if name == "layer1.0.bn1.weight" {
            let _ = tensor.get(3).fill_(f64::NAN);
            let _ = tensor.get(5).fill_(f64::INFINITY);
        }
    }
    let file = WeightsFolder::new(&tensors);
    let error = refusal(Architecture::Resnet18, &file.weights(), Freeze::All).to_string();
    let expected = format!(
        "{} does not fit resnet18: `layer1.0.bn1.weight`: expected finite numbers, found 2 that are NaN or infinite",
        file.weights()
    );
    assert_eq!(error, expected);
}

#[test]
fn where_names_differ_both_sides_are_told_and_the_nearest() {
    let renamed: Vec<_> = resnet18()
        .into_iter()
        .map(|(name, tensor)| match name.as_str() {
            "conv1.weight" => ("conv0.weight".to_owned(), tensor),
            "layer1.0.bn1.bias" => ("layer1.0.bn1.beta".to_owned(), tensor),
            _ => (name, tensor),
        })
        .collect();
    let file = WeightsFolder::new(&renamed);
    let error = refusal(Architecture::Resnet18, &file.weights(), Freeze::All).to_string();
    let expected = format!(
        "{} does not fit resnet18: it holds `conv0.weight`, `layer1.0.bn1.beta`, which resnet18 does not know; \
         `conv1.weight` of shape [64, 3, 7, 7] is missing (is it `conv0.weight`?); \
         `layer1.0.bn1.bias` of shape [64] is missing (is it `layer1.0.bn1.beta`?)",
        file.weights()
    );
    assert_eq!(error, expected);
}

#[test]
fn an_unknown_stage_lists_the_stages_and_the_nearest() {
    let error = refusal(
        Architecture::Resnet18,
        &WeightsFolder::new(&resnet18()).weights(),
        through("layer_3"),
    );
    assert_eq!(
        error.to_string(),
        "resnet18 has no stage `layer_3` to freeze through, did you mean `layer3`? \
         its stages are stem, layer1, layer2, layer3, layer4, pool"
    );
}

#[test]
fn a_model_can_move_to_another_thread() {
    let model = load(&spec(Architecture::MobilenetV2, None, Freeze::All)).unwrap();
    let stages = std::thread::spawn(move || model.summary().stages.len()).join().unwrap();
    assert_eq!(stages, 20);
}

#[test]
fn configurations_of_other_encoders_are_refused() {
    let case = &golden("berts")["small"];
    for (field, value, expected) in [
        (
            "model_type",
            json!("distilbert"),
            "field `model_type`: expected `bert`, found \"distilbert\"",
        ),
        (
            "hidden_act",
            json!("relu"),
            "field `hidden_act`: expected `gelu`, found \"relu\"",
        ),
        (
            "position_embedding_type",
            json!("relative_key"),
            "field `position_embedding_type`: expected `absolute`, found \"relative_key\"",
        ),
        (
            "hidden_size",
            json!(66),
            "field `hidden_size`: expected a multiple of num_attention_heads, found 66 with 4 heads",
        ),
        (
            "num_hidden_layers",
            json!(0),
            "field `num_hidden_layers`: expected a whole number from 1 to 16777215, found 0",
        ),
    ] {
        let mut config = case["config"].clone();
        config[field] = value;
        let file = WeightsFolder::with_config(&[("x".to_owned(), Tensor::from(0.0_f32))], &config);
        let error = refusal(Architecture::Bert, &file.weights(), Freeze::All).to_string();
        assert!(error.ends_with(expected), "{error}");
        assert!(error.contains("config.json"), "{error}");
    }
}

#[test]
fn a_bert_without_its_configuration_says_which_file_is_missing() {
    let file = WeightsFolder::new(&[("x".to_owned(), Tensor::from(0.0_f32))]);
    let error = refusal(Architecture::Bert, &file.weights(), Freeze::All).to_string();
    assert!(
        error.starts_with("cannot read ") && error.contains("config.json: No such file"),
        "{error}"
    );
}

#[test]
fn summaries_count_what_torchvision_counts() {
    let count = |architecture, freeze| load(&spec(architecture, None, freeze)).unwrap().summary();
    let all = count(Architecture::Resnet18, Freeze::All);
    assert_eq!(
        (all.frozen_parameters, all.trainable_parameters, all.cut.as_str()),
        (11_176_512, 2_565, "pool")
    );
    let none = count(Architecture::MobilenetV2, Freeze::Nothing);
    assert_eq!(
        (none.frozen_parameters, none.trainable_parameters, none.cut.as_str()),
        (0, 2_223_872 + 6_405, "none")
    );
    let part = count(Architecture::Resnet18, through("layer3"));
    assert_eq!(
        (part.frozen_parameters, part.cut.as_str()),
        (11_176_512 - 8_393_728, "layer3")
    );
}

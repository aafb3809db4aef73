//! Every stage of every family gives what the reference library gives, in the form that computes below the cut and in that which trains;
//! and every architecture has the tensors of its library, also those that are too large to be computed here.
//!
//! `tests/PARITY.md` holds the largest difference after each stage. `BLESS=1 cargo test --release -p firn-models --test models stages::`
//! writes it anew; the references come from `tests/reference/parity.py`.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Mutex};

use firn_core::spec::{Architecture, Freeze, Modality, Word};
use firn_models::{Features, Input, Library, Model};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::support::*;

const LIMIT: f64 = 1e-4;

fn libraries() -> [(&'static str, Library); 5] {
    [
        ("torchvision", Library::Torchvision),
        ("timm", Library::Timm),
        ("hugging_face", Library::HuggingFace),
        ("dinov2", Library::Dinov2),
        ("pytorch_resnet_cifar10", Library::PytorchResnetCifar10),
    ]
}

/// `vit_b_16.hugging_face`.
fn named(case: &str) -> (Architecture, Library) {
    let (word, library) = case.split_once('.').unwrap();
    let library = libraries().into_iter().find(|(name, _)| *name == library);
    (Architecture::from_word(word).unwrap(), library.unwrap().1)
}

/// The largest difference from the reference after each stage; the sum of all squares is compared as a root mean square is.
fn differences(model: &Model, input: &Input, expected: &Value) -> Vec<(String, f64)> {
    let is_text = model.input_modality() == Modality::Text;
    let mut found = Vec::new();
    for (stage, features) in model.stage_outputs(input).unwrap() {
        match expected.get(&stage) {
            Some(expected) => found.push((stage, difference(&features, &floats(expected)))),
            // What texts are pooled to depends on the spec; `parity.rs` has all of it.
            None => assert!(is_text && stage == "pool", "the reference has no `{stage}`"),
        }
    }
    assert_eq!(found.len(), expected.as_object().unwrap().len());
    found
}

fn difference(features: &Features, expected: &[f64]) -> f64 {
    let tensor = features.tensor.detach().to_kind(Kind::Double);
    let tensor = match &features.mask {
        Some(mask) => tensor * mask.unsqueeze(-1),
        None => tensor,
    };
    let flat = tensor.flatten(1, -1).contiguous();
    let (samples, width) = flat.size2().unwrap();
    let places: Vec<i64> = (0..12).map(|place| place * width / 12).collect();
    let values = flat.index_select(1, &Tensor::from_slice(&places)).contiguous().view(-1);
    let values: Vec<f64> = Vec::try_from(values).unwrap();
    assert_eq!(values.len() + 1, expected.len());
    let mean = |squares: f64| (squares / (samples * width) as f64).sqrt();
    let squares = flat.square().sum(Kind::Double).double_value(&[]);
    let pairs = values
        .iter()
        .zip(&expected[1..])
        .map(|(ours, theirs)| (ours - theirs).abs());
    pairs.fold((mean(squares) - mean(expected[0])).abs(), f64::max)
}

fn check(case: &str) {
    let (architecture, library) = named(case);
    let reference = golden(&format!("stages/{case}"));
    let tensors = filled_as(architecture, [library; 2], &reference["config"]);
    let worst = compare(architecture, &tensors, &reference);
    for (stage, difference) in &worst {
        println!("{case} {stage}: {difference:.2e}");
    }
    let far: Vec<_> = worst
        .iter()
        .filter(|(_, difference)| *difference > LIMIT || difference.is_nan())
        .collect();
    assert!(far.is_empty(), "{case}: more than {LIMIT:.0e} after {far:?}");
    table(case, &worst);
}

/// The largest differences of a network with these tensors from the reference, of both forms.
fn compare(architecture: Architecture, tensors: &[(String, Tensor)], reference: &Value) -> Vec<(String, f64)> {
    let file = WeightsFolder::with_config(tensors, &reference["config"]);
    let input = match reference["lengths"].as_array() {
        Some(_) => {
            let lengths: Vec<usize> = serde_json::from_value(reference["lengths"].clone()).unwrap();
            tokens(reference["config"]["vocab_size"].as_i64().unwrap(), &lengths)
        }
        None => {
            let size = reference["size"].as_u64().unwrap() as usize;
            images(size, size)
        }
    };
    let [frozen, trained] =
        [Freeze::All, Freeze::Nothing].map(|freeze| load(&spec(architecture, Some(file.weights()), freeze)).unwrap());
    let mut worst = differences(&frozen, &input, &reference["stages"]);
    let as_trained = differences(&trained, &input, &reference["stages"]);
    for ((_, worst), (_, other)) in worst.iter_mut().zip(as_trained) {
        *worst = worst.max(other);
    }
    if let Value::Array(logits) = &reference["logits"] {
        let model = with_head(frozen, reference["head"].as_str().unwrap());
        let ours = model.logits(&model.features(&input).unwrap(), None).unwrap();
        let ours: Vec<f64> = Vec::try_from(ours.detach().to_kind(Kind::Double).contiguous().view(-1)).unwrap();
        assert_eq!(ours.len(), logits.len());
        let pairs = ours.iter().zip(logits).map(|(a, b)| (a - b.as_f64().unwrap()).abs());
        worst.push(("head".to_owned(), pairs.fold(0.0, f64::max)));
    }
    worst
}

/// What the table begins with.
const HEADING: &str = "# Parity

The largest difference between what Firn and the reference library give after each stage, with the same weights (filled by a formula of their
names) and the same input, in fp32: of the form that computes below the cut and of that which trains, of values that are near 1. 1e-4 is
allowed. `worker/models/tests/models/stages.rs` writes this table and holds it complete; `worker/models/tests/reference/parity.py` is the
reference. Rows of the table of architectures that are not named here differ from one that is by numbers alone; the names and shapes of
all their tensors are compared with the library's.

| architecture | library | stage | largest difference |
|---|---|---|---|
";

fn table_path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/PARITY.md"))
}

/// The rows of the table by their case, `ARCHITECTURE.LIBRARY`: stage and difference as they are written.
fn rows(text: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let mut rows: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let case = format!("{}.{}", cells[0], cells[1]);
        rows.entry(case)
            .or_default()
            .push((cells[2].to_owned(), cells[3].to_owned()));
    }
    rows
}

/// Writes the rows of a case if that is asked for; else the table has to have them.
fn table(case: &str, worst: &[(String, f64)]) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut rows = rows(&fs::read_to_string(table_path()).unwrap_or_default());
    if std::env::var_os("BLESS").is_none() {
        let stages = rows.remove(case).unwrap_or_default();
        let stages: Vec<&String> = stages.iter().map(|(stage, _)| stage).collect();
        let expected: Vec<&String> = worst.iter().map(|(stage, _)| stage).collect();
        assert_eq!(stages, expected, "{case} in tests/PARITY.md; write it with BLESS=1");
        return;
    }
    let written = worst
        .iter()
        .map(|(stage, difference)| (stage.clone(), format!("{difference:.0e}")));
    rows.insert(case.to_owned(), written.collect());
    let mut text = HEADING.to_owned();
    for (case, stages) in rows {
        let (architecture, library) = case.split_once('.').unwrap();
        for (stage, difference) in stages {
            text += &format!("| `{architecture}` | {library} | `{stage}` | {difference} |\n");
        }
    }
    fs::write(table_path(), text).unwrap();
}

#[test]
fn the_table_of_differences_has_every_case_and_no_other() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/stages");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".json").unwrap().to_owned()
    };
    let mut cases: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    cases.sort();
    let rows = rows(&fs::read_to_string(table_path()).unwrap());
    assert_eq!(rows.into_keys().collect::<Vec<_>>(), cases);
}

/// FNV-1a of 64 bits.
fn digest(text: &str) -> String {
    let value = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{value:016x}")
}

/// `expected`: the number of tensors, and the digest of their names and shapes.
fn check_lines(what: &str, found: &[(String, Vec<i64>)], expected: &Value) {
    let mut lines: Vec<String> = found.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
    lines.sort();
    let advice = format!("compare with `reference/parity.py shapes {what}`: {lines:#?}");
    assert_eq!(
        lines.len() as u64,
        expected["tensors"].as_u64().unwrap(),
        "{what}: {advice}"
    );
    assert_eq!(digest(&lines.join("\n")), expected["digest"], "{what}: {advice}");
}

#[test]
fn every_architecture_of_images_has_the_tensors_of_its_library() {
    let shapes = golden("shapes");
    for &(word, architecture) in Architecture::WORDS {
        // Some have the sizes of a `config.json`, and TorchScript those of its file.
        if architecture.modality() == Modality::Text
            || architecture.sizes_are_configured()
            || architecture == Architecture::TorchScript
        {
            continue;
        }
        let mut compared = 0;
        for (name, library) in libraries() {
            let Some(expected) = shapes.get(format!("{word}.{name}")) else {
                continue;
            };
            let found = firn_models::tensors(&spec(architecture, None, Freeze::All), library).unwrap();
            let found = found.unwrap_or_else(|| panic!("{word} knows no names of {name}"));
            check_lines(&format!("{word} {name}"), &found, expected);
            compared += 1;
        }
        assert!(compared > 0, "golden/shapes.json lacks {word}");
    }
}

fn all(architectures: &[&str], library: &str) {
    for architecture in architectures {
        check(&format!("{architecture}.{library}"));
    }
}

#[test]
fn resnets_equal_torchvisions() {
    all(
        &["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"],
        "torchvision",
    );
}

#[test]
fn resnexts_and_wide_resnets_equal_torchvisions() {
    all(
        &["resnext50_32x4d", "resnext101_64x4d", "wide_resnet50_2"],
        "torchvision",
    );
}

#[test]
fn resnets_for_cifar_equal_those_that_their_weights_come_from() {
    all(&["resnet20_cifar", "resnet56_cifar"], "pytorch_resnet_cifar10");
}

#[test]
fn mobilenets_equal_torchvisions() {
    all(
        &["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"],
        "torchvision",
    );
}

#[test]
fn mobilenets_under_timms_names_equal_timms() {
    all(&["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"], "timm");
}

#[test]
fn efficientnets_equal_torchvisions() {
    all(
        &["efficientnet_b0", "efficientnet_b3", "efficientnet_b5"],
        "torchvision",
    );
}

#[test]
fn vggs_equal_torchvisions() {
    all(&["vgg11", "vgg11_bn"], "torchvision");
}

#[test]
fn vggs_under_timms_names_equal_timms() {
    all(&["vgg11", "vgg11_bn"], "timm");
}

#[test]
fn inception_v3_equals_torchvisions() {
    check("inception_v3.torchvision");
}

#[test]
fn convnexts_equal_torchvisions_and_those_of_transformers() {
    check("convnext_tiny.torchvision");
    check("convnext_tiny.hugging_face");
}

#[test]
fn vision_transformers_equal_torchvisions_and_those_of_transformers() {
    all(&["vit_b_16", "vit_b_32", "deit_tiny_patch16_224"], "torchvision");
    all(&["vit_b_32", "deit_tiny_patch16_224"], "hugging_face");
}

#[test]
fn dinov2_equals_those_of_transformers_and_timm_with_positions_of_smaller_images() {
    check("dinov2_vits14.hugging_face");
    check("dinov2_vits14.timm");
}

#[test]
fn dinov2_with_registers_equals_those_of_transformers_and_timm() {
    check("dinov2_vits14_reg.hugging_face");
    check("dinov2_vits14_reg.timm");
}

/// Their class token has a position, which timm has added to the token itself.
#[test]
fn files_of_the_authors_of_dinov2_with_registers_are_computed_as_timms() {
    let architecture = Architecture::Dinov2VitS14Reg;
    let position = fill("position of the class token", &[1, 1, 384]);
    let mut tensors = filled_as(architecture, [Library::Timm; 2], &Value::Null);
    for (name, tensor) in &mut tensors {
        match name.as_str() {
            "reg_token" => "register_tokens".clone_into(name),
            "cls_token" => *tensor = &*tensor - &position,
            "pos_embed" => *tensor = Tensor::cat(&[&position, &*tensor], 1),
            _ => {}
        }
    }
    tensors.push((
        "mask_token".to_owned(),
        Tensor::zeros([1, 384], (Kind::Float, tch::Device::Cpu)),
    ));
    let names = shapes_of(architecture, Library::Dinov2, &Value::Null);
    assert!(names.iter().all(|(name, shape)| {
        tensors
            .iter()
            .any(|(found, tensor)| found == name && tensor.size() == *shape)
    }));
    let differences = compare(architecture, &tensors, &golden("stages/dinov2_vits14_reg.timm"));
    assert!(
        differences.iter().all(|(_, difference)| *difference < LIMIT),
        "{differences:?}"
    );
}

#[test]
fn swins_equal_torchvisions_and_those_of_transformers() {
    check("swin_t.torchvision");
    check("swin_t.hugging_face");
}

#[test]
fn the_second_swins_equal_those_of_torchvision_transformers_and_timm() {
    check("swin_v2_t.torchvision");
    check("swin_v2_t.hugging_face");
    check("swin_v2_t.timm");
}

#[test]
fn files_under_timms_names_are_computed_as_torchvisions() {
    let architectures = [
        Architecture::DeitTinyPatch16_224,
        Architecture::ConvnextTiny,
        Architecture::EfficientnetB0,
        Architecture::SwinT,
    ];
    for architecture in architectures {
        let reference = golden(&format!("stages/{}.torchvision", architecture.word()));
        let tensors = filled_as(architecture, [Library::Timm, Library::Torchvision], &Value::Null);
        let differences = compare(architecture, &tensors, &reference);
        assert!(
            differences.iter().all(|(_, difference)| *difference < LIMIT),
            "{differences:?}"
        );
    }
}

/// transformers 5 renames the layers of files that were published before.
#[test]
fn published_files_of_vision_transformers_are_computed_as_those_of_transformers_5() {
    let architecture = Architecture::DeitTinyPatch16_224;
    let published = |name: &str| {
        let renamed = [
            ("vit.layers.", "vit.encoder.layer."),
            ("attention.q_proj", "attention.attention.query"),
            ("attention.k_proj", "attention.attention.key"),
            ("attention.v_proj", "attention.attention.value"),
            ("attention.o_proj", "attention.output.dense"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
        ];
        renamed
            .iter()
            .fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
    };
    let tensors = filled_as(architecture, [Library::HuggingFace; 2], &Value::Null);
    let tensors: Vec<_> = tensors
        .into_iter()
        .map(|(name, tensor)| (published(&name), tensor))
        .collect();
    assert!(
        tensors
            .iter()
            .any(|(name, _)| name == "vit.encoder.layer.3.attention.attention.key.bias")
    );
    let differences = compare(
        architecture,
        &tensors,
        &golden("stages/deit_tiny_patch16_224.hugging_face"),
    );
    assert!(
        differences.iter().all(|(_, difference)| *difference < LIMIT),
        "{differences:?}"
    );
}

#[test]
fn text_networks_equal_those_of_transformers() {
    all(&["bert", "roberta", "distilbert", "gpt2"], "hugging_face");
    all(&["modernbert", "llama", "qwen2", "qwen3"], "hugging_face");
}

#[test]
fn text_networks_of_published_sizes_have_the_tensors_of_transformers() {
    for (name, published) in golden("published").as_object().unwrap() {
        let config = &published["config"];
        let architecture = Architecture::from_word(config["model_type"].as_str().unwrap()).unwrap();
        let shapes = shapes_of(architecture, Library::HuggingFace, config);
        check_lines(name, &shapes, published);
    }
}

/// Sentence encoders are published without the layer that stands before the head, and without its prefix.
#[test]
fn a_bare_modernbert_ends_with_its_pool() {
    let reference = golden("stages/modernbert.hugging_face");
    let tensors = filled_as(
        Architecture::ModernBert,
        [Library::HuggingFace; 2],
        &reference["config"],
    );
    let bare = tensors.into_iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix("model.")?.to_owned();
        Some((name, tensor))
    });
    let file = WeightsFolder::with_config(&bare.collect::<Vec<_>>(), &reference["config"]);
    let model = load(&spec(Architecture::ModernBert, Some(file.weights()), Freeze::All)).unwrap();
    let outputs = model.stage_outputs(&tokens(200, &[17, 5, 1, 11])).unwrap();
    let [.., (norm, states), (_, pooled), (last, features)] = outputs.as_slice() else {
        unreachable!("it has more stages")
    };
    assert_eq!([norm.as_str(), last.as_str()], ["norm", "transform"]);
    assert!(features.tensor.equal(&pooled.tensor));
    let worst = difference(states, &floats(&reference["stages"]["norm"]));
    assert!(worst < LIMIT, "{worst}");
}

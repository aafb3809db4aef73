//! Every stage of every family gives what the reference library gives, in the form that computes below the cut and in that which trains.
//!
//! `tests/PARITY.md` holds the largest difference after each stage. `BLESS=1 cargo test --release -p firn-models --test models stages::`
//! writes it anew; the references come from `tests/reference/parity.py`.

mod shapes;
mod table;

use firn_core::spec::{Architecture, Freeze, Pooling, Word};
use firn_models::{Features, Input, Library, Model};
use serde_json::Value;
use tch::{Kind, Tensor};

use self::table::table;
use crate::{reference::difference, support::*};

const LIMIT: f64 = 1e-4;
/// What is compared differs between samples by this at least, as a root mean square: a fault in what depends on the input is far above the limit.
const SPREAD: f64 = 100.0 * LIMIT;

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

/// The largest difference from the reference after each stage.
fn differences(model: &Model, input: &Input, expected: &Value) -> Vec<(String, f64)> {
    let outputs = model.stage_outputs(input).unwrap();
    assert_eq!(outputs.len(), expected.as_object().unwrap().len());
    let compared = outputs.into_iter().map(|(stage, features)| {
        let expected = expected.get(&stage);
        let expected = expected.unwrap_or_else(|| panic!("the reference has no `{stage}`"));
        let difference = difference(&states(&features), &floats(expected));
        (stage, difference)
    });
    compared.collect()
}

/// Those of padding are 0.
fn states(features: &Features) -> Tensor {
    match &features.mask {
        Some(mask) => &features.tensor * mask.unsqueeze(-1),
        None => features.tensor.shallow_clone(),
    }
}

fn check(case: &str) {
    let (architecture, library) = named(case);
    let reference = golden(&format!("stages/{case}"));
    check_spread(case, &reference);
    let tensors = filled_as(architecture, [library; 2], &reference["config"]);
    let worst = compare(architecture, tensors, &reference);
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

/// The samples differ in what is compared of each stage, and in the logits.
fn check_spread(case: &str, reference: &Value) {
    let samples = reference["lengths"].as_array().map_or(2, Vec::len);
    let stages = reference["stages"].as_object().unwrap().iter();
    // Before the values stands the sum of their squares.
    let stages = stages.map(|(stage, values)| (stage.as_str(), floats(values).split_off(1)));
    for (stage, values) in stages.chain([("head", floats(&reference["logits"]))]) {
        let found = spread(&values, samples);
        assert!(
            found > SPREAD,
            "{case}: samples differ by {found:.1e} alone after `{stage}`"
        );
    }
}

/// How far the values of so many samples are from their mean, as a root mean square over all places. Places at which a sample has 0, as behind the
/// end of a short text, are left out.
fn spread(values: &[f64], samples: usize) -> f64 {
    let width = values.len() / samples;
    let at = |place| (0..samples).map(move |sample| values[sample * width + place]);
    let kept = (0..width).filter(|&place| at(place).all(|value| value != 0.0));
    let squares = kept.flat_map(|place| {
        let mean = at(place).sum::<f64>() / samples as f64;
        at(place).map(move |value| (value - mean).powi(2))
    });
    let (count, sum) = squares.fold((0, 0.0), |(count, sum), square| (count + 1, sum + square));
    (sum / f64::from(count)).sqrt()
}

/// Multiplies the running variances by those that the reference has measured: a number of each BatchNorm, in order of their names.
fn follow_variances(tensors: &mut [(String, Tensor)], reference: &Value) {
    let Value::Array(variances) = &reference["variances"] else {
        return;
    };
    let mut norms: Vec<_> = tensors
        .iter_mut()
        .filter(|(name, _)| name.ends_with(".running_var"))
        .collect();
    norms.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(norms.len(), variances.len(), "one variance of each BatchNorm");
    for ((_, filled), variance) in norms.into_iter().zip(variances) {
        *filled = &*filled * variance.as_f64().unwrap();
    }
}

/// The largest differences of a network with these tensors from the reference, of both forms.
fn compare(architecture: Architecture, mut tensors: Vec<(String, Tensor)>, reference: &Value) -> Vec<(String, f64)> {
    follow_variances(&mut tensors, reference);
    let file = WeightsFolder::with_config(&tensors, &reference["config"]);
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
    let [frozen, trained] = [Freeze::All, Freeze::Nothing].map(|freeze| {
        let mut spec = spec(architecture, Some(file.weights()), freeze);
        if let Some(word) = reference["pooling"].as_str() {
            spec.pooling = Pooling::from_word(word).unwrap();
        }
        load(&spec).unwrap()
    });
    let mut worst = differences(&frozen, &input, &reference["stages"]);
    let as_trained = differences(&trained, &input, &reference["stages"]);
    for ((_, worst), (_, other)) in worst.iter_mut().zip(as_trained) {
        *worst = worst.max(other);
    }
    let model = with_head(frozen, reference["head"].as_str().unwrap());
    let ours = model.logits(&model.features(&input).unwrap(), None).unwrap();
    let ours: Vec<f64> = Vec::try_from(ours.detach().to_kind(Kind::Double).contiguous().view(-1)).unwrap();
    let logits = floats(&reference["logits"]);
    assert_eq!(ours.len(), logits.len());
    let pairs = ours.iter().zip(logits).map(|(a, b)| (a - b).abs());
    worst.push(("head".to_owned(), pairs.fold(0.0, f64::max)));
    worst
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
fn networks_of_timm_under_its_names_equal_timms() {
    all(&["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"], "timm");
    // The larger one is normalised otherwise in torchvision.
    all(&["efficientnet_b0", "efficientnet_b5"], "timm");
    all(&["convnext_tiny", "deit_tiny_patch16_224", "swin_t"], "timm");
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
    // Its first wide layer gives a map of so large an image.
    check("vgg11.timm");
    check("vgg11_bn.timm");
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
    let differences = compare(architecture, tensors, &golden("stages/dinov2_vits14_reg.timm"));
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
        tensors,
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
    let [.., (norm, normalised), (_, pooled), (last, features)] = outputs.as_slice() else {
        unreachable!("it has more stages")
    };
    assert_eq!([norm.as_str(), last.as_str()], ["norm", "transform"]);
    assert!(features.tensor.equal(&pooled.tensor));
    let worst = difference(&states(normalised), &floats(&reference["stages"]["norm"]));
    assert!(worst < LIMIT, "{worst}");
}

//! Outputs equal torchvision's and transformers' on the same weights and inputs.

use std::io::Write as _;
use std::path::Path;

use firn_core::spec::{Architecture, Freeze, Pooling, Preprocessing};
use firn_models::{Features, Input, Model};
use serde_json::Value;
use tch::{Device, Tensor};

use crate::support::*;

const LIMIT: f64 = 1e-4;

fn image_case(name: &str, architecture: Architecture, head: &str, cuts: &[Freeze]) {
    let case = &golden("images")[name];
    let file = WeightsFolder::new(&filled(&case["tensors"]));
    let size = |field: &str| case[field].as_u64().unwrap() as usize;
    let input = images(size("height"), size("width"));
    for cut in cuts {
        let model = with_head(
            load(&spec(architecture, Some(file.weights()), cut.clone())).unwrap(),
            head,
        );
        let features = model.features(&input).unwrap();
        let logits = model.logits(&features, None).unwrap();
        close(
            &format!("{name}, frozen {cut:?}: logits"),
            &logits,
            &floats(&case["logits"]),
            LIMIT,
        );
        if let (Freeze::All, Value::Array(_)) = (cut, &case["features"]) {
            let features = features.tensor.narrow(1, 0, 256);
            close(
                &format!("{name}: features"),
                &features,
                &floats(&case["features"]),
                LIMIT,
            );
        }
    }
}

#[test]
fn resnet18_equals_torchvisions_at_every_cut() {
    let cuts = [
        Freeze::All,
        through("stem"),
        through("layer2"),
        through("layer4"),
        Freeze::Nothing,
    ];
    image_case("resnet18", Architecture::Resnet18, "fc", &cuts);
}

#[test]
fn resnet34_equals_torchvisions() {
    image_case("resnet34", Architecture::Resnet34, "fc", &[Freeze::All]);
}

#[test]
fn resnet50_equals_torchvisions() {
    image_case(
        "resnet50",
        Architecture::Resnet50,
        "fc",
        &[Freeze::All, through("layer1"), Freeze::Nothing],
    );
}

#[test]
fn resnet101_equals_torchvisions() {
    image_case("resnet101", Architecture::Resnet101, "fc", &[Freeze::All]);
}

#[test]
fn resnet152_equals_torchvisions() {
    image_case("resnet152", Architecture::Resnet152, "fc", &[Freeze::All]);
}

#[test]
fn mobilenet_v2_equals_torchvisions_at_every_cut() {
    let cuts = [
        Freeze::All,
        through("features.0"),
        through("features.9"),
        through("features.18"),
        Freeze::Nothing,
    ];
    image_case("mobilenet_v2", Architecture::MobilenetV2, "classifier.1", &cuts);
}

#[test]
fn a_resnet_under_hugging_faces_names_equals_transformers() {
    image_case(
        "resnet18_hugging_face",
        Architecture::Resnet18,
        "classifier.1",
        &[Freeze::All, through("layer3")],
    );
}

/// The first values of each sample after every stage at which the cut can stand, and the logits.
fn vgg_case(name: &str, architecture: Architecture, cuts: &[&str]) {
    let case = &golden("vggs")[name];
    let file = WeightsFolder::new(&filled(&case["tensors"]));
    let input = images(64, 64);
    for cut in cuts {
        let loaded = load(&spec(architecture, Some(file.weights()), through(cut))).unwrap();
        let model = with_head(loaded, "classifier.6");
        let features = model.features(&input).unwrap();
        let stage = model.summary().cut;
        let first = features.tensor.flatten(1, -1).narrow(1, 0, 64);
        let expected = floats(&case["stages"][stage.as_str()]);
        close(&format!("{name}: features after {stage}"), &first, &expected, LIMIT);
        let logits = model.logits(&features, None).unwrap();
        let expected = floats(&case["logits"]);
        close(
            &format!("{name}, frozen through {stage}: logits"),
            &logits,
            &expected,
            LIMIT,
        );
    }
}

#[test]
fn vgg_equals_torchvisions_after_every_stage() {
    // One after the other: each needs 500 MB for the first wide layer alone.
    let blocks = ["block1", "block2", "block3", "block4"];
    let above = ["pool", "classifier.0", "classifier.3"];
    vgg_case("vgg11", Architecture::Vgg11, &[&blocks[..], &above].concat());
    vgg_case("vgg16_bn", Architecture::Vgg16Bn, &[&blocks[..], &above].concat());
}

fn inception_model(freeze: Freeze) -> Model {
    let file = WeightsFolder::new(&filled(&golden("inception")["tensors"]));
    with_head(
        load(&spec(Architecture::InceptionV3, Some(file.weights()), freeze)).unwrap(),
        "fc",
    )
}

#[test]
fn inception_v3_equals_torchvisions_after_every_stage() {
    let case = &golden("inception");
    let input = images(96, 80);
    for stage in Architecture::InceptionV3.stages(0) {
        let model = inception_model(through(&stage));
        let features = model.features(&input).unwrap();
        let cut = model.summary().cut;
        let flat = features.tensor.flatten(1, -1);
        let width = flat.size()[1];
        let places: Vec<i64> = (0..64).map(|place| place * width / 64).collect();
        let values = flat.index_select(1, &Tensor::from_slice(&places));
        let expected = floats(&case["stages"][cut.as_str()]);
        close(
            &format!("inception_v3: features after {cut}"),
            &values,
            &expected,
            LIMIT,
        );
        let logits = model.logits(&features, None).unwrap();
        close(
            &format!("inception_v3, frozen through {cut}: logits"),
            &logits,
            &floats(&case["logits"]),
            LIMIT,
        );
    }
}

#[test]
fn the_preprocessing_of_inception_v3_is_what_torchvision_makes_of_its_own_with_transform_input() {
    let Preprocessing::Image { mean, std, .. } = Architecture::InceptionV3.default_preprocessing() else {
        unreachable!("it takes images")
    };
    let Input::Images(pixels) = images(96, 80) else {
        unreachable!("images make images")
    };
    let channels = |values: [f64; 3]| tensor(&values, &[3, 1, 1]);
    let normalised = (pixels / 4 + 0.5 - channels(mean)) / channels(std);
    let model = inception_model(Freeze::All);
    let logits = model
        .logits(&model.features(&Input::Images(normalised)).unwrap(), None)
        .unwrap();
    let expected = floats(&golden("inception")["transformed"]);
    close("inception_v3, transformed input: logits", &logits, &expected, LIMIT);
}

fn bert_case(name: &str, cuts: &[Freeze], rename: impl Fn(String) -> String) {
    let case = &golden("berts")[name];
    let tensors: Vec<_> = filled(&case["tensors"])
        .into_iter()
        .map(|(name, tensor)| (rename(name), tensor))
        .collect();
    let file = WeightsFolder::with_config(&tensors, &case["config"]);
    let lengths: Vec<usize> = case["lengths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap() as usize)
        .collect();
    let input = tokens(case["config"]["vocab_size"].as_i64().unwrap(), &lengths);
    for cut in cuts {
        let spec = spec(Architecture::Bert, Some(file.weights()), cut.clone());
        let model = with_head(load(&spec).unwrap(), "classifier");
        let features = model.features(&input).unwrap();
        let logits = model.logits(&features, None).unwrap();
        close(
            &format!("{name}, frozen {cut:?}: logits"),
            &logits,
            &floats(&case["logits"]),
            LIMIT,
        );
        if *cut == Freeze::All {
            close(
                &format!("{name}: mean"),
                &features.tensor,
                &floats(&case["mean"]),
                LIMIT,
            );
        }
    }
    let mut first = spec(Architecture::Bert, Some(file.weights()), Freeze::All);
    first.pooling = Pooling::Cls;
    let features = load(&first).unwrap().features(&input).unwrap();
    close(
        &format!("{name}: first token"),
        &features.tensor,
        &floats(&case["cls"]),
        LIMIT,
    );
}

#[test]
fn a_small_bert_with_padding_equals_transformers_at_every_cut() {
    let cuts = [
        Freeze::All,
        through("embeddings"),
        through("layer.1"),
        through("layer.2"),
        Freeze::Nothing,
    ];
    bert_case("small", &cuts, |name| name);
}

#[test]
fn a_bert_of_minilms_shape_equals_transformers_under_the_names_of_sentence_encoders() {
    bert_case("minilm", &[Freeze::All, through("layer.3")], |name| {
        name.trim_start_matches("bert.").to_owned()
    });
}

#[test]
fn old_names_of_layer_norms_are_understood() {
    let old = |name: String| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    };
    bert_case("small", &[Freeze::All], old);
}

/// Under the names of a language model, or with `trim` of the first published files.
fn gpt2_weights(case: &Value, trim: &str) -> WeightsFolder {
    let tensors: Vec<_> = filled(&case["tensors"])
        .into_iter()
        .map(|(name, tensor)| (name.trim_start_matches(trim).to_owned(), tensor))
        .collect();
    WeightsFolder::with_config(&tensors, &case["config"])
}

fn gpt2_spec(file: &WeightsFolder, freeze: Freeze) -> firn_core::spec::ModelSpec {
    let mut spec = spec(Architecture::Gpt2, Some(file.weights()), freeze);
    spec.pooling = Pooling::Last;
    spec
}

#[test]
fn a_small_gpt2_equals_transformers_after_every_stage() {
    let case = &golden("gpt2");
    let lengths: Vec<usize> = serde_json::from_value(case["lengths"].clone()).unwrap();
    let input = tokens(200, &lengths);
    for trim in ["", "transformer."] {
        let file = gpt2_weights(case, trim);
        for stage in ["embeddings", "layer.0", "layer.1", "layer.2"] {
            let model = load(&gpt2_spec(&file, through(stage))).unwrap();
            let features = model.features(&input).unwrap();
            let first = features.tensor.select(1, 0);
            close(
                &format!("gpt2: {stage}"),
                &first,
                &floats(&case["stages"][stage]),
                LIMIT,
            );
            let score = fill("score.weight", &[5, 64]);
            let logits = model.logits(&features, None).unwrap();
            assert_eq!(logits.size(), [4, 5]);
            let state: Vec<_> = model.trainable_state();
            assert!(
                state.iter().all(|(name, _)| name != "head.bias"),
                "the head has no bias"
            );
            let with_score: Vec<_> = state
                .into_iter()
                .map(|(name, tensor)| match name.as_str() {
                    "head.weight" => (name, score.shallow_clone()),
                    _ => (name, tensor),
                })
                .collect();
            model.load_state(&with_score).unwrap();
            let logits = model.logits(&features, None).unwrap();
            close(
                &format!("gpt2, frozen through {stage}: logits"),
                &logits,
                &floats(&case["logits"]),
                LIMIT,
            );
        }
        let last = load(&gpt2_spec(&file, Freeze::All)).unwrap().features(&input).unwrap();
        close("gpt2: last token", &last.tensor, &floats(&case["last"]), LIMIT);
        let mut mean = gpt2_spec(&file, Freeze::All);
        mean.pooling = Pooling::Mean;
        let mean = load(&mean).unwrap().features(&input).unwrap();
        close("gpt2: mean", &mean.tensor, &floats(&case["mean"]), LIMIT);
    }
}

#[test]
fn a_gpt2_reads_the_same_with_padding_on_the_left_and_on_the_right() {
    let case = &golden("gpt2");
    let file = gpt2_weights(case, "");
    let model = load(&gpt2_spec(&file, Freeze::All)).unwrap();
    let features = |ids: &[i64], mask: &[i64]| {
        let input = Input::tokens(ids, mask, ids.len(), Device::Cpu).unwrap();
        model.features(&input).unwrap().tensor
    };
    let alone = features(&[5, 6, 7], &[1, 1, 1]);
    let right = features(&[5, 6, 7, 9, 9], &[1, 1, 1, 0, 0]);
    let left = features(&[9, 9, 5, 6, 7], &[0, 0, 1, 1, 1]);
    for (side, padded) in [("right", right), ("left", left)] {
        let difference = (&alone - padded).abs().max().double_value(&[]);
        println!("gpt2, padding on the {side}: largest difference {difference:.2e}");
        assert!(difference < 1e-5, "{side}: {difference}");
    }
}

#[test]
fn padding_does_not_change_a_sentence() {
    let case = &golden("berts")["small"];
    let file = WeightsFolder::with_config(&filled(&case["tensors"]), &case["config"]);
    let model = load(&spec(Architecture::Bert, Some(file.weights()), Freeze::All)).unwrap();
    let alone = Input::tokens(&[5, 6, 7], &[1, 1, 1], 3, Device::Cpu).unwrap();
    let padded = Input::tokens(&[5, 6, 7, 9, 9], &[1, 1, 1, 0, 0], 5, Device::Cpu).unwrap();
    let difference = model.features(&alone).unwrap().tensor - model.features(&padded).unwrap().tensor;
    assert!(difference.abs().max().double_value(&[]) < 1e-6);
}

#[test]
fn features_computed_in_pieces_equal_those_of_one_batch() {
    let case = &golden("images")["mobilenet_v2"];
    let file = WeightsFolder::new(&filled(&case["tensors"]));
    let model = load(&spec(Architecture::MobilenetV2, Some(file.weights()), Freeze::All)).unwrap();
    let Input::Images(pixels) = images(64, 64) else {
        unreachable!("images make images")
    };
    let whole = model.features(&Input::Images(pixels.shallow_clone())).unwrap().tensor;
    let pieces: Vec<Tensor> = (0..2)
        .map(|i| model.features(&Input::Images(pixels.narrow(0, i, 1))).unwrap().tensor)
        .collect();
    assert!((Tensor::cat(&pieces, 0) - whole).abs().max().double_value(&[]) < 1e-5);
}

#[test]
fn stored_features_give_the_logits_of_fresh_ones() {
    let case = &golden("images")["resnet18"];
    let file = WeightsFolder::new(&filled(&case["tensors"]));
    let model = load(&spec(Architecture::Resnet18, Some(file.weights()), through("layer3"))).unwrap();
    let fresh = model.features(&images(64, 64)).unwrap();
    let values: Vec<f32> = Vec::try_from(fresh.tensor.contiguous().view(-1)).unwrap();
    let stored = Features::unmasked(Tensor::from_slice(&values).view(fresh.tensor.size().as_slice()));
    let difference = model.logits(&fresh, None).unwrap() - model.logits(&stored, None).unwrap();
    assert!(difference.abs().max().double_value(&[]) < 1e-5);
}

#[test]
fn a_real_sentence_encoder_gives_transformers_embeddings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/minilm");
    let weights = folder.join("model.safetensors");
    if !weights.exists() {
        // Written past the capture of the test harness, so that the skip is seen.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no real MiniLM at {}; `make demo` puts it there",
            weights.display()
        );
        return;
    }
    let case = golden("sentences");
    let rows = |field: &str| -> Vec<Vec<i64>> { serde_json::from_value(case[field].clone()).unwrap() };
    let (ids, mask) = (rows("ids"), rows("mask"));
    let input = Input::tokens(&ids.concat(), &mask.concat(), ids[0].len(), Device::Cpu).unwrap();
    let spec = spec(
        Architecture::Bert,
        Some(weights.to_str().unwrap().to_owned()),
        Freeze::All,
    );
    let features = load(&spec).unwrap().features(&input).unwrap();
    close(
        "real MiniLM: sentence embeddings",
        &features.tensor,
        &floats(&case["mean"]),
        LIMIT,
    );
}

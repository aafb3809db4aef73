//! Weights that are not as their library writes them today, and are taken all the same, with a note.

use firn_core::spec::{Architecture, Freeze};
use firn_models::{Model, WeightsNote};
use tch::{Kind, Tensor};

use crate::{support::*, weights::resnet18};

fn loaded(tensors: &[(String, Tensor)]) -> Model {
    let file = WeightsFolder::new(tensors);
    load(&spec(Architecture::Resnet18, Some(file.weights()), Freeze::All)).unwrap()
}

fn said(model: &Model) -> Vec<String> {
    model.weights_notes().iter().map(ToString::to_string).collect()
}

#[test]
fn prefixes_of_wrappers_are_taken_and_left_out_of_the_export() {
    let plain = WeightsFolder::new(&resnet18());
    let model = load(&spec(Architecture::Resnet18, Some(plain.weights()), Freeze::All)).unwrap();
    for prefix in [
        "module.",
        "model.",
        "backbone.",
        "module.model.",
        "model._orig_mod.",
        "net.",
    ] {
        let wrapped: Vec<_> = resnet18()
            .into_iter()
            .map(|(name, tensor)| (format!("{prefix}{name}"), tensor))
            .collect();
        let file = WeightsFolder::new(&wrapped);
        let wrapped = load(&spec(Architecture::Resnet18, Some(file.weights()), Freeze::All)).unwrap();
        assert_eq!(wrapped.frozen_digest(), model.frozen_digest(), "{prefix}");
        let path = file.folder.path().join("merged.safetensors");
        firn_models::export::merged(&wrapped, &path).unwrap();
        let names = |path: &std::path::Path| {
            let tensors = Tensor::read_safetensors(path).unwrap();
            let names = tensors.into_iter().map(|(name, _)| name);
            names.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(&path), resnet18().into_iter().map(|(name, _)| name).collect());
    }
}

#[test]
fn half_precision_files_are_read_as_single_precision() {
    let tensors: Vec<_> = resnet18()
        .into_iter()
        .map(|(name, tensor)| {
            let kind = if tensor.kind() == Kind::Int64 {
                Kind::Int64
            } else {
                Kind::BFloat16
            };
            (name, tensor.to_kind(kind))
        })
        .collect();
    let rounded: Vec<_> = tensors
        .iter()
        .map(|(name, t)| {
            (
                name.clone(),
                t.to_kind(if t.kind() == Kind::Int64 {
                    Kind::Int64
                } else {
                    Kind::Float
                }),
            )
        })
        .collect();
    let (half, single) = (WeightsFolder::new(&tensors), WeightsFolder::new(&rounded));
    let features = |file: &WeightsFolder| {
        let model = load(&spec(Architecture::Resnet18, Some(file.weights()), Freeze::All)).unwrap();
        (model.features(&images(32, 32)).unwrap().tensor, model.frozen_digest())
    };
    let ((half, half_digest), (single, single_digest)) = (features(&half), features(&single));
    assert!(half.equal(&single));
    assert_eq!(half_digest, single_digest, "the digest is of the numbers that compute");
}

#[test]
fn tensors_without_use_do_no_harm() {
    let mut tensors = resnet18();
    for name in ["pooler.dense.weight", "lm_head.bias", "embeddings.position_ids"] {
        tensors.push((name.to_owned(), Tensor::from_slice(&[1_i64, 2])));
    }
    load(&spec(
        Architecture::Resnet18,
        Some(WeightsFolder::new(&tensors).weights()),
        Freeze::All,
    ))
    .unwrap();
}

#[test]
fn what_is_taken_as_it_is_is_noted() {
    let plain: Vec<_> = resnet18()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("fc."))
        .collect();
    assert_eq!(loaded(&plain).weights_notes(), []);

    let unusual: Vec<_> = resnet18()
        .into_iter()
        .filter(|(name, _)| !name.ends_with("num_batches_tracked"))
        .map(|(name, tensor)| match name.ends_with("conv1.weight") {
            true => (name, tensor.to_kind(Kind::Half)),
            false => (name, tensor),
        })
        .map(|(name, tensor)| (format!("module.{name}"), tensor))
        .chain([("criterion.weight".to_owned(), Tensor::from_slice(&[1.0_f32, 2.0]))])
        .collect();
    let model = loaded(&unusual);
    assert_eq!(
        said(&model),
        [
            "the names begin with `module.`, which a training program put there: it is left out",
            "9 tensors are F16: they are computed in fp32",
            "`num_batches_tracked` is missing in 20 BatchNorm layers: nothing here reads it, and the export has 0",
            "the job has a head of its own, and no use for `criterion.weight`, `module.fc.bias`, `module.fc.weight`",
        ]
    );
    assert_eq!(
        model.weights_notes()[1],
        WeightsNote::Precision {
            dtype: "F16".to_owned(),
            tensors: 9
        }
    );
}

#[test]
fn older_names_of_layer_norms_are_noted() {
    let case = &golden("berts")["small"];
    let load_renamed = |rename: fn(String) -> String| {
        let tensors = filled(&case["tensors"]).into_iter();
        let tensors: Vec<_> = tensors.map(|(name, tensor)| (rename(name), tensor)).collect();
        let file = WeightsFolder::with_config(&tensors, &case["config"]);
        load(&spec(Architecture::Bert, Some(file.weights()), Freeze::All)).unwrap()
    };
    let is_about_names = |note: &&WeightsNote| matches!(note, WeightsNote::OldNames { .. });
    let today = load_renamed(|name| name);
    assert_eq!(today.weights_notes().iter().find(is_about_names), None);
    let old = load_renamed(|name| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    });
    assert_eq!(
        old.weights_notes().iter().find(is_about_names),
        Some(&WeightsNote::OldNames {
            key: "bert.embeddings.LayerNorm.gamma".to_owned(),
            usual: "bert.embeddings.LayerNorm.weight".to_owned(),
            tensors: 14
        })
    );
    assert_eq!(old.frozen_digest(), today.frozen_digest());
}

#[test]
fn a_backbone_in_a_lightning_module_is_taken_without_the_head_beside_it() {
    let tensors: Vec<_> = resnet18()
        .into_iter()
        .map(|(name, tensor)| match name.strip_prefix("fc.") {
            Some(tail) => (format!("model.head.{tail}"), tensor),
            None => (format!("model.backbone.{name}"), tensor),
        })
        .collect();
    let model = loaded(&tensors);
    assert_eq!(model.frozen_digest(), loaded(&resnet18()).frozen_digest());
    assert_eq!(
        said(&model),
        [
            "the names begin with `model.backbone.`, which a training program put there: it is left out",
            "the job has a head of its own, and no use for `model.head.bias`, `model.head.weight`",
        ]
    );
}

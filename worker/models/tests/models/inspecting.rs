//! What is said of weights files.

use std::collections::BTreeMap;

use firn_core::spec::{Architecture, Word};
use firn_models::{Inspection, Library, OutputLayer, inspect};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::{support::*, weights::resnet18};

fn inspected(tensors: &[(String, Tensor)]) -> Inspection {
    inspect(WeightsFolder::new(tensors).folder.path()).unwrap()
}

#[test]
fn a_file_that_fits_says_what_it_is() {
    let found = inspected(&resnet18());
    assert_eq!(found.architecture.as_deref(), Some("resnet18"));
    assert_eq!(found.library.as_deref(), Some("torchvision"));
    assert!(found.fits);
    let dtypes = BTreeMap::from([("F32".to_owned(), 102), ("I64".to_owned(), 20)]);
    assert_eq!((found.tensors, &found.dtypes), (122, &dtypes));
    assert_eq!(
        found.output,
        Some(OutputLayer {
            name: "fc".to_owned(),
            outputs: 5
        })
    );
    assert_eq!((found.problems, found.extra), (vec![], vec![]));
}

/// As `torch.save` of a `DataParallel` leaves them, without the counters.
#[test]
fn weights_of_a_resnet_for_cifar_are_known_by_their_depth() {
    for architecture in [Architecture::Resnet20Cifar, Architecture::Resnet110Cifar] {
        let tensors = filled_as(architecture, [Library::PytorchResnetCifar10; 2], &Value::Null);
        let output = ("linear.weight".to_owned(), fill("linear.weight", &[10, 64]));
        let wrapped = tensors.into_iter().chain([output]);
        let found = inspected(
            &wrapped
                .map(|(name, tensor)| (format!("module.{name}"), tensor))
                .collect::<Vec<_>>(),
        );
        assert_eq!(found.architecture.as_deref(), Some(architecture.word()));
        assert_eq!(found.library.as_deref(), Some("pytorch_resnet_cifar10"));
        assert!(found.fits, "{:?}", found.problems);
        assert_eq!(found.output.map(|output| output.outputs), Some(10));
        assert_eq!(found.extra, Vec::<String>::new());
    }
}

/// Several families of timm begin with the same name.
#[test]
fn timms_names_tell_networks_apart() {
    for (architecture, width) in [
        (Architecture::MobilenetV2, 1280),
        (Architecture::MobilenetV3Small, 1024),
        (Architecture::EfficientnetB0, 1280),
    ] {
        let mut tensors = filled_as(architecture, [Library::Timm; 2], &Value::Null);
        let output = "classifier.weight";
        tensors.push((output.to_owned(), fill(output, &[10, width])));
        let found = inspected(&tensors);
        assert_eq!(found.architecture.as_deref(), Some(architecture.word()));
        assert_eq!(found.library.as_deref(), Some("timm"));
        assert!(found.fits, "{:?}", found.problems);
        assert_eq!(found.output.map(|output| output.outputs), Some(10));
        assert_eq!(found.extra, Vec::<String>::new());
    }
}

#[test]
fn what_is_missing_and_what_is_too_much_is_told_beside_the_nearest_architecture() {
    let mut tensors = resnet18();
    tensors.retain(|(name, _)| name != "conv1.weight");
    tensors.push(("layer3.2.conv1.weight".to_owned(), Tensor::from_slice(&[1.0_f32])));
    let found = inspected(&tensors);
    assert_eq!(found.architecture.as_deref(), Some("resnet18"));
    assert!(!found.fits);
    assert_eq!(found.problems, ["`conv1.weight` of shape [64, 3, 7, 7] is missing"]);
    assert_eq!(found.extra, ["layer3.2.conv1.weight"]);
}

#[test]
fn another_librarys_half_precision_file_in_a_wrapper_is_known() {
    let case = &golden("berts")["small"];
    let half = filled(&case["tensors"])
        .into_iter()
        .map(|(name, tensor)| (format!("module.{name}"), tensor.to_kind(Kind::BFloat16)));
    let half: Vec<_> = half.collect();
    let file = WeightsFolder::with_config(&half, &case["config"]);
    let found = inspect(file.folder.path()).unwrap();
    assert_eq!(found.architecture.as_deref(), Some("bert"));
    assert_eq!(found.library.as_deref(), Some("transformers"));
    assert_eq!(found.layers, Some(3));
    assert!(found.fits, "{:?}", found.problems);
    assert!(
        found.notes.iter().any(|note| note.contains("are BF16")),
        "{:?}",
        found.notes
    );

    let alone = inspected(&half);
    assert!(!alone.fits);
    assert_eq!(
        alone.problems,
        ["no `config.json` is beside it, which says the sizes of such a network"]
    );
}

#[test]
fn a_file_of_something_else_is_counted_and_no_more() {
    let found = inspected(&[("weird.table".to_owned(), Tensor::from_slice(&[1.0_f32, 2.0, 3.0]))]);
    assert_eq!(found.architecture, None);
    assert_eq!((found.tensors, found.parameters, found.bytes), (1, 3, 12));
}

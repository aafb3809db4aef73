//! The folded form below the cut gives the numbers of the unfolded one.

use firn_core::spec::{Architecture, Freeze};
use tch::Tensor;

use crate::support::*;

#[test]
fn folding_changes_features_by_less_than_a_ten_thousandth() {
    for (name, architecture) in [
        ("resnet18", Architecture::Resnet18),
        ("resnet50", Architecture::Resnet50),
        ("mobilenet_v2", Architecture::MobilenetV2),
    ] {
        let file = WeightsFolder::new(&filled(&golden("images")[name]["tensors"]));
        let logits = |freeze| {
            let model = load(&spec(architecture, Some(file.weights()), freeze)).unwrap();
            model.logits(&model.features(&images(96, 80)).unwrap(), None).unwrap()
        };
        let (folded, unfolded): (Tensor, Tensor) = (logits(Freeze::All), logits(Freeze::Nothing));
        let reference: Vec<f64> = Vec::try_from(unfolded.detach().to_kind(tch::Kind::Double).view(-1)).unwrap();
        close(&format!("{name}: folded against unfolded"), &folded, &reference, 1e-4);
    }
}

#[test]
fn a_large_batch_is_computed_in_parts_without_a_difference() {
    let file = WeightsFolder::new(&filled(&golden("images")["mobilenet_v2"]["tensors"]));
    let model = load(&spec(
        Architecture::MobilenetV2,
        Some(file.weights()),
        through("features.3"),
    ))
    .unwrap();
    let firn_models::Input::Images(two) = images(48, 64) else {
        unreachable!("images make images")
    };
    let repeated = firn_models::Input::Images(Tensor::cat(&[&two, &two, &two, &two, &two, &two.narrow(0, 0, 1)], 0));
    let whole = model.features(&repeated).unwrap().tensor;
    let part = model.features(&firn_models::Input::Images(two)).unwrap().tensor;
    assert_eq!(whole.size()[0], 11);
    for sample in 0..11 {
        let difference = (whole.get(sample) - part.get(sample % 2)).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "sample {sample}: {difference}");
    }
}

#[test]
fn the_order_of_pixels_in_memory_does_not_matter() {
    let file = WeightsFolder::new(&filled(&golden("images")["resnet18"]["tensors"]));
    let model = load(&spec(Architecture::Resnet18, Some(file.weights()), Freeze::All)).unwrap();
    let firn_models::Input::Images(pixels) = images(64, 64) else {
        unreachable!("images make images")
    };
    let planar = firn_models::Input::Images(pixels.contiguous());
    assert!(!pixels.is_contiguous(), "made with the channels innermost");
    let difference = model.features(&planar).unwrap().tensor - model.features(&images(64, 64)).unwrap().tensor;
    assert!(difference.abs().max().double_value(&[]) < 1e-5);
}

#[test]
fn an_input_is_never_overwritten() {
    for architecture in [Architecture::Resnet18, Architecture::MobilenetV2] {
        let model = load(&spec(architecture, None, Freeze::All)).unwrap();
        let (input, before) = (images(64, 64), images(64, 64));
        model.features(&input).unwrap();
        let (firn_models::Input::Images(after), firn_models::Input::Images(before)) = (input, before) else {
            unreachable!("images make images")
        };
        assert!(after.equal(&before));
    }
}

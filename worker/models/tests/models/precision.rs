//! Products in bfloat16 below the cut: near those in single precision, as far from them as PyTorch's, and nowhere else.

use firn_core::spec::{Architecture, Freeze, Precision};
use firn_models::{Features, Input, Model};
use tch::{Kind, Tensor};

use crate::support::*;

/// The L2 norm of the difference by that of the reference.
fn deviation(found: &Tensor, reference: &Tensor) -> f64 {
    let norm = |tensor: &Tensor| tensor.square().sum(Kind::Double).double_value(&[]).sqrt();
    norm(&(found - reference)) / norm(reference)
}

/// Features with these stages reduced.
fn features(model: &mut Model, input: &Input, stages: usize) -> Features {
    model.reduce_precision(stages, Precision::Bfloat16);
    model.features(input).unwrap()
}

#[test]
fn features_in_bfloat16_are_as_near_to_single_precision_as_under_pytorchs_autocast() {
    let golden_reduced = golden("reduced");
    let file = WeightsFolder::new(&filled(&golden("images")["resnet18"]["tensors"]));
    let mut model = load(&spec(Architecture::Resnet18, Some(file.weights()), Freeze::All)).unwrap();
    let input = images(96, 80);
    let single = model.features(&input).unwrap().tensor;
    let reduced = features(&mut model, &input, usize::MAX).tensor;
    assert_eq!(reduced.kind(), Kind::Float);
    assert!(
        model
            .features_in_single_precision(&input)
            .unwrap()
            .tensor
            .equal(&single)
    );
    let (ours, theirs) = (
        deviation(&reduced, &single),
        golden_reduced["deviation"].as_f64().unwrap(),
    );
    let pytorchs = tensor(&floats(&golden_reduced["features"]), &[2, 256]);
    let apart = deviation(&reduced.narrow(1, 0, 256), &pytorchs);
    println!(
        "features in bfloat16: {ours:.2e} from single precision, PyTorch's {theirs:.2e}; {apart:.2e} from PyTorch's"
    );
    assert!(
        ours > 1e-4,
        "this test would not notice that nothing is rounded: {ours}"
    );
    assert!(ours < 2.0 * theirs && apart < 2.0 * theirs, "{ours}, {apart}, {theirs}");
    model.verify_frozen().unwrap();
}

#[test]
fn only_stages_below_the_cut_are_reduced_and_what_trains_is_computed_as_ever() {
    let file = WeightsFolder::new(&filled(&golden("images")["resnet18"]["tensors"]));
    let mut model = load(&spec(Architecture::Resnet18, Some(file.weights()), through("layer2"))).unwrap();
    let input = images(96, 80);
    let single = model.features(&input).unwrap();
    assert!(features(&mut model, &input, 0).tensor.equal(&single.tensor), "no stage");
    let first = features(&mut model, &input, 1);
    let all = features(&mut model, &input, usize::MAX);
    assert!(!first.tensor.equal(&single.tensor) && !all.tensor.equal(&first.tensor));
    // Of the same features, the logits are those of single precision.
    let logits = model.logits(&single, None).unwrap();
    model.reduce_precision(0, Precision::Single);
    assert!(model.logits(&single, None).unwrap().equal(&logits));
}

#[test]
fn text_encoders_are_reduced_too() {
    let case = &golden("berts")["small"];
    let file = WeightsFolder::with_config(&filled(&case["tensors"]), &case["config"]);
    let mut model = load(&spec(Architecture::Bert, Some(file.weights()), Freeze::All)).unwrap();
    let input = tokens(case["config"]["vocab_size"].as_i64().unwrap(), &[9, 4, 1]);
    let single = model.features(&input).unwrap().tensor;
    let found = deviation(&features(&mut model, &input, usize::MAX).tensor, &single);
    println!("features of a BERT in bfloat16: {found:.2e} from single precision");
    assert!(found > 1e-4 && found < 3e-2, "{found}");
}

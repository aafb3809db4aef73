//! What a model takes in, and what it refuses.

use firn_core::spec::{Architecture, Freeze};
use firn_models::Input;
use tch::{Device, Kind, Tensor};

use crate::support::*;

#[test]
fn inputs_of_the_wrong_kind_or_shape_are_refused() {
    let model = load(&spec(Architecture::Resnet18, None, Freeze::All)).unwrap();
    let refused = |input: &Input| model.features(input).unwrap_err().to_string();
    assert_eq!(
        refused(&tokens(10, &[3])),
        "input of the model: expected images, found tokens"
    );
    let grey = Input::Images(Tensor::zeros([2, 1, 8, 8], (Kind::Float, Device::Cpu)));
    assert_eq!(
        refused(&grey),
        "input of the model: expected float pixels (n, 3, h, w), found Float [2, 1, 8, 8]"
    );
}

#[test]
fn more_tokens_than_positions_are_refused() {
    let case = &golden("berts")["small"];
    let file = WeightsFolder::with_config(&filled(&case["tensors"]), &case["config"]);
    let model = load(&spec(Architecture::Bert, Some(file.weights()), Freeze::All)).unwrap();
    let error = model.features(&tokens(200, &[41])).unwrap_err().to_string();
    assert_eq!(
        error,
        "input of the model: expected ids and mask (n, at most 40), found [1, 41], [1, 41]"
    );
}

//! How long the vectors of a network are of which nothing is known: found out with two black images.

use firn_core::spec::Architecture;
use tch::{Device, Kind, Tensor};

use crate::{
    error::ModelError,
    stage::{Features, Pass, Stages},
};

/// Of what all stages give for images of so many pixels a side.
pub(super) fn feature_width(
    stages: &Stages,
    architecture: Architecture,
    (crop, device): (Option<u32>, Device),
) -> Result<i64, ModelError> {
    let crop = crop.or(architecture.default_preprocessing().crop());
    let side = i64::from(crop.expect("only networks of images are tried"));
    let images = Tensor::f_zeros([2, 3, side, side], (Kind::Float, device))?;
    let pass = Pass::default();
    let features = tch::no_grad(|| {
        let mut walked = stages.iter();
        walked.try_fold(Features::unmasked(images), |state, stage| stage.forward(state, &pass))
    })?;
    let (_, width) = features.tensor.size2()?;
    Ok(width)
}

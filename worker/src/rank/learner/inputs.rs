//! From decoded samples to what the network takes, and to what is expected of it.

use firn_data::{Batch, RawTensor, Targets, Values};
use firn_models::{Expected, Input};
use tch::Device;

use crate::rank::failure::RankFailure;

/// The network's input, on `device`: a line for each modality, known by its arrays.
pub(crate) fn input(batch: &Batch, device: Device) -> Result<Input, RankFailure> {
    let arrays = batch.tensors.arrays.iter();
    let arrays: Vec<_> = arrays
        .map(|RawTensor { name, shape, values }| (*name, &shape[..], values))
        .collect();
    Ok(match arrays[..] {
        [("pixels", &[height, width, 3], Values::Floats(pixels))] => Input::images(pixels, height, width, device)?,
        [
            ("ids", &[length], Values::Integers(ids)),
            ("mask", _, Values::Integers(mask)),
        ] => Input::tokens(ids, mask, length, device)?,
        _ => {
            let names: Vec<_> = arrays.iter().map(|(name, ..)| *name).collect();
            return Err(RankFailure::Internal(format!("no network takes {names:?}")));
        }
    })
}

/// What the objective compares the network's outputs with.
pub(super) fn expected(targets: &Targets) -> Expected<'_> {
    match targets {
        Targets::Classes(classes) => Expected::Classes(classes),
    }
}

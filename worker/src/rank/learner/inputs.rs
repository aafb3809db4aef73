//! From decoded samples to what the network takes, and to what is expected of it.

use firn_data::{Batch, BatchTensors, Targets};
use firn_models::{Expected, Input};
use tch::Device;

use crate::rank::failure::RankFailure;

/// The network's input, on `device`.
pub(crate) fn input(batch: &Batch, device: Device) -> Result<Input, RankFailure> {
    Ok(match &batch.tensors {
        BatchTensors::Images { pixels, height, width } => Input::images(pixels, *height, *width, device)?,
        BatchTensors::Tokens { ids, mask, length } => Input::tokens(ids, mask, *length, device)?,
    })
}

/// What the objective compares the network's outputs with.
pub(super) fn expected(targets: &Targets) -> Expected<'_> {
    match targets {
        Targets::Classes(classes) => Expected::Classes(classes),
    }
}

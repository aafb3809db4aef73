//! From decoded samples to what the network takes.

use firn_data::{Batch, BatchTensors};
use firn_models::Input;
use tch::Device;

use super::failure::RankFailure;

/// The network's input, on `device`.
pub(super) fn input(batch: &Batch, device: Device) -> Result<Input, RankFailure> {
    Ok(match &batch.tensors {
        BatchTensors::Images { pixels, height, width } => Input::images(pixels, *height, *width, device)?,
        BatchTensors::Tokens { ids, mask, length } => Input::tokens(ids, mask, *length, device)?,
    })
}

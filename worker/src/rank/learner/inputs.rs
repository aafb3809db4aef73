//! From decoded samples to what the network takes.

use firn_core::spec::Preprocessing;
use firn_data::{Batch, RawTensor, Values};
use firn_models::{Input, Normalisation};
use tch::{Device, Kind, Tensor};

use crate::rank::failure::RankFailure;

/// Makes the network's input of batches, on the device that computes.
pub(crate) struct Inputs {
    device: Device,
    /// Of the bytes of pictures.
    normalisation: Option<Normalisation>,
    /// Pixels a side of a picture.
    crop: i64,
}

impl Inputs {
    /// Of samples that were prepared in this way.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn new(preprocessing: &Preprocessing, device: Device) -> Result<Self, RankFailure> {
        let (normalisation, crop) = match preprocessing {
            Preprocessing::Image { mean, std, crop, .. } => (Some(Normalisation::new(mean, std, device)?), *crop),
            Preprocessing::Text { .. } => (None, 0),
        };
        Ok(Self {
            device,
            normalisation,
            crop: i64::from(crop),
        })
    }

    /// No picture at all.
    ///
    /// # Errors
    /// Those of libtorch.
    pub(crate) fn none(&self) -> Result<Input, RankFailure> {
        let shape = [0, 3, self.crop, self.crop];
        Ok(Input::Images(Tensor::f_zeros(shape, (Kind::Float, self.device))?))
    }

    /// Pixels a side of a picture; 0 of texts.
    pub(crate) fn side(&self) -> u32 {
        self.crop as u32
    }

    /// Where the network computes.
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// The network's input: a line for each modality, known by its arrays.
    ///
    /// # Errors
    /// Arrays that no network takes; those of libtorch.
    pub(crate) fn of(&self, batch: &Batch) -> Result<Input, RankFailure> {
        let arrays = batch.tensors.arrays.iter();
        let arrays: Vec<_> = arrays
            .map(|RawTensor { name, shape, values }| (*name, &shape[..], values))
            .collect();
        Ok(match arrays[..] {
            [("pixels", &[height, width, 3], Values::Bytes(pixels))] => {
                let normalisation = self.normalisation.as_ref();
                let normalisation =
                    normalisation.ok_or_else(|| RankFailure::Internal("a job of texts has pixels".to_owned()))?;
                normalisation.images(pixels, height, width)?
            }
            [("pixels", &[height, width, 3], Values::Floats(pixels))] => {
                Input::images(pixels, height, width, self.device)?
            }
            [
                ("ids", &[length], Values::Integers(ids)),
                ("mask", _, Values::Integers(mask)),
            ]
            | [
                ("ids", &[length], Values::Integers(ids)),
                ("mask", _, Values::Integers(mask)),
                // Which outputs count, the task asks for afterwards.
                ("words", _, _),
            ] => Input::tokens(ids, mask, length, self.device)?,
            [
                ("ids", &[length], Values::Integers(ids)),
                ("mask", _, Values::Integers(mask)),
                ("types", _, Values::Integers(types)),
            ] => Input::typed_tokens((ids, mask, Some(types)), length, self.device)?,
            _ => {
                let names: Vec<_> = arrays.iter().map(|(name, ..)| *name).collect();
                return Err(RankFailure::Internal(format!("no network takes {names:?}")));
            }
        })
    }
}

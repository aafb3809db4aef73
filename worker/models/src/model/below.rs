//! What is computed below the cut, and in which precision.

use firn_core::spec::Precision;
use tch::{Device, Tensor};

use super::Model;
use crate::{
    error::ModelError,
    input::Input,
    layers::precision,
    stage::{Features, Pass, Stage},
};

impl Model {
    /// Everything below the cut: eval mode, no gradient, no changed buffer.
    pub fn features(&self, input: &Input) -> Result<Features, ModelError> {
        let input = input.enter(self.input_modality(), self.max_length())?;
        let samples = input.tensor.size().first().copied().unwrap_or_default();
        tch::no_grad(|| match self.cache_friendly_samples(input.tensor.device()) {
            Some(part) if part < samples && !self.below_cut().is_empty() => {
                let starts = (0..samples).step_by(part as usize);
                let parts = starts.map(|start| {
                    let pixels = input.tensor.f_narrow(0, start, part.min(samples - start))?;
                    Ok(self.below(Features::unmasked(pixels), self.reduced)?.tensor)
                });
                Ok(Features::unmasked(Tensor::f_cat(
                    &parts.collect::<Result<Vec<_>, ModelError>>()?,
                    0,
                )?))
            }
            _ => self.below(input, self.reduced),
        })
    }

    /// The same, whatever precision its products were given.
    pub fn features_in_single_precision(&self, input: &Input) -> Result<Features, ModelError> {
        let input = input.enter(self.input_modality(), self.max_length())?;
        tch::no_grad(|| self.below(input, (0, Precision::Single)))
    }

    /// The products of the first `stages` have this precision.
    fn below(&self, input: Features, (stages, precision): (usize, Precision)) -> Result<Features, ModelError> {
        let pass = Pass {
            merges: self.merged.is_some(),
            ..Pass::default()
        };
        let below = self.below_cut();
        let (reduced, single) = below.split_at(stages.min(below.len()));
        let through = |state: Features, stages: &[Box<dyn Stage>]| {
            stages
                .iter()
                .try_fold(state, |state, stage| stage.forward(state, &pass))
        };
        let state = precision::within(precision, || through(input, reduced))?;
        through(state, single)
    }

    /// Stages in the form that computes below the cut.
    fn below_cut(&self) -> &[Box<dyn Stage>] {
        self.merged.as_ref().unwrap_or(&self.frozen)
    }

    pub(super) fn above_cut(&self) -> &[Box<dyn Stage>] {
        match self.merged {
            Some(_) => &[],
            None => &self.trained,
        }
    }

    /// From now on the products of that many stages have this precision, as far as they are below the cut.
    pub fn reduce_precision(&mut self, stages: usize, precision: Precision) {
        self.reduced = (stages, precision);
    }

    /// Images that a CPU computes fastest at once.
    fn cache_friendly_samples(&self, device: Device) -> Option<i64> {
        let samples = self.family.samples_a_thread().filter(|_| device == Device::Cpu)?;
        Some(samples * i64::from(tch::get_num_threads()).max(1))
    }
}

//! Losses of numbers: a function of each error, averaged over targets and summed over samples.
//!
//! The network learns standardised values, so that a rate that suits one target suits all, and a price in dollars needs no other one than the
//! same price in millions. With the mean over samples that follows they are `torch.nn.MSELoss`, `L1Loss` and `HuberLoss` of
//! (value - mean) / std.

pub use firn_core::task::regression::Distance;
use tch::{Reduction, Tensor};

use super::{LossSums, mismatch};
use crate::error::ModelError;

/// From the units of a target to what the network learns, and back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Of the training samples.
    pub mean: f64,
    /// Standard deviation of the training samples, above 0.
    pub std: f64,
}

impl Scale {
    /// What the network should give for a value.
    pub fn standardised(self, value: f64) -> f64 {
        (value - self.mean) / self.std
    }

    /// The value that an output of the network means.
    pub fn in_units(self, output: f64) -> f64 {
        output * self.std + self.mean
    }
}

/// Over one output for each target.
pub struct Distances {
    distance: Distance,
    scales: Vec<Scale>,
}

impl Distances {
    pub(super) fn new(distance: Distance, scales: Vec<Scale>) -> Self {
        Self { distance, scales }
    }

    /// Of each target, in the order of the outputs.
    pub fn scales(&self) -> &[Scale] {
        &self.scales
    }

    /// Of one sample, in doubles: its outputs, and its values in the units of the targets.
    pub fn loss(&self, outputs: &[f64], values: &[f64]) -> f64 {
        let pairs = self.scales.iter().zip(outputs.iter().zip(values));
        let costs = pairs.map(|(scale, (output, value))| self.distance.of(output - scale.standardised(*value)));
        costs.sum::<f64>() / self.scales.len() as f64
    }

    /// The sums over a batch: outputs `(n, targets)`; values n × targets, row-major, in the units of the targets.
    pub(super) fn sums(&self, outputs: &Tensor, values: &[f64]) -> Result<LossSums, ModelError> {
        let (batch, width) = outputs.size2()?;
        if self.scales.len() as i64 != width || values.len() as i64 != batch * width {
            return Err(mismatch(
                "numbers of a batch",
                format!("{batch} × {width}"),
                format!("{} of {} targets", values.len(), self.scales.len()),
            ));
        }
        let pairs = values.iter().zip(self.scales.iter().cycle());
        let standardised: Vec<f32> = pairs.map(|(value, scale)| scale.standardised(*value) as f32).collect();
        let expected = Tensor::f_from_slice(&standardised)?
            .f_view([batch, width])?
            .f_to_device(outputs.device())?;
        let sum = match self.distance {
            Distance::Squared => outputs.f_mse_loss(&expected, Reduction::Sum)?,
            Distance::Absolute => outputs.f_l1_loss(&expected, Reduction::Sum)?,
            Distance::Huber { delta } => outputs.f_huber_loss(&expected, Reduction::Sum, delta)?,
        };
        Ok(LossSums {
            loss: sum.f_div_scalar(width as f64)?,
            weight: batch as f64,
        })
    }
}

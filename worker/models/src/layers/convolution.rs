//! Convolution, BatchNorm and activation as one unit, in two forms: as trained, and folded for speed below the cut.
//!
//! In eval mode BatchNorm is y = (x-μ)·γ/√(σ²+ε) + β, an affine function of each channel, so it can be multiplied into the
//! convolution before it. The folded form is a copy; the originals stay as they were loaded, for the digest and the export.

use tch::{Device, Tensor};

pub(crate) use super::geometry::Geometry;
use super::{activation::Activation, precision};
use crate::{
    error::ModelError,
    parameter_builder::{Initial, ParameterBuilder, Role},
    shared_batch::{Leaves, NormTensors},
    stage::Statistics,
};

/// The numbers of a BatchNorm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchNorm {
    /// Added to the variance.
    pub(crate) epsilon: f64,
    /// Share of the batch in the running statistics.
    pub(crate) momentum: f64,
}

impl BatchNorm {
    /// PyTorch's defaults.
    pub(crate) const USUAL: Self = Self {
        epsilon: 1e-5,
        momentum: 0.1,
    };
    /// As TensorFlow's networks were trained, whose like torchvision has built so.
    pub(crate) const TENSORFLOW: Self = Self {
        epsilon: 1e-3,
        momentum: 0.01,
    };
}

/// Names of the two layers in the weights.
pub(crate) struct Names<'a> {
    pub(crate) convolution: &'a str,
    pub(crate) norm: &'a str,
}

/// Convolution → BatchNorm → activation, or convolution → activation.
pub(crate) enum Unit {
    Normalised(Normalised),
    Plain(Plain),
    Folded(Folded),
}

impl Unit {
    /// A unit with BatchNorm, with its tensors from `builder`; initialised as in torchvision: normal, He's variance over the outputs.
    pub(crate) fn normalised(
        builder: &mut ParameterBuilder<'_>,
        names: &Names<'_>,
        geometry: Geometry,
        activation: Activation,
        batch_norm: BatchNorm,
    ) -> Result<Self, ModelError> {
        let (weight, bias) = kernel(builder, names.convolution, geometry)?;
        let mut norm = |tail: &str, role, initial| {
            builder.tensor(&format!("{}.{tail}", names.norm), &[geometry.outputs], role, initial)
        };
        Ok(Self::Normalised(Normalised {
            name: names.convolution.to_owned(),
            weight,
            bias,
            scale: norm("weight", Role::Parameter, Initial::Ones)?,
            shift: norm("bias", Role::Parameter, Initial::Zeros)?,
            mean: norm("running_mean", Role::Statistic, Initial::Zeros)?,
            variance: norm("running_var", Role::Statistic, Initial::Ones)?,
            geometry,
            activation,
            batch_norm,
        }))
    }

    /// A unit without BatchNorm.
    pub(crate) fn plain(
        builder: &mut ParameterBuilder<'_>,
        name: &str,
        geometry: Geometry,
        activation: Activation,
    ) -> Result<Self, ModelError> {
        let (weight, bias) = kernel(builder, name, geometry)?;
        Ok(Self::Plain(Plain {
            name: name.to_owned(),
            weight,
            bias,
            geometry,
            activation,
        }))
    }

    /// Its output for a batch.
    pub(crate) fn forward(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, ModelError> {
        match self {
            Self::Normalised(unit) => unit.forward(input, statistics),
            Self::Plain(_) | Self::Folded(_) => {
                statistics.by_slice(input, |input, leaves| self.by_running_statistics(input, leaves))
            }
        }
    }

    /// The same by running statistics, which stay, with these parameters.
    pub(crate) fn by_running_statistics(&self, input: &Tensor, leaves: Leaves<'_>) -> Result<Tensor, ModelError> {
        match self {
            Self::Normalised(unit) => unit.by_running_statistics(input, leaves),
            Self::Plain(unit) => unit.forward(input, leaves),
            Self::Folded(unit) => unit.forward(input),
        }
    }

    /// The folded copy.
    pub(crate) fn folded(&self) -> Result<Self, ModelError> {
        Ok(Self::Folded(match self {
            Self::Normalised(unit) => unit.fold()?,
            Self::Plain(unit) => unit.fold()?,
            Self::Folded(unit) => unit.shallow_clone(),
        }))
    }

    /// Tensors of a folded unit with their names.
    pub(crate) fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        if let Self::Folded(unit) = self {
            into.push((format!("{}.folded.weight", unit.name), unit.weight.shallow_clone()));
            let bias = unit
                .bias
                .iter()
                .map(|bias| (format!("{}.folded.bias", unit.name), bias.shallow_clone()));
            into.extend(bias);
        }
    }

    /// Whether the result may be overwritten: it is new, and no gradient needs it.
    pub(crate) fn is_folded(&self) -> bool {
        matches!(self, Self::Folded(_))
    }
}

/// The tensors of a convolution, named as the builder is asked for them.
fn kernel(
    builder: &mut ParameterBuilder<'_>,
    name: &str,
    geometry: Geometry,
) -> Result<(Tensor, Option<Tensor>), ModelError> {
    let initial = Initial::Normal(geometry.deviation());
    let shape = geometry.weight_shape();
    let weight = builder.tensor(&format!("{name}.weight"), &shape, Role::Parameter, initial)?;
    let bias = geometry
        .bias
        .then(|| builder.tensor(&format!("{name}.bias"), &shape[..1], Role::Parameter, Initial::Zeros));
    Ok((weight, bias.transpose()?))
}

/// The three layers with their own tensors.
pub(crate) struct Normalised {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
    geometry: Geometry,
    activation: Activation,
    batch_norm: BatchNorm,
}

impl Normalised {
    fn forward(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, ModelError> {
        match statistics {
            Statistics::Running => self.by_running_statistics(input, Leaves::Parameters),
            Statistics::Batch => {
                let output = self.convolve(input, Leaves::Parameters)?;
                // One value of a channel has no variance: PyTorch refuses it, and a last batch of one sample would end the job.
                let (samples, _, rows, columns) = output.size4()?;
                let by_batch = samples * rows * columns > 1;
                self.activation
                    .apply(self.normalise(&output, by_batch, Leaves::Parameters)?)
            }
            Statistics::Shared(batch) => {
                let outputs = batch.pieces(input)?.map(|input, leaves| self.convolve(input, leaves))?;
                let normalised = match batch.normalise(&outputs, &self.tensors(), self.batch_norm)? {
                    Some(normalised) => normalised,
                    None => outputs.map(|output, leaves| self.normalise(output, false, leaves))?,
                };
                let activated = normalised.map(|output, _| self.activation.apply(output.shallow_clone()));
                activated?.joined()
            }
        }
    }

    fn by_running_statistics(&self, input: &Tensor, leaves: Leaves<'_>) -> Result<Tensor, ModelError> {
        let output = self.convolve(input, leaves)?;
        self.activation.apply(self.normalise(&output, false, leaves)?)
    }

    fn convolve(&self, input: &Tensor, leaves: Leaves<'_>) -> Result<Tensor, ModelError> {
        let bias = leaves.of_option(self.bias.as_ref());
        self.geometry.convolve(input, &leaves.of(&self.weight), bias.as_ref())
    }

    fn tensors(&self) -> NormTensors<'_> {
        NormTensors {
            scale: &self.scale,
            shift: &self.shift,
            running_mean: &self.mean,
            running_variance: &self.variance,
        }
    }

    /// By the batch, which moves the running statistics, or by these.
    fn normalise(&self, output: &Tensor, by_batch: bool, leaves: Leaves<'_>) -> Result<Tensor, ModelError> {
        Ok(output.f_batch_norm(
            Some(&leaves.of(&self.scale)),
            Some(&leaves.of(&self.shift)),
            Some(&self.mean),
            Some(&self.variance),
            by_batch,
            self.batch_norm.momentum,
            self.batch_norm.epsilon,
            true,
        )?)
    }

    /// Multiplies the normalisation into the kernel, in double precision, rounded once.
    fn fold(&self) -> Result<Folded, ModelError> {
        let double = |tensor: &Tensor| {
            tensor
                .f_detach()?
                .f_to_device(Device::Cpu)?
                .f_to_kind(tch::Kind::Double)
        };
        let deviation = double(&self.variance)?
            .f_add_scalar(self.batch_norm.epsilon)?
            .f_sqrt()?;
        let factor = double(&self.scale)?.f_div(&deviation)?;
        let weight = double(&self.weight)?.f_mul(&factor.f_view([-1, 1, 1, 1])?)?;
        let mean = match &self.bias {
            Some(bias) => double(&self.mean)?.f_sub(&double(bias)?)?,
            None => double(&self.mean)?,
        };
        let bias = double(&self.shift)?.f_sub(&mean.f_mul(&factor)?)?;
        let device = self.weight.device();
        let single = |tensor: Tensor| tensor.f_to_kind(tch::Kind::Float)?.f_to_device(device);
        Ok(Folded {
            name: self.name.clone(),
            weight: channels_last(&single(weight)?)?,
            bias: Some(single(bias)?),
            geometry: self.geometry,
            activation: self.activation,
        })
    }
}

/// A convolution without normalisation, with its own tensors.
pub(crate) struct Plain {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: Geometry,
    activation: Activation,
}

impl Plain {
    fn forward(&self, input: &Tensor, leaves: Leaves<'_>) -> Result<Tensor, ModelError> {
        let bias = leaves.of_option(self.bias.as_ref());
        let output = self.geometry.convolve(input, &leaves.of(&self.weight), bias.as_ref())?;
        self.activation.apply(output)
    }

    /// The same values in the memory order that computes fastest.
    fn fold(&self) -> Result<Folded, ModelError> {
        Ok(Folded {
            name: self.name.clone(),
            weight: channels_last(&self.weight.f_detach()?)?,
            bias: self.bias.as_ref().map(Tensor::f_detach).transpose()?,
            geometry: self.geometry,
            activation: self.activation,
        })
    }
}

/// A convolution with bias that holds the normalisation in itself; kernel in channels-last memory.
pub(crate) struct Folded {
    name: String,
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: Geometry,
    activation: Activation,
}

impl Folded {
    fn forward(&self, input: &Tensor) -> Result<Tensor, ModelError> {
        let output = precision::product(input, &self.weight, self.bias.as_ref(), |input, weight, bias| {
            self.geometry.convolve(input, weight, bias)
        })?;
        self.activation.apply_in_place(output)
    }

    fn shallow_clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            weight: self.weight.shallow_clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
            geometry: self.geometry,
            activation: self.activation,
        }
    }
}

/// The same values with the channels innermost in memory; `(n, c, h, w)` stays the logical order.
pub(crate) fn channels_last(tensor: &Tensor) -> Result<Tensor, ModelError> {
    Ok(tensor
        .f_permute([0, 2, 3, 1])?
        .f_contiguous()?
        .f_permute([0, 3, 1, 2])?)
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::{
        parameter_builder::Source,
        weights::naming::{Dialect, Naming},
    };

    #[test]
    fn one_value_of_a_channel_leaves_the_running_statistics_as_they_are() {
        static DIALECTS: &[Dialect] = &[Dialect::torchvision("conv.weight", "fc")];
        let naming = Naming::own(DIALECTS);
        let mut builder = ParameterBuilder::new(Source::Seed(1), &naming, Device::Cpu);
        let names = Names {
            convolution: "conv",
            norm: "bn",
        };
        let geometry = Geometry::square(3, 4, 1, 1);
        let unit = Unit::normalised(&mut builder, &names, geometry, Activation::None, BatchNorm::USUAL).unwrap();
        let image = |samples| Tensor::ones([samples, 3, 1, 1], (Kind::Float, Device::Cpu));
        let Unit::Normalised(layers) = &unit else {
            unreachable!("it was made so")
        };
        let (mean, variance) = (layers.mean.copy(), layers.variance.copy());
        let output = unit.forward(&image(1), Statistics::Batch).unwrap();
        assert!(output.equal(&unit.forward(&image(1), Statistics::Running).unwrap()));
        assert!(layers.mean.equal(&mean) && layers.variance.equal(&variance));
        let _ = unit.forward(&image(2), Statistics::Batch).unwrap();
        assert!(!layers.mean.equal(&mean), "two values move them");
    }
}

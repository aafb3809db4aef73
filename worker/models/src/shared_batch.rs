//! A batch that several ranks share, as BatchNorm normalises by all of it: statistics in the forward pass, and the terms of its gradient in the
//! backward pass, come together over the ranks.
//!
//! Each rank has a part of the batch and computes layer by layer; at each BatchNorm all exchange a row of numbers, so they go through the layers side by
//! side. The statistics of the parts are merged as Chan, Golub & LeVeque 1979 do it, in double precision and in the order of the ranks: exact for parts of any
//! size, none included, and the same numbers on all ranks.
//!
//! In the backward pass a BatchNorm needs sums over all ranks before anything below it can be computed. The autograd of libtorch does not stop for that. So the
//! graph is cut at every BatchNorm, and wherever branches part: what is above a cut sees a leaf. [`SharedBatch::backward`] walks over the cuts from the
//! last to the first, and carries the gradient of each leaf to what the leaf stands for.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use crate::{error::ModelError, layers::convolution::BatchNorm};

/// How the ranks of a gang see what the others have.
pub trait Exchange {
    /// The rows of all ranks in their order, `(ranks, numbers)`, in double precision on the CPU; `row` is this rank's.
    ///
    /// # Errors
    /// When another rank is lost, or does not take part.
    fn rows(&self, row: &Tensor) -> Result<Tensor, ModelError>;
}

/// This rank's part of a batch, on its way through the layers and back.
pub struct SharedBatch<'a> {
    exchange: &'a dyn Exchange,
    cuts: RefCell<Vec<Cut>>,
}

/// A place where the graph ends, and a leaf begins another one.
enum Cut {
    /// The leaf has the same values.
    Value { root: Tensor, leaf: Tensor },
    /// The leaf is the output of a BatchNorm.
    Norm(Box<Norm>),
}

struct Norm {
    root: Tensor,
    leaf: Tensor,
    /// Of the root, normalised.
    normalised: Tensor,
    /// 1 / √(σ² + ε), as (1, c, 1, 1).
    inverse_deviation: Tensor,
    scale: Tensor,
    shift: Tensor,
    /// Values of a channel over all ranks.
    count: f64,
}

/// The tensors of a BatchNorm.
pub(crate) struct NormTensors<'a> {
    pub(crate) scale: &'a Tensor,
    pub(crate) shift: &'a Tensor,
    pub(crate) running_mean: &'a Tensor,
    pub(crate) running_variance: &'a Tensor,
}

/// Values of each channel, over some samples.
struct Moments {
    count: f64,
    /// `(c)`, double precision, on the CPU.
    mean: Tensor,
    /// Sums of squared distances from it.
    squares: Tensor,
}

impl Moments {
    /// Of `(n, c, h, w)`.
    fn of(values: &Tensor) -> Result<Self, ModelError> {
        let (samples, channels, rows, columns) = values.size4()?;
        let count = (samples * rows * columns) as f64;
        let zeros = || Tensor::f_zeros([channels], (Kind::Double, Device::Cpu));
        if count == 0.0 {
            return Ok(Self {
                count,
                mean: zeros()?,
                squares: zeros()?,
            });
        }
        let mean = values.f_mean_dim(OVER_SAMPLES.as_slice(), true, Kind::Double)?;
        let squares = values.f_to_kind(Kind::Double)?.f_sub(&mean)?.f_square()?;
        let squares = squares.f_sum_dim_intlist(OVER_SAMPLES.as_slice(), false, Kind::Double)?;
        Ok(Self {
            count,
            mean: mean.f_flatten(0, -1)?.f_to_device(Device::Cpu)?,
            squares: squares.f_to_device(Device::Cpu)?,
        })
    }

    /// Of the samples of both: equations 2.1 of Chan, Golub & LeVeque 1979.
    fn with(self, other: Self) -> Result<Self, ModelError> {
        let count = self.count + other.count;
        if count == 0.0 {
            return Ok(self);
        }
        let delta = other.mean.f_sub(&self.mean)?;
        let between = delta.f_square()?.f_mul_scalar(self.count * other.count / count)?;
        Ok(Self {
            count,
            mean: self.mean.f_add(&delta.f_mul_scalar(other.count / count)?)?,
            squares: self.squares.f_add(&other.squares)?.f_add(&between)?,
        })
    }

    fn row(&self) -> Result<Tensor, ModelError> {
        let count = Tensor::f_from_slice(&[self.count])?;
        Ok(Tensor::f_cat(&[&count, &self.mean, &self.squares], 0)?)
    }

    fn of_row(row: &Tensor) -> Result<Self, ModelError> {
        let channels = (row.size1()? - 1) / 2;
        Ok(Self {
            count: row.f_double_value(&[0])?,
            mean: row.f_narrow(0, 1, channels)?,
            squares: row.f_narrow(0, 1 + channels, channels)?,
        })
    }
}

/// All dimensions but that of the channels.
const OVER_SAMPLES: [i64; 3] = [0, 2, 3];

impl<'a> SharedBatch<'a> {
    /// Nothing has been computed yet.
    pub fn new(exchange: &'a dyn Exchange) -> Self {
        Self {
            exchange,
            cuts: RefCell::default(),
        }
    }

    /// The same values as a leaf: for what is used in more than one branch.
    pub(crate) fn cut(&self, root: Tensor) -> Result<Tensor, ModelError> {
        if !root.requires_grad() || root.f_is_leaf()? {
            return Ok(root);
        }
        let leaf = root.f_detach()?.f_set_requires_grad(true)?;
        let kept = leaf.shallow_clone();
        self.cuts.borrow_mut().push(Cut::Value { root, leaf: kept });
        Ok(leaf)
    }

    /// Normalises by the statistics of all ranks, and takes them into the running ones; `(n, c, h, w)`. `None`: a channel has one value over all ranks, and so no
    /// variance.
    pub(crate) fn normalise(
        &self,
        input: &Tensor,
        tensors: &NormTensors<'_>,
        numbers: BatchNorm,
    ) -> Result<Option<Tensor>, ModelError> {
        let no_grad = tch::no_grad_guard();
        let device = input.device();
        let root = input.shallow_clone();
        let values = input.f_detach()?;
        let rows = self.exchange.rows(&Moments::of(&values)?.row()?)?;
        let ranks = rows.size2()?.0;
        let mut moments = Moments::of_row(&rows.f_get(0)?)?;
        for rank in 1..ranks {
            moments = moments.with(Moments::of_row(&rows.f_get(rank)?)?)?;
        }
        let count = moments.count;
        if count <= 1.0 {
            return Ok(None);
        }
        let momentum = numbers.momentum;
        let moves = |running: &Tensor, statistic: Tensor| -> Result<(), ModelError> {
            let statistic = statistic.f_to_kind(Kind::Float)?.f_to_device(device)?;
            let _ = running.shallow_clone().f_lerp_(&statistic, momentum)?;
            Ok(())
        };
        moves(tensors.running_mean, moments.mean.f_to_kind(Kind::Double)?)?;
        moves(tensors.running_variance, moments.squares.f_div_scalar(count - 1.0)?)?;
        let deviation = moments
            .squares
            .f_div_scalar(count)?
            .f_add_scalar(numbers.epsilon)?
            .f_sqrt()?;
        let of_channels = |tensor: &Tensor| -> Result<Tensor, ModelError> {
            Ok(tensor
                .f_to_kind(Kind::Float)?
                .f_to_device(device)?
                .f_view([1, -1, 1, 1])?)
        };
        let inverse_deviation = of_channels(&deviation.f_reciprocal()?)?;
        let normalised = values.f_sub(&of_channels(&moments.mean)?)?.f_mul(&inverse_deviation)?;
        let output = normalised
            .f_mul(&of_channels(tensors.scale)?)?
            .f_add(&of_channels(tensors.shift)?)?;
        drop(no_grad);
        let leaf = output.f_detach()?.f_set_requires_grad(true)?;
        self.cuts.borrow_mut().push(Cut::Norm(Box::new(Norm {
            root,
            leaf: leaf.shallow_clone(),
            normalised,
            inverse_deviation,
            scale: tensors.scale.shallow_clone(),
            shift: tensors.shift.shallow_clone(),
            count,
        })));
        Ok(Some(leaf))
    }

    /// Carries the gradients, which a loss has left at the last leaves, down to all parameters; all ranks do it together.
    ///
    /// # Errors
    /// When another rank is lost, or does not take part; those of libtorch.
    pub fn backward(&self) -> Result<(), ModelError> {
        while let Some(cut) = self.cuts.borrow_mut().pop() {
            match cut {
                Cut::Value { root, leaf } => carry(&root, &gradient_of(&leaf)?)?,
                Cut::Norm(norm) => self.through(&norm)?,
            }
        }
        Ok(())
    }

    /// With x̂ the normalised input, N values of a channel over all ranks, and Σ over all of them: γ / √(σ² + ε) · (g - Σg / N - x̂ Σ(g x̂) / N).
    fn through(&self, norm: &Norm) -> Result<(), ModelError> {
        let gradient = gradient_of(&norm.leaf)?;
        let over = |values: &Tensor| values.f_sum_dim_intlist(OVER_SAMPLES.as_slice(), false, Kind::Double);
        let (sum, product) =
            tch::no_grad(|| Ok::<_, ModelError>((over(&gradient)?, over(&gradient.f_mul(&norm.normalised)?)?)))?;
        let row = Tensor::f_cat(&[&sum, &product], 0)?.f_to_device(Device::Cpu)?;
        let rows = self.exchange.rows(&row)?;
        let sums = rows
            .f_sum_dim_intlist([0_i64].as_slice(), false, Kind::Double)?
            .f_div_scalar(norm.count)?;
        // Of this rank's own part: these are summed with all other gradients.
        carry(&norm.scale, &product.f_to_kind(Kind::Float)?)?;
        carry(&norm.shift, &sum.f_to_kind(Kind::Float)?)?;
        let input = tch::no_grad(|| {
            let channels = sum.size1()?;
            let mean = |part: i64| -> Result<Tensor, ModelError> {
                let part = sums.f_narrow(0, part * channels, channels)?.f_to_kind(Kind::Float)?;
                Ok(part.f_to_device(gradient.device())?.f_view([1, -1, 1, 1])?)
            };
            let centred = gradient.f_sub(&mean(0)?)?.f_sub(&norm.normalised.f_mul(&mean(1)?)?)?;
            let factor = norm
                .scale
                .f_detach()?
                .f_view([1, -1, 1, 1])?
                .f_mul(&norm.inverse_deviation)?;
            Ok::<_, ModelError>(centred.f_mul(&factor)?)
        })?;
        carry(&norm.root, &input)
    }
}

/// What has been gathered at a leaf; zeros where nothing has.
fn gradient_of(leaf: &Tensor) -> Result<Tensor, ModelError> {
    let gradient = leaf.grad();
    Ok(match gradient.defined() {
        true => gradient,
        false => leaf.f_detach()?.f_zeros_like()?,
    })
}

/// Adds this gradient of a tensor to those of all leaves that it was computed from.
fn carry(tensor: &Tensor, gradient: &Tensor) -> Result<(), ModelError> {
    if tensor.requires_grad() {
        // The gradient of Σ x·g is g, to the last bit: tch has no backward that begins with one.
        tensor.f_mul(gradient)?.f_sum(Kind::Float)?.f_backward()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_moments_are_those_of_all_values_whatever_the_parts() {
        let values = Tensor::randn([7, 3, 2, 2], (Kind::Float, Device::Cpu))
            .f_add_scalar(1e3)
            .unwrap();
        let whole = Moments::of(&values).unwrap();
        for parts in [[0, 7, 0], [1, 4, 2], [3, 0, 4], [0, 0, 7]] {
            let mut begin = 0;
            let mut merged: Option<Moments> = None;
            for part in parts {
                let moments = Moments::of(&values.narrow(0, begin, part)).unwrap();
                let moments = Moments::of_row(&moments.row().unwrap()).unwrap();
                merged = Some(match merged {
                    Some(before) => before.with(moments).unwrap(),
                    None => moments,
                });
                begin += part;
            }
            let merged = merged.unwrap();
            assert!((merged.count - whole.count).abs() < f64::EPSILON);
            for (ours, expected) in [(&merged.mean, &whole.mean), (&merged.squares, &whole.squares)] {
                let difference = f64::try_from((ours - expected).abs().max()).unwrap();
                assert!(difference < 1e-9, "{parts:?}: {difference}");
            }
        }
    }
}

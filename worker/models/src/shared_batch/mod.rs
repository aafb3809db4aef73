//! A batch that several ranks share, as BatchNorm normalises by all of it: statistics in the forward pass, and the terms of its gradient in the
//! backward pass, come together over the ranks.
//!
//! Each rank has a part of the batch and computes layer by layer; at each BatchNorm all exchange rows of numbers, so they go through the layers side by
//! side. The statistics of the parts are merged as Chan, Golub & LeVeque 1979 do it, in double precision and in the order of the rows: exact for parts of any
//! size, none included, and the same numbers on all ranks.
//!
//! In the backward pass a BatchNorm needs sums over all ranks before anything below it can be computed. The autograd of libtorch does not stop for that. So the
//! graph is cut at every BatchNorm, and wherever branches part: what is above a cut sees a leaf. [`SharedBatch::backward`] walks over the cuts from the
//! last to the first, and carries the gradient of each leaf to what the leaf stands for.
//!
//! A rank has one row. In a strict job each *slice* of the batch has one, wherever it is computed, and the layers compute slice by slice: what multiplies, adds up or
//! bends values sees a slice in its own shape, and leaves the gradients of its parameters at leaves of that slice. Only what gives the same bits in any
//! shape goes over a rank's slices at once: sums of two branches, maxima, means of few neighbours.

mod moments;
mod slices;

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

pub(crate) use self::slices::{Leaves, Pieces};
use self::{
    moments::{Moments, OVER_SAMPLES},
    slices::Slice,
};
use crate::{error::ModelError, layers::convolution::BatchNorm};

/// How the ranks of a gang see what the others have.
pub trait Exchange {
    /// The rows of all ranks in their order, `(rows, numbers)`, in double precision on the CPU; `own` are this rank's: one, or one for each of its slices.
    ///
    /// # Errors
    /// When another rank is lost, or does not take part.
    fn rows(&self, own: &Tensor) -> Result<Tensor, ModelError>;
}

/// This rank's part of a batch, on its way through the layers and back.
pub struct SharedBatch<'a> {
    exchange: &'a dyn Exchange,
    /// In a strict job; some may have no samples.
    slices: Option<Vec<Slice>>,
    cuts: RefCell<Vec<Cut>>,
}

/// A place where the graph ends, and a leaf begins another one.
enum Cut {
    /// The leaf has the same values.
    Value { root: Tensor, leaf: Tensor },
    /// The leaves are the output of a BatchNorm.
    Norm(Box<Norm>),
}

struct Norm {
    pieces: Vec<NormPiece>,
    /// 1 / √(σ² + ε), as (1, c, 1, 1).
    inverse_deviation: Tensor,
    /// Values of a channel over all ranks.
    count: f64,
}

/// What a BatchNorm has of one slice, or of a rank's whole part.
struct NormPiece {
    root: Tensor,
    leaf: Tensor,
    /// Of the root, normalised.
    normalised: Tensor,
    scale: Tensor,
    shift: Tensor,
}

/// The tensors of a BatchNorm.
pub(crate) struct NormTensors<'a> {
    pub(crate) scale: &'a Tensor,
    pub(crate) shift: &'a Tensor,
    pub(crate) running_mean: &'a Tensor,
    pub(crate) running_variance: &'a Tensor,
}

impl<'a> SharedBatch<'a> {
    /// One row a rank; nothing has been computed yet.
    pub fn new(exchange: &'a dyn Exchange) -> Self {
        Self {
            exchange,
            slices: None,
            cuts: RefCell::default(),
        }
    }

    /// One row a slice. `samples`: of each of this rank's slices, of which there is at least one, in order, one after the other in the batch;
    /// `parameters`: those that train.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn of_slices(
        exchange: &'a dyn Exchange,
        samples: &[usize],
        parameters: &[&Tensor],
    ) -> Result<Self, ModelError> {
        let slices = samples.iter().map(|&samples| Slice::new(samples as i64, parameters));
        Ok(Self {
            slices: Some(slices.collect::<Result<_, _>>()?),
            ..Self::new(exchange)
        })
    }

    /// What a parameter has got from this rank's slice of this number, or, where there are no slices, from all of its part.
    pub fn gradient(&self, slice: usize, parameter: &Tensor) -> Option<Tensor> {
        match &self.slices {
            Some(slices) => slices[slice].gradient(parameter),
            None => Some(parameter.grad()).filter(Tensor::defined),
        }
    }

    /// Frees the gradients of this rank's slice of this number.
    pub fn forget(&mut self, slice: usize) {
        if let Some(slices) = &mut self.slices {
            slices[slice].forget();
        }
    }

    /// The slices of this rank that have samples.
    fn present(&self) -> Vec<&Slice> {
        let slices = self.slices.iter().flatten();
        slices.filter(|slice| slice.samples > 0).collect()
    }

    /// A tensor whose rows are this rank's samples, in pieces that are computed one by one.
    pub(crate) fn pieces(&self, input: &Tensor) -> Result<Pieces<'_>, ModelError> {
        let present = self.present();
        match present.is_empty() {
            true => Ok(Pieces::whole(input)),
            false => Pieces::cut(input, &present),
        }
    }

    /// The rows of all ranks: `own` are those of the pieces, and what has no samples adds nothing.
    fn rows(&self, own: &[Tensor]) -> Result<Tensor, ModelError> {
        let nothing = own.first().map(Tensor::f_zeros_like).transpose()?;
        let mut own = own.iter();
        let rows: Vec<&Tensor> = match &self.slices {
            None => own.collect(),
            Some(slices) => {
                let mut row_of = |slice: &Slice| match slice.samples {
                    0 => nothing.as_ref(),
                    _ => own.next(),
                };
                slices.iter().filter_map(&mut row_of).collect()
            }
        };
        self.exchange.rows(&Tensor::f_stack(&rows, 0)?)
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

    /// Normalises by the statistics of all ranks, and takes them into the running ones; pieces of `(n, c, h, w)`. `None`: a channel has one value over all ranks,
    /// and so no variance.
    pub(crate) fn normalise<'b>(
        &self,
        input: &Pieces<'b>,
        tensors: &NormTensors<'_>,
        numbers: BatchNorm,
    ) -> Result<Option<Pieces<'b>>, ModelError> {
        let no_grad = tch::no_grad_guard();
        let device = tensors.scale.device();
        let own = input.0.iter().map(|(_, root)| Moments::of(&root.f_detach()?)?.row());
        let rows = self.rows(&own.collect::<Result<Vec<_>, _>>()?)?;
        let Some(moments) = Moments::of_rows(&rows)?.filter(|moments| moments.count > 1.0) else {
            return Ok(None);
        };
        let count = moments.count;
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
        let (mean, scale, shift) = (
            of_channels(&moments.mean)?,
            of_channels(tensors.scale)?,
            of_channels(tensors.shift)?,
        );
        let normalised = input.0.iter().map(|(leaves, root)| {
            let normalised = root.f_detach()?.f_sub(&mean)?.f_mul(&inverse_deviation)?;
            let output = normalised.f_mul(&scale)?.f_add(&shift)?;
            Ok(NormPiece {
                root: root.shallow_clone(),
                leaf: output.f_set_requires_grad(true)?,
                normalised,
                scale: leaves.of(tensors.scale),
                shift: leaves.of(tensors.shift),
            })
        });
        let pieces: Vec<NormPiece> = normalised.collect::<Result<_, ModelError>>()?;
        drop(no_grad);
        let leaves = input.0.iter().zip(&pieces);
        let leaves = leaves.map(|((leaves, _), piece)| (*leaves, piece.leaf.shallow_clone()));
        let leaves = Pieces(leaves.collect());
        self.cuts.borrow_mut().push(Cut::Norm(Box::new(Norm {
            pieces,
            inverse_deviation,
            count,
        })));
        Ok(Some(leaves))
    }

    /// Carries the gradients, which a loss has left at the last leaves, down to all parameters; all ranks do it together.
    ///
    /// # Errors
    /// When another rank is lost, or does not take part; those of libtorch.
    pub fn backward(&self) -> Result<(), ModelError> {
        while let Some(cut) = self.cuts.borrow_mut().pop() {
            match cut {
                Cut::Value { root, leaf } => carry(&[(&root, &gradient_of(&leaf)?)])?,
                Cut::Norm(norm) => self.through(&norm)?,
            }
        }
        Ok(())
    }

    /// With x̂ the normalised input, N values of a channel over all ranks, and Σ over all of them: γ / √(σ² + ε) · (g - Σg / N - x̂ Σ(g x̂) / N).
    fn through(&self, norm: &Norm) -> Result<(), ModelError> {
        let gradients = norm.pieces.iter().map(|piece| gradient_of(&piece.leaf));
        let gradients: Vec<Tensor> = gradients.collect::<Result<_, _>>()?;
        let own = norm.pieces.iter().zip(&gradients);
        let own = own.map(|(piece, gradient)| sums_of(gradient, &piece.normalised));
        let own: Vec<[Tensor; 2]> = own.collect::<Result<_, _>>()?;
        let own_rows = own
            .iter()
            .map(|sums| Ok(Tensor::f_cat(sums, 0)?.f_to_device(Device::Cpu)?));
        let rows = self.rows(&own_rows.collect::<Result<Vec<_>, ModelError>>()?)?;
        let sums = rows
            .f_sum_dim_intlist([0_i64].as_slice(), false, Kind::Double)?
            .f_div_scalar(norm.count)?;
        let mut inputs = Vec::with_capacity(own.len());
        for ((piece, gradient), [sum, product]) in norm.pieces.iter().zip(&gradients).zip(&own) {
            // Of this piece alone: these are summed with all other gradients.
            let (product, sum) = (product.f_to_kind(Kind::Float)?, sum.f_to_kind(Kind::Float)?);
            carry(&[(&piece.scale, &product), (&piece.shift, &sum)])?;
            inputs.push(norm.input_gradient(piece, gradient, &sums)?);
        }
        let roots = norm.pieces.iter().map(|piece| &piece.root);
        // At once, as what is below may be one graph.
        carry(&roots.zip(&inputs).collect::<Vec<_>>())
    }
}

impl Norm {
    /// Of what came in, from that of what went out; `sums`: Σg / N and then Σ(g x̂) / N of the channels.
    fn input_gradient(&self, piece: &NormPiece, gradient: &Tensor, sums: &Tensor) -> Result<Tensor, ModelError> {
        let _no_grad = tch::no_grad_guard();
        let channels = sums.size1()? / 2;
        let mean = |part: i64| -> Result<Tensor, ModelError> {
            let part = sums.f_narrow(0, part * channels, channels)?.f_to_kind(Kind::Float)?;
            Ok(part.f_to_device(gradient.device())?.f_view([1, -1, 1, 1])?)
        };
        let centred = gradient.f_sub(&mean(0)?)?.f_sub(&piece.normalised.f_mul(&mean(1)?)?)?;
        let scale = piece.scale.f_detach()?.f_view([1, -1, 1, 1])?;
        Ok(centred.f_mul(&scale.f_mul(&self.inverse_deviation)?)?)
    }
}

/// Σg and Σ(g x̂) of each channel.
fn sums_of(gradient: &Tensor, normalised: &Tensor) -> Result<[Tensor; 2], ModelError> {
    let _no_grad = tch::no_grad_guard();
    let over = |values: &Tensor| values.f_sum_dim_intlist(OVER_SAMPLES.as_slice(), false, Kind::Double);
    Ok([over(gradient)?, over(&gradient.f_mul(normalised)?)?])
}

/// What has been gathered at a leaf; zeros where nothing has.
fn gradient_of(leaf: &Tensor) -> Result<Tensor, ModelError> {
    let gradient = leaf.grad();
    Ok(match gradient.defined() {
        true => gradient,
        false => leaf.f_detach()?.f_zeros_like()?,
    })
}

/// Adds these gradients of tensors to those of all leaves that they were computed from.
fn carry(tensors: &[(&Tensor, &Tensor)]) -> Result<(), ModelError> {
    // The gradient of Σ x·g is g, to the last bit: tch has no backward that begins with one.
    let mut total: Option<Tensor> = None;
    for (tensor, gradient) in tensors.iter().filter(|(tensor, _)| tensor.requires_grad()) {
        let product = tensor.f_mul(gradient)?.f_sum(Kind::Float)?;
        total = Some(match total {
            Some(before) => before.f_add(&product)?,
            None => product,
        });
    }
    total.map_or(Ok(()), |total| Ok(total.f_backward()?))
}

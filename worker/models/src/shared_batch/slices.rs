//! The slices of a strict job. Each goes through the layers in its own shapes and leaves its gradients at leaves of its own, so that nothing of what it gives shows which
//! other slices a rank has.

use std::collections::HashMap;

use tch::Tensor;

use crate::error::ModelError;

/// One slice of a batch.
pub(crate) struct Slice {
    pub(super) samples: i64,
    /// A leaf for each parameter, which shares its values, by the address of these.
    leaves: HashMap<usize, Tensor>,
}

impl Slice {
    /// Of that many samples; `parameters` are those that train.
    pub(super) fn new(samples: i64, parameters: &[&Tensor]) -> Result<Self, ModelError> {
        let leaf = |parameter: &&Tensor| {
            let leaf = parameter.f_detach()?.f_set_requires_grad(true)?;
            Ok((address(parameter), leaf))
        };
        let parameters = parameters.iter().filter(|_| samples > 0);
        Ok(Self {
            samples,
            leaves: parameters.map(leaf).collect::<Result<_, ModelError>>()?,
        })
    }

    /// What has been gathered at its leaf of a parameter, if anything has.
    pub(super) fn gradient(&self, parameter: &Tensor) -> Option<Tensor> {
        let gradient = self.leaves.get(&address(parameter))?.grad();
        gradient.defined().then_some(gradient)
    }

    /// Lets its leaves go.
    pub(super) fn forget(&mut self) {
        self.leaves.clear();
    }
}

fn address(parameter: &Tensor) -> usize {
    parameter.data_ptr() as usize
}

/// What a layer computes with, and where the gradients of its parameters come together.
#[derive(Clone, Copy)]
pub(crate) enum Leaves<'a> {
    /// The parameters themselves.
    Parameters,
    /// Those of a slice.
    OfSlice(&'a Slice),
}

impl Leaves<'_> {
    /// In place of this tensor; itself where it does not train.
    pub(crate) fn of(self, parameter: &Tensor) -> Tensor {
        let leaf = match self {
            Self::Parameters => None,
            Self::OfSlice(slice) => slice.leaves.get(&address(parameter)),
        };
        leaf.unwrap_or(parameter).shallow_clone()
    }

    /// The same of a bias that a layer may have.
    pub(crate) fn of_option(self, parameter: Option<&Tensor>) -> Option<Tensor> {
        parameter.map(|parameter| self.of(parameter))
    }
}

/// A rank's part of a batch, `(n, …)`: in its slices that have samples, in order, or in one piece.
pub(crate) struct Pieces<'a>(pub(super) Vec<(Leaves<'a>, Tensor)>);

impl<'a> Pieces<'a> {
    pub(crate) fn whole(input: &Tensor) -> Self {
        Self(vec![(Leaves::Parameters, input.shallow_clone())])
    }

    /// Each copied, so that it lies in memory as on a rank that has nothing else: kernels may look at where their operands begin.
    pub(super) fn cut(input: &Tensor, slices: &[&'a Slice]) -> Result<Self, ModelError> {
        let samples: Vec<i64> = slices.iter().map(|slice| slice.samples).collect();
        let pieces = slices.iter().zip(input.f_split_with_sizes(samples, 0)?);
        let pieces = pieces.map(|(slice, piece)| Ok((Leaves::OfSlice(slice), copied(&piece)?)));
        Ok(Self(pieces.collect::<Result<_, ModelError>>()?))
    }

    pub(crate) fn map(
        self,
        mut layer: impl FnMut(&Tensor, Leaves<'a>) -> Result<Tensor, ModelError>,
    ) -> Result<Self, ModelError> {
        let mapped = self
            .0
            .into_iter()
            .map(|(leaves, piece)| Ok((leaves, layer(&piece, leaves)?)));
        Ok(Self(mapped.collect::<Result<_, ModelError>>()?))
    }

    /// One after the other.
    pub(crate) fn joined(self) -> Result<Tensor, ModelError> {
        match &self.0[..] {
            [(Leaves::Parameters, whole)] => Ok(whole.shallow_clone()),
            pieces => {
                let pieces = pieces.iter().map(|(_, piece)| copied(piece));
                Ok(Tensor::f_cat(&pieces.collect::<Result<Vec<_>, _>>()?, 0)?)
            }
        }
    }
}

impl<'a> IntoIterator for Pieces<'a> {
    type Item = (Leaves<'a>, Tensor);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The same values elsewhere; so is the gradient on its way back.
fn copied(tensor: &Tensor) -> Result<Tensor, ModelError> {
    Ok(tensor.f_mul_scalar(1.0)?)
}

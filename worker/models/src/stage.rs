//! The stages that a network is cut into, and what flows between them.

use firn_core::spec::Pooling;
use tch::{Kind, Tensor};

use crate::{
    architecture::bert::{Embeddings, EncoderLayer},
    convolution::{Activation, Unit},
    error::ModelError,
};

/// What flows from one stage to the next; at the cut: the features of a batch.
#[derive(Debug)]
pub struct Features {
    /// Samples first. Images: `(n, c, h, w)`; token states: `(n, tokens, hidden)`; pooled: `(n, width)`. Before the first stage:
    /// the pixels, or the token ids as int64 `(n, tokens)`.
    pub tensor: Tensor,
    /// Token states that are not pooled yet: `(n, tokens)` int64, 1 for tokens, 0 for padding.
    pub mask: Option<Tensor>,
}

impl Features {
    /// Pooled features or images, which need no mask.
    pub fn unmasked(tensor: Tensor) -> Self {
        Self { tensor, mask: None }
    }
}

/// One stage of a network.
pub(crate) enum Stage {
    /// ResNet's first convolution and its 3×3 maximum at stride 2.
    Stem(Unit),
    /// Blocks in sequence.
    Blocks(Vec<Block>),
    /// Mean over the pixels.
    PixelMean,
    /// Token, position and type embeddings.
    Embeddings(Embeddings),
    /// One transformer layer.
    Encoder(EncoderLayer),
    /// Token states to one vector.
    TokenPool(Pooling),
}

impl Stage {
    /// `batch_statistics`: BatchNorm normalises by the batch and updates its running statistics.
    pub(crate) fn forward(&self, input: Features, batch_statistics: bool) -> Result<Features, ModelError> {
        let Features { tensor, mask } = input;
        let tensor = match self {
            Self::Stem(unit) => {
                let output = unit.forward(&tensor, batch_statistics)?;
                output.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?
            }
            Self::Blocks(blocks) => blocks
                .iter()
                .try_fold(tensor, |tensor, block| block.forward(tensor, batch_statistics))?,
            Self::PixelMean => tensor.f_mean_dim([2_i64, 3].as_slice(), false, Kind::Float)?,
            Self::Embeddings(embeddings) => embeddings.forward(&tensor)?,
            Self::Encoder(layer) => layer.forward(&tensor, needed(mask.as_ref())?)?,
            Self::TokenPool(pooling) => {
                return Ok(Features::unmasked(pool(*pooling, &tensor, needed(mask.as_ref())?)?));
            }
        };
        Ok(Features { tensor, mask })
    }

    /// The form that computes below the cut. Stages without BatchNorm compute with their own tensors.
    pub(crate) fn folded(self) -> Result<Self, ModelError> {
        Ok(match self {
            Self::Stem(unit) => Self::Stem(unit.folded()?),
            Self::Blocks(blocks) => Self::Blocks(blocks.iter().map(Block::folded).collect::<Result<_, _>>()?),
            other => other,
        })
    }

    /// Tensors that were made by folding, with their names.
    pub(crate) fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        match self {
            Self::Stem(unit) => unit.derived(into),
            Self::Blocks(blocks) => blocks.iter().for_each(|block| block.derived(into)),
            _ => {}
        }
    }
}

/// Units in sequence, beside a shortcut.
pub(crate) struct Block {
    pub(crate) units: Vec<Unit>,
    pub(crate) shortcut: Shortcut,
    /// Whether a ReLU follows the sum.
    pub(crate) relu: bool,
}

/// What is added to the result of a block's units.
pub(crate) enum Shortcut {
    /// Nothing.
    None,
    /// The block's input.
    Identity,
    /// A projection of the block's input.
    Projection(Unit),
}

impl Block {
    fn forward(&self, input: Tensor, batch_statistics: bool) -> Result<Tensor, ModelError> {
        let mut output = input.shallow_clone();
        for unit in &self.units {
            output = unit.forward(&output, batch_statistics)?;
        }
        let shortcut = match &self.shortcut {
            Shortcut::None => return Ok(output),
            Shortcut::Identity => input,
            Shortcut::Projection(unit) => unit.forward(&input, batch_statistics)?,
        };
        let activation = if self.relu { Activation::Relu } else { Activation::None };
        if self.units.last().is_some_and(Unit::is_folded) {
            return activation.apply_in_place(output.f_add_(&shortcut)?);
        }
        let sum = output.f_add(&shortcut)?;
        Ok(if self.relu { sum.f_relu()? } else { sum })
    }

    fn folded(&self) -> Result<Self, ModelError> {
        let shortcut = match &self.shortcut {
            Shortcut::None => Shortcut::None,
            Shortcut::Identity => Shortcut::Identity,
            Shortcut::Projection(unit) => Shortcut::Projection(unit.folded()?),
        };
        let units = self.units.iter().map(Unit::folded).collect::<Result<_, _>>()?;
        Ok(Self {
            units,
            shortcut,
            relu: self.relu,
        })
    }

    fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        self.units.iter().for_each(|unit| unit.derived(into));
        if let Shortcut::Projection(unit) = &self.shortcut {
            unit.derived(into);
        }
    }
}

fn needed(mask: Option<&Tensor>) -> Result<&Tensor, ModelError> {
    mask.ok_or_else(|| ModelError::Mismatch {
        what: "features of token states".to_owned(),
        expected: "the padding mask beside them".to_owned(),
        found: "no mask".to_owned(),
    })
}

/// Mean over the tokens that are not padding (as sentence-transformers' `Pooling`: the divisor at least 1e-9), or the first state.
fn pool(pooling: Pooling, states: &Tensor, mask: &Tensor) -> Result<Tensor, ModelError> {
    match pooling {
        Pooling::Cls => Ok(states.f_select(1, 0)?),
        Pooling::Mean => {
            let weight = mask.f_to_kind(Kind::Float)?.f_unsqueeze(-1)?;
            let sum = states
                .f_mul(&weight)?
                .f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?;
            let count = weight.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?;
            Ok(sum.f_div(&count.f_clamp_min(1e-9)?)?)
        }
    }
}

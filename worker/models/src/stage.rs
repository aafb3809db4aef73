//! The stages that a network is cut into, and what flows between them.

use tch::Tensor;

use crate::{
    error::ModelError,
    layers::dropout::Dropout,
    shared_batch::{Leaves, SharedBatch},
};

/// What flows from one stage to the next; at the cut: the features of a batch.
#[derive(Debug)]
pub struct Features {
    /// Samples first. Images: `(n, c, h, w)`; token states: `(n, tokens, hidden)`; pooled: `(n, width)`. Before the first stage:
    /// the pixels, or the token ids as int64 `(n, tokens)`.
    pub tensor: Tensor,
    /// Token states that are not pooled yet: `(n, tokens)` int64, 1 for tokens, 0 for padding.
    pub mask: Option<Tensor>,
    /// Before the first stage, of pairs of texts: `(n, tokens)` int64, 1 for tokens of the second text, where the tokenizer says so.
    pub types: Option<Tensor>,
}

impl Features {
    /// Pooled features or images, which need no mask.
    pub fn unmasked(tensor: Tensor) -> Self {
        Self {
            tensor,
            mask: None,
            types: None,
        }
    }

    /// Images or pooled features of several batches, one after the other.
    ///
    /// # Errors
    /// Unless there is one, and all are of one shape.
    pub fn joined(batches: &[Self]) -> Result<Self, ModelError> {
        let tensors: Vec<&Tensor> = batches.iter().map(|features| &features.tensor).collect();
        Ok(Self::unmasked(Tensor::f_cat(&tensors, 0)?))
    }

    /// Another tensor beside the same mask; types of tokens are for the first stage alone.
    pub(crate) fn map(self, change: impl FnOnce(Tensor) -> Result<Tensor, ModelError>) -> Result<Self, ModelError> {
        Ok(Self {
            tensor: change(self.tensor)?,
            mask: self.mask,
            types: None,
        })
    }

    /// The mask that states of tokens have.
    pub(crate) fn needed_mask(&self) -> Result<&Tensor, ModelError> {
        self.mask.as_ref().ok_or_else(|| ModelError::Mismatch {
            what: "features of token states".to_owned(),
            expected: "the padding mask beside them".to_owned(),
            found: "no mask".to_owned(),
        })
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            tensor: self.tensor.shallow_clone(),
            mask: self.mask.as_ref().map(Tensor::shallow_clone),
            types: self.types.as_ref().map(Tensor::shallow_clone),
        }
    }
}

/// What BatchNorm normalises by.
#[derive(Clone, Copy, Default)]
pub(crate) enum Statistics<'a> {
    /// The running statistics, which stay.
    #[default]
    Running,
    /// The batch; the running statistics are updated.
    Batch,
    /// The same, where other ranks have parts of the batch.
    Shared(&'a SharedBatch<'a>),
}

impl<'a> Statistics<'a> {
    /// Computes a layer without BatchNorm, from samples to samples: slice by slice where a batch has slices.
    pub(crate) fn by_slice(
        self,
        input: &Tensor,
        mut layer: impl FnMut(&Tensor, Leaves<'a>) -> Result<Tensor, ModelError>,
    ) -> Result<Tensor, ModelError> {
        match self {
            Self::Shared(batch) => batch.pieces(input)?.map(layer)?.joined(),
            Self::Running | Self::Batch => layer(input, Leaves::Parameters),
        }
    }

    /// What is used in more than one branch from here on.
    pub(crate) fn branching(self, tensor: Tensor) -> Result<Tensor, ModelError> {
        match self {
            Self::Shared(batch) => batch.cut(tensor),
            Self::Running | Self::Batch => Ok(tensor),
        }
    }
}

/// How a batch goes through the stages.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pass<'a> {
    /// What BatchNorm normalises by.
    pub(crate) statistics: Statistics<'a>,
    /// Layers with dropout drop units.
    pub(crate) dropout: Option<&'a Dropout<'a>>,
    /// Layers with adapters multiply by the weights that they have once these are merged.
    pub(crate) merges: bool,
}

/// One stage of a network. Which tensors it has, what they are for and where they start is told to the builder while it is made; so
/// nobody is asked whether a stage has parameters or BatchNorm.
pub(crate) trait Stage: Send {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError>;

    /// The form that computes below the cut, where it is another one; else the stage computes with its own tensors.
    fn folded(&self) -> Result<Option<Box<dyn Stage>>, ModelError> {
        Ok(None)
    }

    /// Adds the tensors that were made by folding, with their names.
    fn derived(&self, _into: &mut Vec<(String, Tensor)>) {}

    /// Numbers that gradients could train and no tensor of the builder holds.
    fn own_parameters(&self) -> u64 {
        0
    }

    /// The auxiliary head beside this stage; the folded form has none.
    fn auxiliary(&self) -> Option<&Auxiliary> {
        None
    }
}

/// What stands between a stage and its auxiliary output layer, and what that layer is.
pub(crate) struct Auxiliary {
    pub(crate) output: AuxiliaryOutput,
    /// From what the stage gives to one vector a sample, `(n, width)`.
    pub(crate) path: Box<dyn Stage>,
}

/// An auxiliary output layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuxiliaryOutput {
    /// Firn's name, without `.weight`.
    pub(crate) name: &'static str,
    /// Length of the vector that it takes.
    pub(crate) width: i64,
    /// What its loss weighs beside that of the head.
    pub(crate) weight: f64,
    /// Pixels of the smallest square image of which its path leaves anything.
    pub(crate) smallest_crop: u32,
}

/// All stages of a network, input side first.
pub(crate) type Stages = Vec<Box<dyn Stage>>;

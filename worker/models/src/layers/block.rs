//! Convolutions in sequence beside a shortcut, with squeeze and excitation between them in some networks, and stages of such blocks.

use tch::Tensor;

use super::{activation::Activation, convolution::Unit, excitation::Excitation};
use crate::{
    error::ModelError,
    stage::{Features, Pass, Stage, Statistics},
};

/// Blocks in sequence.
pub(crate) struct Blocks(pub(crate) Vec<Block>);

impl Stage for Blocks {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            let mut blocks = self.0.iter();
            blocks.try_fold(tensor, |tensor, block| block.forward(tensor, pass.statistics))
        })
    }

    fn folded(&self) -> Result<Option<Box<dyn Stage>>, ModelError> {
        let blocks = self.0.iter().map(Block::folded).collect::<Result<_, _>>()?;
        Ok(Some(Box::new(Self(blocks))))
    }

    fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        self.0.iter().for_each(|block| block.derived(into));
    }
}

/// Parts in sequence, beside a shortcut.
pub(crate) struct Block {
    pub(crate) parts: Vec<Part>,
    pub(crate) shortcut: Shortcut,
    /// Whether a ReLU follows the sum.
    pub(crate) relu: bool,
}

/// A part of a block.
pub(crate) enum Part {
    Unit(Unit),
    Excitation(Excitation),
}

impl From<Unit> for Part {
    fn from(unit: Unit) -> Self {
        Self::Unit(unit)
    }
}

impl Part {
    fn forward(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, ModelError> {
        match self {
            Self::Unit(unit) => unit.forward(input, statistics),
            Self::Excitation(excitation) => excitation.forward(input, statistics),
        }
    }

    fn folded(&self) -> Result<Self, ModelError> {
        Ok(match self {
            Self::Unit(unit) => Self::Unit(unit.folded()?),
            Self::Excitation(excitation) => Self::Excitation(excitation.folded()?),
        })
    }

    fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        match self {
            Self::Unit(unit) => unit.derived(into),
            Self::Excitation(excitation) => excitation.derived(into),
        }
    }

    /// Whether the result may be overwritten: it is new, and no gradient needs it.
    fn is_folded(&self) -> bool {
        matches!(self, Self::Unit(unit) if unit.is_folded())
    }
}

/// What is added to the result of a block's parts.
pub(crate) enum Shortcut {
    /// Nothing.
    None,
    /// The block's input.
    Identity,
    /// A projection of the block's input.
    Projection(Unit),
    /// Every second row and column of the block's input, and so many channels of zeros before and behind its own.
    Subsampled(i64),
}

impl Block {
    /// One unit alone.
    pub(crate) fn of(unit: Unit) -> Self {
        Self {
            parts: vec![unit.into()],
            shortcut: Shortcut::None,
            relu: false,
        }
    }

    pub(crate) fn forward(&self, input: Tensor, statistics: Statistics<'_>) -> Result<Tensor, ModelError> {
        let input = match self.shortcut {
            Shortcut::None => input,
            _ => statistics.branching(input)?,
        };
        let mut output = input.shallow_clone();
        for part in &self.parts {
            output = part.forward(&output, statistics)?;
        }
        let shortcut = match &self.shortcut {
            Shortcut::None => return Ok(output),
            Shortcut::Identity => input,
            Shortcut::Projection(unit) => unit.forward(&input, statistics)?,
            Shortcut::Subsampled(zeros) => {
                let seen = input.f_slice(2, None, None, 2)?.f_slice(3, None, None, 2)?;
                seen.f_constant_pad_nd([0, 0, 0, 0, *zeros, *zeros])?
            }
        };
        let activation = if self.relu { Activation::Relu } else { Activation::None };
        if self.parts.last().is_some_and(Part::is_folded) {
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
            Shortcut::Subsampled(zeros) => Shortcut::Subsampled(*zeros),
        };
        let parts = self.parts.iter().map(Part::folded).collect::<Result<_, _>>()?;
        Ok(Self {
            parts,
            shortcut,
            relu: self.relu,
        })
    }

    fn derived(&self, into: &mut Vec<(String, Tensor)>) {
        self.parts.iter().for_each(|part| part.derived(into));
        if let Shortcut::Projection(unit) = &self.shortcut {
            unit.derived(into);
        }
    }
}

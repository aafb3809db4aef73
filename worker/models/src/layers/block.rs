//! Convolutions in sequence beside a shortcut, and stages of such blocks.

use tch::Tensor;

use super::convolution::{Activation, Unit};
use crate::{
    error::ModelError,
    stage::{Features, Pass, Stage},
};

/// Blocks in sequence.
pub(crate) struct Blocks(pub(crate) Vec<Block>);

impl Stage for Blocks {
    fn forward(&self, input: Features, pass: &Pass<'_>) -> Result<Features, ModelError> {
        input.map(|tensor| {
            let mut blocks = self.0.iter();
            blocks.try_fold(tensor, |tensor, block| block.forward(tensor, pass.batch_statistics))
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
    pub(crate) fn forward(&self, input: Tensor, batch_statistics: bool) -> Result<Tensor, ModelError> {
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

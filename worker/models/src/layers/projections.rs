//! Query, key and value of a state: in one matrix, as torchvision and timm keep them, or in three, as transformers does.

use tch::Tensor;

use super::linear::Linear;
use crate::{error::ModelError, parameter_builder::ParameterBuilder, stage::Pass, weights::naming::Library};

pub(crate) enum Projections {
    Joint(Linear),
    Separate([Linear; 3]),
}

/// Firn's names of both forms.
pub(crate) struct Names {
    /// Weight and bias of the one matrix.
    pub(crate) joint: [String; 2],
    /// Before `.query`, `.key` and `.value`.
    pub(crate) separate: String,
}

impl Projections {
    /// As the library keeps them whose names the tensors have; of states of so many numbers.
    pub(crate) fn new(
        builder: &mut ParameterBuilder<'_>,
        names: &Names,
        width: i64,
        deviation: f64,
    ) -> Result<Self, ModelError> {
        if builder.library() != Library::HuggingFace {
            let shape = [3 * width, width];
            return Ok(Self::Joint(Linear::named(builder, &names.joint, shape, deviation)?));
        }
        let prefix = &names.separate;
        let mut linear = |part| Linear::new(builder, &format!("{prefix}.{part}"), [width, width], deviation);
        Ok(Self::Separate([linear("query")?, linear("key")?, linear("value")?]))
    }

    /// Query, key and value, each of the shape of `states`.
    pub(crate) fn forward(&self, states: &Tensor, pass: &Pass<'_>) -> Result<[Tensor; 3], ModelError> {
        match self {
            Self::Joint(linear) => {
                let parts = linear.forward(states, pass)?.f_chunk(3, -1)?;
                Ok(parts.try_into().expect("three parts were asked for"))
            }
            Self::Separate([query, key, value]) => {
                let part = |linear: &Linear| linear.forward(states, pass);
                Ok([part(query)?, part(key)?, part(value)?])
            }
        }
    }
}

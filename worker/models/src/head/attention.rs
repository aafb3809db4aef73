//! Token states to one vector a sample by attention that is learned with the head: Yang et al. 2016, Hierarchical Attention Networks for
//! Document Classification, <https://aclanthology.org/N16-1174>.

use tch::{Kind, Tensor};

use super::layers::{Affine, Draws};
use crate::{error::ModelError, layers::pooling::without_padding, shared_batch::Leaves};

/// Firn's name of it, and that in all that a job leaves.
pub(crate) const POOLING: &str = "pooling";

/// The weight of a token with state h is the softmax, over the tokens that are not padding, of c · tanh(W h + b).
pub(super) struct AttentionPooling {
    projection: Affine,
    context: Affine,
}

impl AttentionPooling {
    /// Of states of this length; W, b and c begin as `torch.nn.Linear` draws them.
    pub(super) fn new(draws: &Draws, hidden: i64) -> Result<Self, ModelError> {
        Ok(Self {
            projection: Affine::new(draws, "projection.".to_owned(), [hidden, hidden], true)?,
            context: Affine::new(draws, "context.".to_owned(), [1, hidden], false)?,
        })
    }

    pub(super) fn tensors(&self) -> Vec<(String, &Tensor)> {
        [&self.projection, &self.context]
            .into_iter()
            .flat_map(Affine::tensors)
            .collect()
    }

    pub(super) fn with(&self, leaves: Leaves<'_>) -> Self {
        Self {
            projection: self.projection.with(leaves),
            context: self.context.with(leaves),
        }
    }

    /// States `(n, tokens, hidden)` and their mask `(n, tokens)` to `(n, hidden)`.
    pub(super) fn forward(&self, states: &Tensor, mask: &Tensor) -> Result<Tensor, ModelError> {
        let scores = self.context.forward(&self.projection.forward(states)?.f_tanh()?)?;
        let weights = without_padding(&scores, mask)?.f_softmax(1, Kind::Float)?;
        Ok(states
            .f_mul(&weights)?
            .f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?)
    }
}

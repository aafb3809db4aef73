//! What is computed above the cut, and by the output layers.

use tch::Tensor;

use super::Model;
use crate::{
    auxiliary::{self, Outputs, Vectors},
    error::ModelError,
    layers::dropout::Dropout,
    shared_batch::{Leaves, SharedBatch},
    stage::{Features, Pass, Statistics},
};

impl Model {
    /// Everything above the cut and the head: logits `(n, classes)`. `dropout` marks a training pass: the head drops units, and
    /// BatchNorm above the cut uses the batch where the model was told to train it. Gradients flow to [`Model::trainable`].
    pub fn logits(&self, features: &Features, dropout: Option<&Dropout<'_>>) -> Result<Tensor, ModelError> {
        let vectors = self.above(features, (dropout, None), false)?;
        self.head.forward(&vectors.head, dropout)
    }

    /// The same in training, with what an auxiliary head that trains says.
    pub fn outputs(&self, features: &Features, dropout: &Dropout<'_>) -> Result<Outputs, ModelError> {
        let vectors = self.above(features, (Some(dropout), None), true)?;
        self.heads(&vectors, dropout, Leaves::Parameters)
    }

    /// The same for a part of a batch of which other ranks have the rest, where BatchNorm trains: it normalises by all of it. One output for each slice of the part
    /// that has samples, or one for the part where there are no slices or no samples. After the backward pass of the loss, [`SharedBatch::backward`] goes
    /// on below the last of these layers.
    pub fn shared_outputs(
        &self,
        features: &Features,
        dropout: &Dropout<'_>,
        batch: &SharedBatch<'_>,
    ) -> Result<Vec<Outputs>, ModelError> {
        let vectors = self.above(features, (Some(dropout), Some(batch)), true)?;
        let auxiliary = vectors.auxiliary.as_ref();
        let auxiliary = auxiliary.map(|vectors| batch.pieces(&vectors.tensor)).transpose()?;
        let mut auxiliary = auxiliary.into_iter().flatten();
        let (mut outputs, mut begin) = (Vec::new(), 0);
        for (leaves, piece) in batch.pieces(&vectors.head.tensor)? {
            let end = begin + piece.size()[0] as usize;
            let dropout = Dropout {
                samples: &dropout.samples[begin..end],
                ..*dropout
            };
            let vectors = Vectors {
                head: Features::unmasked(piece),
                auxiliary: auxiliary.next().map(|(_, piece)| Features::unmasked(piece)),
            };
            outputs.push(self.heads(&vectors, &dropout, leaves)?);
            begin = end;
        }
        Ok(outputs)
    }

    /// What the output layers say in training.
    fn heads(&self, vectors: &Vectors, dropout: &Dropout<'_>, leaves: Leaves<'_>) -> Result<Outputs, ModelError> {
        let beside = self.auxiliary.as_ref().zip(vectors.auxiliary.as_ref());
        let auxiliary = beside.map(|(auxiliary, vector)| {
            let outputs = auxiliary.head.with(leaves).forward(vector, None)?;
            Ok::<_, ModelError>((auxiliary.output.weight, outputs))
        });
        Ok(Outputs {
            head: self.head.with(leaves).forward(&vectors.head, Some(dropout))?,
            auxiliary: auxiliary.transpose()?,
        })
    }

    fn above(
        &self,
        features: &Features,
        (dropout, batch): (Option<&Dropout<'_>>, Option<&SharedBatch<'_>>),
        with_auxiliary: bool,
    ) -> Result<Vectors, ModelError> {
        let pass = Pass {
            statistics: match (self.train_batch_norm && dropout.is_some(), batch) {
                (false, _) => Statistics::Running,
                (true, None) => Statistics::Batch,
                (true, Some(batch)) => Statistics::Shared(batch),
            },
            dropout,
            merges: false,
        };
        auxiliary::walk(
            self.above_cut(),
            features,
            &pass,
            with_auxiliary && self.auxiliary.is_some(),
        )
    }
}

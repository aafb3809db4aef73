//! What a network predicts of the samples of a shard: in a pass of the gang, of the artifacts at the end, and in `firn-worker predict`.

use firn_data::{Batch, Loader, Split};
use firn_models::{Model, Objective};
use firn_proto::v1alpha1 as wire;

use super::{failure::RankFailure, job_data, learner::inputs::Inputs, task};

/// A network, and what its outputs are compared with.
#[derive(Clone, Copy)]
pub(crate) struct Scorer<'a> {
    pub(crate) model: &'a Model,
    pub(crate) objective: &'a Objective,
    pub(crate) inputs: &'a Inputs,
}

impl Scorer<'_> {
    /// Predictions and their additive statistics. `between` is called after each batch.
    ///
    /// # Errors
    /// Those of libtorch, and whatever `between` answers.
    pub(crate) fn report<E: From<RankFailure>>(
        &self,
        batches: Loader,
        split: &Split,
        mut between: impl FnMut() -> Result<(), E>,
    ) -> Result<wire::EvaluationReport, E> {
        let mut report = wire::EvaluationReport::default();
        for batch in batches {
            let corrupt = batch.corrupt.iter();
            report
                .corrupt
                .extend(corrupt.map(|sample| job_data::to_wire(split.name.as_str(), sample)));
            if !batch.indices.is_empty() {
                self.score((&batch, split), &mut report)?;
            }
            between()?;
        }
        Ok(report)
    }

    fn score(&self, samples: (&Batch, &Split), report: &mut wire::EvaluationReport) -> Result<(), RankFailure> {
        let outputs = {
            let _no_grad = tch::no_grad_guard();
            let features = self.model.features(&self.inputs.of(samples.0)?)?;
            self.model.logits(&features, None)?
        };
        task::score(self.objective, &outputs, samples, report)
    }
}

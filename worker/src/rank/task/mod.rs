//! What the job's task means on a rank: how many outputs the network has, what training makes small, and what the outputs say of a sample.
//!
//! Each task has its own file; the choices between them stand here and nowhere else on a rank.

mod classification;

use firn_core::spec::{JobSpec, Task};
use firn_data::{Batch, Dataset, Split, Targets};
use firn_models::Objective;
use firn_proto::v1alpha1 as wire;
use tch::{Device, Tensor};

use super::failure::RankFailure;

/// Outputs of the network.
pub(crate) fn outputs(spec: &JobSpec, dataset: &Dataset) -> usize {
    match spec.task {
        Task::Classification => dataset.classes.len(),
    }
}

/// What training makes small.
pub(crate) fn objective(spec: &JobSpec, dataset: &Dataset, device: Device) -> Result<Objective, RankFailure> {
    match spec.task {
        Task::Classification => classification::objective(&spec.training.loss, dataset, device),
    }
}

/// Adds the predictions for a batch, and their statistics, to the report. `outputs`: `(n, outputs)`, as the network gives them.
pub(crate) fn score(
    outputs: &Tensor,
    batch: &Batch,
    split: &Split,
    report: &mut wire::EvaluationReport,
) -> Result<(), RankFailure> {
    match &batch.targets {
        Targets::Classes(classes) => classification::score(outputs, (&batch.indices, classes), split, report),
    }
}

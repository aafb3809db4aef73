//! Scores every sample of a shard, and sends its predictions and their additive statistics.

use std::{ops::Range, sync::Arc};

use firn_data::{Batch, Loader, Split};
use firn_proto::v1alpha1::{self as wire, complete_shard_request::Report};

use super::{Found, Means, OpenShard};
use crate::rank::{job_data, learner::micro_batch_plan, stop_reason::StopReason, task};

/// A shard to be scored.
pub(super) struct Shard {
    split: Arc<Split>,
    /// Decodes from the moment of opening.
    loader: Loader,
}

impl Shard {
    /// Begins to decode. Cut by position: the same samples share a batch, and give the same bits, however many beside them are set aside.
    pub(super) fn open(means: Means<'_>, split: &Arc<Split>, samples: Range<u64>) -> Self {
        let plan = micro_batch_plan::micro_batches(samples, means.learner.micro_batch());
        Self {
            split: Arc::clone(split),
            loader: means.data.load(split, plan.into_iter(), None),
        }
    }
}

impl OpenShard for Shard {
    fn work(
        self: Box<Self>,
        means: Means<'_>,
        between: &mut dyn FnMut() -> Result<(), StopReason>,
    ) -> Result<Found, StopReason> {
        let mut report = wire::EvaluationReport::default();
        for batch in self.loader {
            means.heartbeat.tick();
            means.heartbeat.check_urgent()?;
            score(means, &self.split, &batch, &mut report)?;
            between()?;
        }
        Ok(Found {
            report: Report::Evaluation(report),
            set_aside: Vec::new(),
        })
    }
}

/// Adds the predictions for a batch, and their statistics, to the report.
fn score(
    means: Means<'_>,
    split: &Split,
    batch: &Batch,
    report: &mut wire::EvaluationReport,
) -> Result<(), StopReason> {
    let corrupt = batch.corrupt.iter();
    report
        .corrupt
        .extend(corrupt.map(|sample| job_data::to_wire(split.name.as_str(), sample)));
    if batch.indices.is_empty() {
        return Ok(());
    }
    let outputs = {
        let _no_grad = tch::no_grad_guard();
        let model = means.learner.model();
        let features = model.features(&means.learner.input(batch)?)?;
        model.logits(&features, None)?
    };
    Ok(task::score(
        means.learner.objective(),
        &outputs,
        (batch, split),
        report,
    )?)
}

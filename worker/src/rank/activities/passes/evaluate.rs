//! Scores every sample of a shard, and sends its predictions and their additive statistics.

use std::{ops::Range, sync::Arc};

use firn_data::{Loader, Split};
use firn_proto::v1alpha1::complete_shard_request::Report;

use super::{Found, Means, OpenShard};
use crate::rank::{learner::micro_batch_plan, stop_reason::StopReason};

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
        let report = means.learner.scorer().report(self.loader, &self.split, || {
            means.heartbeat.tick();
            means.heartbeat.check_urgent()?;
            between()
        })?;
        Ok(Found {
            report: Report::Evaluation(report),
            set_aside: Vec::new(),
        })
    }
}

//! Reads every byte of a shard, so that what cannot be read is known before the first step.

use std::{ops::Range, sync::Arc};

use firn_data::Split;
use firn_proto::v1alpha1::{self as wire, complete_shard_request::Report};

use super::{Found, Means, OpenShard};
use crate::rank::{job_data, stop_reason::StopReason};

/// A shard to be read.
pub(super) struct Shard {
    split: Arc<Split>,
    samples: Range<u64>,
}

impl Shard {
    /// Nothing can be prepared: reading is all there is to do.
    pub(super) fn open(split: &Arc<Split>, samples: Range<u64>) -> Self {
        let split = Arc::clone(split);
        Self { split, samples }
    }
}

impl OpenShard for Shard {
    fn work(
        self: Box<Self>,
        means: Means<'_>,
        _: &mut dyn FnMut() -> Result<(), StopReason>,
    ) -> Result<Found, StopReason> {
        let outcome = firn_data::scan(&self.split, self.samples, means.data.preprocessor(), || {
            means.heartbeat.tick()
        });
        let corrupt = outcome.corrupt.iter();
        let corrupt: Vec<_> = corrupt
            .map(|sample| job_data::to_wire(self.split.name.as_str(), sample))
            .collect();
        let report = wire::ScanReport {
            bytes_read: outcome.bytes_read,
            content_digest: outcome.content_digest,
            corrupt: corrupt.clone(),
        };
        Ok(Found {
            report: Report::Scan(report),
            set_aside: corrupt,
        })
    }
}

//! Corrupt samples are set aside, up to the limit of the spec.

use super::decision_builder::DecisionBuilder;
use super::losses;
use super::members::{Caller, working};
use crate::identifiers::RankIdentity;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::{Failure, FailureReason, QuarantinedSample};

pub(super) fn report(
    draft: &mut DecisionBuilder<'_>,
    identity: &RankIdentity,
    sample: QuarantinedSample,
) -> Result<Reply, Reject> {
    let caller = working(draft.base(), identity)?;
    let registered = caller.job.run.dataset.as_ref();
    let split = registered.and_then(|registered| registered.dataset.split(sample.split));
    let samples = split.map_or(0, |split| split.samples);
    if sample.index >= samples {
        return Err(Reject::NoSuchSample {
            split: sample.split,
            samples,
            index: sample.index,
        });
    }
    match set_aside(draft, &caller, vec![sample]) {
        Some(failure) => Ok(Reply::JobFailed(failure)),
        None => Ok(Reply::Done),
    }
}

/// Sets samples aside that were not yet; beyond the spec's limit the job has failed.
pub(super) fn set_aside(
    draft: &mut DecisionBuilder<'_>,
    caller: &Caller<'_>,
    corrupt: Vec<QuarantinedSample>,
) -> Option<Failure> {
    let job = caller.job;
    let limit = job.spec.data.quarantine.max_samples as usize;
    let mut quarantined = job.run.quarantined.len();
    for sample in corrupt {
        if job.run.is_quarantined(sample.split, sample.index) {
            continue;
        }
        draft.record_job(&job.id, JobEvent::SampleQuarantined(sample.clone()));
        quarantined += 1;
        if quarantined > limit {
            let message = format!(
                "sample {} of {} ({}) is corrupt: {}; that is one more than may be set aside \
                 (data.quarantine.maxSamples is {limit})",
                sample.index, sample.split, sample.sample, sample.reason,
            );
            return Some(losses::fail_by(draft, caller, FailureReason::BadData, message));
        }
    }
    None
}

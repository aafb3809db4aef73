//! What people ask for: jobs begin and end.

use std::sync::Arc;

use super::decision_builder::DecisionBuilder;
use super::{losses, settle, settle_soon};
use crate::compatibility::Revision;
use crate::identifiers::JobId;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::spec::{JobSpec, settings};
use crate::state::{Job, Outcome, Phase, State};

pub(super) fn submit(draft: &mut DecisionBuilder<'_>, spec: Arc<JobSpec>) -> Result<Reply, Reject> {
    let id = enter(draft, spec)?;
    settle_soon(draft, draft.base().soft.waiting.len());
    Ok(Reply::Submitted(id))
}

/// The job is not placed until it is resumed.
pub(super) fn submit_suspended(draft: &mut DecisionBuilder<'_>, spec: Arc<JobSpec>) -> Result<Reply, Reject> {
    let id = enter(draft, spec)?;
    draft.record_job(&id, JobEvent::Suspended);
    Ok(Reply::Submitted(id))
}

fn enter(draft: &mut DecisionBuilder<'_>, spec: Arc<JobSpec>) -> Result<JobId, Reject> {
    let state = draft.base();
    let limit = state.settings.unfinished_jobs;
    let is_open = |job: &&Arc<Job>| !matches!(job.phase, Phase::Ended(_));
    // They are counted only where there may be too many.
    if state.jobs.len() >= limit && state.jobs.values().filter(is_open).count() >= limit {
        return Err(Reject::LimitReached {
            what: "unfinished jobs",
            limit,
        });
    }
    let id = free_id(state, &spec.metadata.name);
    let submitted = JobEvent::Submitted {
        settings_digest: Some(settings::digest(&spec, Revision::CURRENT)),
        spec,
        request: None,
    };
    draft.record_job(&id, submitted);
    Ok(id)
}

/// The name itself, or with the first of `-2`, `-3`, … that no job has.
fn free_id(state: &State, name: &str) -> JobId {
    let plain = JobId::from(name);
    if !state.knows(&plain) {
        return plain;
    }
    let mut number = 2u64;
    loop {
        let id = JobId::from(format!("{name}-{number}"));
        if !state.knows(&id) {
            return id;
        }
        number += 1;
    }
}

pub(super) fn cancel(draft: &mut DecisionBuilder<'_>, id: &JobId) -> Result<Reply, Reject> {
    let Some(job) = draft.base().job(id) else {
        if draft.base().past.contains_key(id) {
            return Ok(Reply::Done);
        }
        return Err(Reject::JobNotFound { job: id.clone() });
    };
    if job.outcome().is_none() {
        losses::end_job(draft, id, Outcome::Cancelled);
        settle(draft);
    }
    Ok(Reply::Done)
}

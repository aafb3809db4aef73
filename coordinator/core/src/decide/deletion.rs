//! Jobs are deleted: because a person wants it, or because more is kept than the settings allow.
//!
//! The deletion is recorded first. Then, once the last process of the job is gone, its files are removed, and that is recorded too; only then
//! is its name free. A start goes on with what an earlier coordinator did not come to.

use super::{access, decision_builder::DecisionBuilder};
use crate::effect::Effect;
use crate::identifiers::JobId;
use crate::now::Now;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::soft_change::SoftChange;
use crate::state::{Deletion, PastJob, Retention, State};

/// Jobs that one decision deletes; the others follow at once.
const AT_ONCE: usize = 100;

/// A person wants a job to be gone.
pub(super) fn delete(draft: &mut DecisionBuilder<'_>, id: &JobId) -> Result<Reply, Reject> {
    let state = draft.base();
    if state.erasing.contains(id) {
        return Ok(Reply::Done);
    }
    match state.job(id) {
        Some(job) if job.outcome().is_none() => return Err(Reject::JobNotEnded { job: id.clone() }),
        None if !state.past.contains_key(id) => return Err(Reject::JobNotFound { job: id.clone() }),
        _ => {}
    }
    begin(draft, id, Deletion::Asked);
    Ok(Reply::Done)
}

/// The files of a job are gone.
pub(super) fn conclude(draft: &mut DecisionBuilder<'_>, id: &JobId, bytes: u64) -> Reply {
    if draft.base().erasing.contains(id) {
        draft.record_job(id, JobEvent::Erased { bytes });
    }
    Reply::Done
}

/// Somebody has taken a copy of a file.
pub(super) fn fetch(draft: &mut DecisionBuilder<'_>, id: &JobId, name: String) -> Reply {
    let state = draft.base();
    let is_new = match (state.job(id), state.past.get(id)) {
        (Some(job), _) => {
            job.run.artifacts.iter().any(|artifact| artifact.name == name) && !job.run.fetched.contains(&name)
        }
        (None, Some(past)) => past.unfetched.contains(&name),
        (None, None) => false,
    };
    if is_new && !state.erasing.contains(id) {
        draft.record_job(id, JobEvent::ArtifactFetched { name });
        settle(draft);
    }
    Reply::Done
}

/// Goes on with what was begun: what waits for the last process of its job, or was left open by an earlier coordinator.
pub(super) fn resume(draft: &mut DecisionBuilder<'_>) {
    let waiting: Vec<JobId> = draft.state().erasing.iter().cloned().collect();
    for id in waiting {
        erase_if_over(draft, &id);
    }
}

fn begin(draft: &mut DecisionBuilder<'_>, id: &JobId, reason: Deletion) {
    draft.record_job(id, JobEvent::Deleted { reason });
    access::end_of_job(draft, id);
    erase_if_over(draft, id);
}

/// Processes on workers that are lost are not waited for: their agents are told to end them when they come back.
fn erase_if_over(draft: &mut DecisionBuilder<'_>, id: &JobId) {
    if draft.state().live_processes(id).next().is_none() {
        draft.effect(Effect::EraseJob { job: id.clone() });
    }
}

/// Deletes what is kept beyond the limits, and notes when the next job will be.
pub(super) fn settle(draft: &mut DecisionBuilder<'_>) {
    let retention = draft.base().settings.retention;
    if !retention.is_limited() && draft.state().soft.expiries.is_empty() {
        return;
    }
    let now = draft.now();
    let mut excess = expired(draft.state(), now);
    if retention.is_limited() {
        let others = self::excess(draft.state(), retention, now);
        let others = others
            .into_iter()
            .filter(|(id, _)| !excess.iter().any(|(known, _)| known == id));
        excess.extend(others.collect::<Vec<_>>());
    }
    let is_all = excess.len() <= AT_ONCE;
    for (id, reason) in excess.into_iter().take(AT_ONCE) {
        begin(draft, &id, reason);
    }
    let until = match is_all {
        true => next_end(draft.state(), retention)
            .into_iter()
            .chain(draft.state().soft.expiries.first().map(|(at, _)| *at))
            .min(),
        false => Some(now + 1),
    };
    if draft.base().soft.retention_at != until {
        draft.change_soft(SoftChange::RetentionDue { until });
    }
}

fn may_go(retention: Retention, job: &PastJob) -> bool {
    retention.unfetched || job.unfetched.is_empty()
}

/// Jobs that say themselves for how long they are kept, and have been.
fn expired(state: &State, now: Now) -> Vec<(JobId, Deletion)> {
    let due = state.soft.expiries.iter().take_while(|(at, _)| *at <= now);
    due.map(|(_, id)| (id.clone(), Deletion::Expired)).collect()
}

/// Jobs that are kept beyond a limit, oldest end first.
fn excess(state: &State, retention: Retention, now: Now) -> Vec<(JobId, Deletion)> {
    let mut ended: Vec<(&JobId, PastJob)> = state.ended_jobs().collect();
    ended.sort_unstable_by_key(|(_, job)| (job.ended_at, job.sequence));
    let mut jobs = ended.len() as u64;
    let mut bytes: u64 = ended.iter().map(|(_, job)| job.bytes).sum();
    let mut excess = Vec::new();
    for (id, job) in ended.iter().filter(|(_, job)| may_go(retention, job)) {
        let too_old = retention.age.filter(|age| job.ended_at + *age <= now);
        let too_many = retention.jobs.filter(|limit| jobs > *limit);
        let too_large = retention.bytes.filter(|limit| bytes > *limit && job.bytes > 0);
        let reason = too_old
            .map(|limit| Deletion::TooOld { limit })
            .or(too_many.map(|limit| Deletion::TooMany { limit }))
            .or(too_large.map(|limit| Deletion::TooLarge { limit }));
        if let Some(reason) = reason {
            excess.push(((*id).clone(), reason));
            jobs -= 1;
            bytes -= job.bytes;
        }
    }
    excess
}

/// When the next job will have been kept for long enough.
fn next_end(state: &State, retention: Retention) -> Option<Now> {
    let age = retention.age?;
    let ended = state.ended_jobs().filter(|(_, job)| may_go(retention, job));
    ended.map(|(_, job)| job.ended_at + age).min()
}

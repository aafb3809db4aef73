//! Agents that are there for one job leave when it is over.
//!
//! Each is told once a stream, so that one that was away hears of it, too. One that comes before its job waits: nobody can know whether the job
//! is still to come.

use std::collections::BTreeSet;

use super::decision_builder::DecisionBuilder;
use crate::effect::Effect;
use crate::identifiers::{JobId, WorkerName};
use crate::state::{JobEnd, State, WorkerDescription};

/// Tells the agents of jobs that this decision has ended.
pub(super) fn settle(draft: &mut DecisionBuilder<'_>) {
    let ended: BTreeSet<JobId> = draft.ended_jobs().cloned().collect();
    let state = draft.state();
    let connected = state.workers.iter().filter(|(name, _)| state.is_connected(name));
    let concerned = connected.filter_map(|(name, worker)| {
        let job = worker.description.serves.job.as_ref()?;
        ended.contains(job).then_some((name, job))
    });
    let told: Vec<Effect> = concerned.map(|(name, job)| tell(state, name, job)).collect();
    told.into_iter().for_each(|effect| draft.effect(effect));
}

/// Tells an agent that attaches after the end of its job. Returns the job that it waits for, if that is not there yet.
pub(super) fn greet(draft: &mut DecisionBuilder<'_>, description: &WorkerDescription) -> Option<JobId> {
    let state = draft.base();
    let job = description.serves.job.as_ref()?;
    if !state.is_dismissed(description) {
        return Some(job.clone()).filter(|job| !state.knows(job));
    }
    draft.effect(tell(state, &description.name, job));
    None
}

fn tell(state: &State, worker: &WorkerName, job: &JobId) -> Effect {
    Effect::DismissAgent {
        worker: worker.clone(),
        job: job.clone(),
        end: state.end_of(job).unwrap_or(JobEnd::Deleted),
    }
}

//! What may be changed of a job that goes on: between how many workers it may have, and its priority.
//!
//! The change is checked like a submission. A gang that may have more workers is offered them like any other that could grow; one that
//! has more than it may lets the surplus go at the next step: the workers whose names come last, as a Job of Kubernetes ends the pods with
//! the highest indices first.

use super::decision_builder::DecisionBuilder;
use super::{members, processes, settle};
use crate::compatibility::Need;
use crate::identifiers::{JobId, WorkerName};
use crate::natural_order;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::spec::{JobSpec, Violation};
use crate::state::{Gang, Job, JobChanges, MemberState, State};

/// A person changes a job.
pub(super) fn update(draft: &mut DecisionBuilder<'_>, id: &JobId, changes: JobChanges) -> Result<Reply, Reject> {
    let job = members::unfinished(draft.base(), id)?;
    let mut violations = violations(&job.spec, changes);
    violations.extend(too_old(draft.base(), job, changes));
    if !violations.is_empty() {
        return Err(Reject::InvalidJob { violations });
    }
    if changes.applied_to(&job.spec) != *job.spec {
        draft.record_job(id, JobEvent::Updated { changes });
        settle(draft);
    }
    Ok(Reply::Done)
}

/// What would be said of the changed job at its submission, and not of the job as it is.
fn violations(spec: &JobSpec, changes: JobChanges) -> Vec<Violation> {
    let found = |spec: &JobSpec| JobSpec::from_document(spec.to_document()).err().unwrap_or_default();
    let before = found(spec);
    let mut violations = found(&changes.applied_to(spec));
    violations.retain(|violation| !before.contains(violation));
    violations
}

/// A worker of the gang that does not know how to compute the changed job: it stays in it, beside others that would compute otherwise.
fn too_old(state: &State, job: &Job, changes: JobChanges) -> Option<Violation> {
    let need = Need::of(&changes.applied_to(&job.spec));
    if need.revision <= Need::of_job(job).revision {
        return None;
    }
    let living = job.gang()?.living();
    let mut reasons = living.filter_map(|member| {
        let worker = state.workers.get(&member.worker)?;
        let (revision, build) = (worker.description.protocol, &worker.description.version);
        need.refuses(&format!("worker {}", member.worker), revision, build)
    });
    Some(Violation {
        // Only more ranks need more.
        field: "spec.resources.workers.max".to_owned(),
        message: format!("cannot be changed while {}", reasons.next()?),
    })
}

/// Lets the surplus of every gang go that has more workers than it may.
pub(super) fn settle_surplus(draft: &mut DecisionBuilder<'_>) {
    let has_surplus = |state: &State, job: &Job| !surplus(state, job).is_empty();
    let state = draft.state();
    let due: Vec<JobId> = state
        .jobs_with_gangs()
        .filter(|job| has_surplus(state, job))
        .map(|job| job.id.clone())
        .collect();
    for id in due {
        let Some(job) = draft.state().jobs.get(&id).cloned() else {
            continue;
        };
        for worker in surplus(draft.state(), &job) {
            if let Some(gang) = job.gang() {
                let_go(draft, &id, gang, &worker);
            }
        }
    }
}

/// Workers beyond the most that the spec allows, of those whose ranks are not leaving yet.
fn surplus(state: &State, job: &Job) -> Vec<WorkerName> {
    let Some(gang) = job.gang().filter(|_| !job.is_released() && !job.is_finishing()) else {
        return Vec::new();
    };
    let workers = job.spec.resources.workers;
    let most = workers.max.max(workers.min) as usize;
    if gang.members.len() + gang.recruits.len() <= most {
        return Vec::new();
    }
    let stays = gang
        .everyone()
        .filter(|member| member.state != MemberState::Exited && !state.is_leaving(&member.process));
    let mut names: Vec<&WorkerName> = stays.map(|member| &member.worker).collect();
    names.sort_by(|a, b| natural_order::compare(a.as_str(), b.as_str()));
    names.dedup();
    names.into_iter().skip(most).cloned().collect()
}

/// Lets the ranks of a gang on a worker go at the next step; those that only prepare, at once.
pub(super) fn let_go(draft: &mut DecisionBuilder<'_>, id: &JobId, gang: &Gang, worker: &WorkerName) {
    let grace = draft.base().settings.stop_grace;
    for recruit in gang.recruits.iter().filter(|recruit| recruit.worker == *worker) {
        let process = recruit.process.clone();
        draft.record_job(id, JobEvent::RankReleased { process });
        processes::request_stop(draft, &recruit.process, grace);
    }
    for member in gang.living().filter(|member| member.worker == *worker) {
        let process = member.process.clone();
        draft.record_job(id, JobEvent::RankLeaving { process });
    }
}

//! Gangs that wait for workers give way to jobs that could have their slots, when nothing else helps.
//!
//! A gang that has lost workers keeps what it has: it goes on at once when others come. But two jobs that each hold a part of what the other
//! one waits for would wait for ever; so would an earlier job for slots that only such a gang holds, and any job for those of one that
//! all workers together could not complete. So after a while these gangs are dissolved, the last in the order of the queue
//! first, as few as will do; they are placed again in their turn.

use super::decision_builder::DecisionBuilder;
use super::free_slots::{Audience, Fleet};
use super::{growth, processes};
use crate::identifiers::{JobId, ProcessId};
use crate::now::Now;
use crate::placement::{self, Problem};
use crate::queue::quota::Accounts;
use crate::record::JobEvent;
use crate::state::{Cause, Failure, FailureReason, Gang, Gravity, Job, Phase, State};

/// Whether a job's gang has waited for workers long enough.
pub(super) fn has_waited(state: &State, job: &Job, now: Now) -> bool {
    waiting_gang(job).is_some_and(|gang| now >= gang.formed_at + state.settings.warm_patience)
}

fn waiting_gang(job: &Job) -> Option<&Gang> {
    match &job.phase {
        Phase::Starting(gang) if job.is_short() && !job.is_released() => Some(gang),
        _ => None,
    }
}

/// Dissolves gangs for the first of these jobs that this helps; whether there was one.
pub(super) fn dissolve_waiting_gangs(draft: &mut DecisionBuilder<'_>, ahead: &[JobId]) -> bool {
    let (now, state) = (draft.now(), draft.state());
    if !state.jobs_with_gangs().any(|job| has_waited(state, job, now)) {
        return false;
    }
    for id in ahead {
        let state = draft.state();
        let Some(job) = state.job(id) else { continue };
        if let Some(yielding) = who_yields(state, job, now) {
            let cause = cause(id, now);
            yielding.iter().for_each(|other| dissolve(draft, other, &cause));
            return true;
        }
    }
    false
}

/// The gangs whose slots a job needs and that have waited long enough: those that have no hope first, and of them the last in
/// the order of the queue. `None` if all of them together would not do, or if the slots are free already and only their processes have to end.
fn who_yields(state: &State, job: &Job, now: Now) -> Option<Vec<JobId>> {
    let mut fleet = Fleet::connected(state);
    for process in state.processes.values().filter(|process| state.is_ending(process)) {
        fleet.free(state, process);
    }
    let audience = fleet.audience(job);
    if fits(state, job, &fleet, &audience) {
        return None;
    }
    let mut yielding = Vec::new();
    for other in candidates(state, job, now) {
        for process in state.processes.values().filter(|process| process.job == other.id) {
            fleet.free(state, process);
        }
        yielding.push(other.id.clone());
        if fits(state, job, &fleet, &audience) {
            return Some(yielding);
        }
    }
    None
}

fn candidates<'a>(state: &'a State, job: &Job, now: Now) -> Vec<&'a Job> {
    let mut all = Fleet::connected(state);
    all.free_all();
    let kind = all.kind(job, &all.circle(job));
    let has_hope = |other: &Job| growth::could_be_completed(other, &all.able(state, &all.audience(other)));
    // Slots that the job could not be given are none to give up for it.
    let would_help = |gang: &Gang| {
        let mut workers = gang.living().filter_map(|member| state.workers.get(&member.worker));
        growth::kind_of(gang) == kind && workers.any(|worker| worker.description.suits(job))
    };
    let accounts = Accounts::of(state);
    let rank = |job: &Job| job.place().rank(accounts.share(job.namespace()));
    let mut candidates: Vec<&Job> = state.jobs_with_gangs().map(|other| other.as_ref()).collect();
    candidates.retain(|other| {
        let gang = waiting_gang(other).filter(|gang| would_help(gang));
        let may_yield = rank(other) > rank(job) || (other.id != job.id && !has_hope(other));
        gang.is_some() && may_yield && has_waited(state, other, now)
    });
    candidates.sort_by_cached_key(|other| (has_hope(other), std::cmp::Reverse(rank(other))));
    candidates
}

fn fits(state: &State, job: &Job, fleet: &Fleet, audience: &Audience) -> bool {
    let able = fleet.able(state, audience);
    if job.gang().is_some() {
        return growth::could_be_completed(job, &able);
    }
    let problem = Problem {
        request: job.spec.resources,
        workers: able.workers.into_owned(),
        in_addition: false,
        is_choice: able.is_choice,
    };
    placement::solve(&problem, None).is_ok()
}

fn cause(id: &JobId, now: Now) -> Cause {
    let message = format!("it waited for workers, and gave its slots up to jobs/{id}, which could have them");
    Cause {
        gravity: Gravity::Primary,
        failure: Failure::of_no_rank(FailureReason::Preempted, message),
        at: now,
    }
}

fn dissolve(draft: &mut DecisionBuilder<'_>, id: &JobId, cause: &Cause) {
    let (now, grace) = (draft.now(), draft.base().settings.stop_grace);
    let Some(gang) = draft.state().job(id).and_then(Job::gang) else {
        return;
    };
    let processes: Vec<ProcessId> = gang
        .living()
        .chain(&gang.recruits)
        .map(|member| member.process.clone())
        .collect();
    for process in processes {
        draft.record_job(
            id,
            JobEvent::RankReleased {
                process: process.clone(),
            },
        );
        processes::request_stop(draft, &process, grace);
    }
    draft.record_job(
        id,
        JobEvent::RestartScheduled {
            cause: Some(cause.clone()),
            not_before: now,
        },
    );
}

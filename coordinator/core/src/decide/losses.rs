//! What follows from the loss of a rank or a worker.
//!
//! The ranks that are left stay the processes that they are and form the gang anew ([`super::gangs`]). Losses count against the limit of the
//! spec; beyond it, or with a cause that no other attempt would change, the job has failed. A worker that fails too often is set aside.

use super::causes::{self, End};
use super::decision_builder::DecisionBuilder;
use super::gangs::{self, Formation};
use super::members::Caller;
use super::processes::request_stop;
use super::{release, settle};
use crate::effect::Effect;
use crate::identifiers::{JobId, ProcessId, WorkerName};
use crate::now::Now;
use crate::random::{Purpose, Random};
use crate::record::{Event, JobEvent};
use crate::stage::Stage;
use crate::state::{
    Availability, Cause, Ending, Failure, FailureReason, Gravity, Job, LossReason, Member, MemberState, Outcome,
    Presence, RankExit, Settings, State, Worker,
};

/// Ends a job; ranks of one that did not succeed are stopped.
pub(super) fn end_job(draft: &mut DecisionBuilder<'_>, id: &JobId, outcome: Outcome) {
    let succeeded = outcome == Outcome::Succeeded;
    draft.record_job(id, JobEvent::Ended { outcome });
    if !succeeded {
        stop_all(draft, id);
    }
}

/// Ends the job of a rank by what that one found; returns what the rank is told.
pub(super) fn fail_by(
    draft: &mut DecisionBuilder<'_>,
    caller: &Caller<'_>,
    reason: FailureReason,
    message: String,
) -> Failure {
    let failure = causes::found_by(caller.member, reason, message);
    fail_job(draft, &caller.job.id, failure.clone());
    settle(draft);
    failure
}

/// Ends a job by a failure.
pub(super) fn fail_job(draft: &mut DecisionBuilder<'_>, id: &JobId, failure: Failure) {
    end_job(draft, id, Outcome::Failed(failure));
}

fn stop_all(draft: &mut DecisionBuilder<'_>, id: &JobId) {
    let grace = draft.base().settings.stop_grace;
    let processes: Vec<ProcessId> = draft
        .state()
        .processes
        .iter()
        .filter(|(_, process)| process.job == *id && process.stop.is_none())
        .map(|(process, _)| process.clone())
        .collect();
    for process in processes {
        request_stop(draft, &process, grace);
    }
}

/// What the end of a process means.
enum Departure {
    /// Nothing: it had nothing left to do, was asked to end, or left on purpose.
    Expected,
    /// A rank or a recruit is lost.
    Lost(Cause),
}

/// A process has ended.
pub(super) fn learn_exit(draft: &mut DecisionBuilder<'_>, id: &ProcessId, exit: RankExit) {
    let now = draft.now();
    let state = draft.state();
    let Some(process) = state.processes.get(id) else { return };
    let job_id = process.job.clone();
    let departure = departure(state, id, &exit, now);
    let leaves_steps_behind = release::leaves_steps_behind(state, id, &exit);
    let exited = JobEvent::RankExited {
        process: id.clone(),
        exit,
    };
    match departure {
        Departure::Expected => {
            draft.record_job(&job_id, exited);
            if leaves_steps_behind {
                gangs::form_again(draft, &job_id, Formation::AFTER_LOSS);
            }
        }
        Departure::Lost(cause) if cause.gravity == Gravity::Fatal => {
            draft.record_job(&job_id, exited);
            fail_job(draft, &job_id, cause.failure);
        }
        Departure::Lost(cause) => {
            let is_open = count_loss(draft, &job_id, std::slice::from_ref(id), cause);
            draft.record_job(&job_id, exited);
            if is_open {
                gangs::form_again(draft, &job_id, Formation::AFTER_LOSS);
            }
        }
    }
}

fn departure(state: &State, id: &ProcessId, exit: &RankExit, now: Now) -> Departure {
    let lost = || {
        let process = state.processes.get(id)?;
        let job = state.job(&process.job)?;
        let gang = job.gang()?;
        let living = |member: &&Member| member.state != MemberState::Exited;
        let member = gang.member(id).filter(living).or_else(|| gang.recruit(id))?;
        if exit.ending == Ending::Exited(causes::LEFT) || is_done(job, member.rank, exit) {
            return None;
        }
        let report = gang.reports.iter().rfind(|report| member.said(report));
        let cause = causes::of_exit(&End {
            member,
            stop: process.stop,
            exit,
            report: report.map(|report| &report.failure),
            at: now,
        })?;
        // What a worker that is to be empty anyhow does to its ranks is no surprise.
        let is_expected = cause.gravity != Gravity::Fatal && state.is_leaving(id);
        (!is_expected).then_some(cause)
    };
    lost().map_or(Departure::Expected, Departure::Lost)
}

/// Whether the rank had nothing left to do: rank 0 writes the artifacts alone.
fn is_done(job: &Job, rank: u32, exit: &RankExit) -> bool {
    exit.ending == Ending::Exited(0) && rank != 0 && Stage::of(&job.run) == Stage::Finish
}

/// Living ranks or recruits are lost: they are killed, and the others form the gang anew. No rank need be lost: then only the
/// connection between them was.
pub(super) fn lose_ranks(
    draft: &mut DecisionBuilder<'_>,
    id: &JobId,
    lost: &[ProcessId],
    cause: Cause,
    formation: Formation,
) {
    if !count_loss(draft, id, lost, cause) {
        return;
    }
    for process in lost {
        request_stop(draft, process, 0);
    }
    gangs::form_again(draft, id, formation);
}

/// Records a loss; says whether the job goes on, which it does not beyond the limit of the spec.
fn count_loss(draft: &mut DecisionBuilder<'_>, id: &JobId, lost: &[ProcessId], cause: Cause) -> bool {
    let now = draft.now();
    let settings = draft.base().settings.clone();
    let Some(job) = draft.state().jobs.get(id).cloned() else {
        return false;
    };
    let last = job.losses.iter().rfind(|loss| loss.counts);
    // Nobody is started in place of a rank that was to leave.
    let counts = !job.is_released() && last.is_none_or(|loss| now >= loss.cause.at + settings.loss_window);
    let survived = job.losses_counted;
    let is_spent = counts && survived >= job.spec.restart_policy.max_restarts;
    let retry_at = match counts {
        true => now + backoff(&job, survived, &settings),
        false => job.retry_at,
    };
    let failure = cause.failure.clone();
    draft.record_job(
        id,
        JobEvent::RanksLost {
            processes: lost.to_vec(),
            cause,
            counts,
            retry_at,
        },
    );
    if is_spent {
        fail_job(draft, id, beyond_limit(failure, survived));
        return false;
    }
    if let Some(process) = lost.first().filter(|_| counts) {
        set_worker_aside(draft, process);
    }
    true
}

fn beyond_limit(mut failure: Failure, survived: u32) -> Failure {
    let limit = match survived {
        0 => "no restart is allowed".to_owned(),
        1 => "the job had survived 1 loss since its newest checkpoint, which is the limit".to_owned(),
        losses => format!("the job had survived {losses} losses since its newest checkpoint, which is the limit"),
    };
    failure.message = format!("{}; {limit}", failure.message);
    failure
}

/// Milliseconds before a process is started in place of a lost one: none at first, then a random part of a limit that doubles with each
/// loss ("full jitter" of the AWS architecture blog, *Exponential Backoff And Jitter*), so that jobs that fail together do not return together.
fn backoff(job: &Job, survived: u32, settings: &Settings) -> u64 {
    let Some(doublings) = survived.checked_sub(1) else {
        return 0;
    };
    let limit = settings
        .restart_backoff
        .saturating_mul(1u64 << doublings.min(32))
        .min(settings.restart_backoff_limit);
    let losses = u32::try_from(job.losses.len()).unwrap_or(u32::MAX);
    Random::new(job.sequence ^ job.generation.0 << 32, Purpose::RestartBackoff, losses).below(limit + 1)
}

/// The worker of a lost process has perhaps failed too often.
fn set_worker_aside(draft: &mut DecisionBuilder<'_>, lost: &ProcessId) {
    let process = draft.state().processes.get(lost);
    if let Some(worker) = process.map(|process| process.worker.clone()) {
        set_aside_if_failing(draft, &worker);
    }
}

/// A worker that has failed too often in a short time gets no new ranks, if there is another one to take them.
pub(super) fn set_aside_if_failing(draft: &mut DecisionBuilder<'_>, name: &WorkerName) {
    let now = draft.now();
    let state = draft.state();
    let Settings {
        worker_failures: limit,
        failure_window: window,
        ..
    } = state.settings;
    let Some(worker) = state.workers.get(name) else { return };
    let recent = worker.failures.iter().filter(|at| **at + window > now).count();
    let fails = limit > 0 && recent >= limit && worker.availability == Availability::Ready;
    if fails && can_be_spared(state, worker) {
        draft.record(Event::WorkerAvailabilityChanged {
            worker: name.clone(),
            availability: Availability::SetAside,
        });
    }
}

/// Whether another worker could take all jobs that this one could.
fn can_be_spared(state: &State, worker: &Worker) -> bool {
    let open = state.jobs.values().filter(|job| job.outcome().is_none());
    let jobs: Vec<&Job> = open
        .map(AsRef::as_ref)
        .filter(|job| worker.description.suits(job))
        .collect();
    state.workers.values().any(|other| {
        other.description.name != worker.description.name
            && other.takes_ranks()
            && jobs.iter().all(|job| other.description.suits(job))
    })
}

/// A worker is gone, and with it its ranks.
pub(super) fn lose_worker(draft: &mut DecisionBuilder<'_>, name: &WorkerName, (reason, message): (LossReason, &str)) {
    let now = draft.now();
    let state = draft.state();
    let Some(worker) = state.workers.get(name) else { return };
    let is_leaving = worker.availability.is_leaving();
    let stream = state.soft.streams.get(name).copied();
    let broken = ranks_on(state, name, message, now);
    draft.record(Event::WorkerLost {
        worker: name.clone(),
        reason,
    });
    if let Some(stream) = stream {
        draft.effect(Effect::CloseStream {
            worker: name.clone(),
            stream,
        });
    }
    for (job, lost, cause) in broken {
        if is_leaving {
            gangs::let_go(draft, &job, &lost);
        } else {
            lose_ranks(draft, &job, &lost, cause, Formation::AFTER_LOSS);
        }
    }
    forget_workers(draft);
}

/// The ranks of each job that live on a worker, and the cause that their loss is.
fn ranks_on(state: &State, worker: &WorkerName, message: &str, now: Now) -> Vec<(JobId, Vec<ProcessId>, Cause)> {
    let mut broken: Vec<(JobId, Vec<ProcessId>, Cause)> = Vec::new();
    for (id, process) in state.processes.iter().filter(|(_, process)| process.worker == *worker) {
        let gang = state.job(&process.job).and_then(Job::gang);
        let living = |member: &&Member| member.state != MemberState::Exited;
        let member = gang.and_then(|gang| gang.member(id).filter(living).or_else(|| gang.recruit(id)));
        let Some(member) = member else { continue };
        match broken.iter_mut().find(|(job, ..)| *job == process.job) {
            Some((_, lost, _)) => lost.push(id.clone()),
            None => {
                let message = format!("rank {} on {} is lost: {message}", member.rank, member.host);
                broken.push((
                    process.job.clone(),
                    vec![id.clone()],
                    causes::primary(member, message, now),
                ));
            }
        }
    }
    broken
}

/// Forgets the workers that were lost first, beyond the number that is remembered.
fn forget_workers(draft: &mut DecisionBuilder<'_>) {
    let limit = draft.base().settings.remembered_workers;
    let mut lost: Vec<_> = draft
        .state()
        .workers
        .iter()
        .filter_map(|(name, worker)| match worker.presence {
            Presence::Lost { at, .. } => Some((at, name.clone())),
            Presence::Attached => None,
        })
        .collect();
    if lost.len() <= limit {
        return;
    }
    lost.sort();
    lost.truncate(lost.len() - limit);
    for (_, worker) in lost {
        draft.record(Event::WorkerForgotten { worker });
    }
}

//! What follows from the loss of a rank or a worker.
//!
//! The gang comes down as a whole: all other ranks are stopped, and while they end, causes are gathered. When the last one is gone, the job
//! is formed again from its newest checkpoint, or it has failed with the cause that explains most. A fatal cause ends the job at once.

use super::causes::{self, End};
use super::draft::Draft;
use crate::effect::Effect;
use crate::identifiers::{JobId, ProcessId, WorkerName};
use crate::note::Note;
use crate::now::Now;
use crate::record::{Event, JobEvent};
use crate::stage::Stage;
use crate::state::{
    Cause, Ending, Failure, Job, LossReason, Outcome, Phase, Presence, RankExit, Settings, Standing, StopRequest,
};

/// Ends a job; ranks of one that did not succeed are stopped.
pub(super) fn end_job(draft: &mut Draft<'_>, id: &JobId, outcome: Outcome) {
    let succeeded = outcome == Outcome::Succeeded;
    draft.record_job(id, JobEvent::Ended { outcome });
    if !succeeded {
        stop_all(draft, id);
    }
}

/// Ends a job by what a rank delivered.
pub(super) fn fail_job(draft: &mut Draft<'_>, id: &JobId, failure: Failure) {
    end_job(draft, id, Outcome::Failed(failure));
}

/// Brings a gang down, or, if it is coming down already, adds what was learned.
pub(super) fn break_gang(draft: &mut Draft<'_>, id: &JobId, cause: Cause) {
    if cause.standing == Standing::Fatal {
        fail_job(draft, id, cause.failure);
        return;
    }
    draft.record_job(id, JobEvent::GangBroken { cause });
    stop_all(draft, id);
}

fn stop_all(draft: &mut Draft<'_>, id: &JobId) {
    let processes: Vec<ProcessId> = draft
        .state()
        .processes
        .iter()
        .filter(|(_, process)| process.job == *id && process.stop.is_none())
        .map(|(process, _)| process.clone())
        .collect();
    for process in processes {
        stop_process(draft, &process);
    }
}

/// Asks for the end of a process.
pub(super) fn stop_process(draft: &mut Draft<'_>, id: &ProcessId) {
    let now = draft.now();
    let grace = draft.base().settings.stop_grace;
    let Some(job) = draft.state().processes.get(id).map(|process| process.job.clone()) else {
        return;
    };
    let stop = StopRequest { at: now, grace };
    draft.record_job(
        &job,
        JobEvent::RankStopRequested {
            process: id.clone(),
            stop,
        },
    );
    send_stop(draft, id);
}

/// Tells the agent of a process that was asked to end; if the agent is away, it is told when it is back.
pub(super) fn send_stop(draft: &mut Draft<'_>, id: &ProcessId) {
    let now = draft.now();
    let state = draft.state();
    let Some(process) = state.processes.get(id) else { return };
    let Some(stop) = process.stop else { return };
    let worker = process.worker.clone();
    if state.is_connected(&worker) {
        draft.effect(Effect::StopRank {
            worker,
            process: id.clone(),
            grace: stop.grace,
        });
        draft.note(Note::StopSent {
            process: id.clone(),
            at: now,
        });
    }
}

/// A process has ended.
pub(super) fn learn_exit(draft: &mut Draft<'_>, id: &ProcessId, exit: RankExit) {
    let now = draft.now();
    let state = draft.state();
    let Some(process) = state.processes.get(id) else { return };
    let job_id = process.job.clone();
    let cause = state.job(&job_id).and_then(|job| {
        let gang = job.gang().filter(|gang| gang.generation == process.generation)?;
        let member = gang.member(id)?;
        if is_done(job, member.rank, &exit) {
            return None;
        }
        let report = gang
            .reports
            .iter()
            .rfind(|report| report.rank == member.rank)
            .map(|report| &report.failure);
        causes::of_exit(&End {
            member,
            stop: process.stop,
            exit: &exit,
            report,
            at: now,
        })
    });
    draft.record_job(
        &job_id,
        JobEvent::RankExited {
            process: id.clone(),
            exit,
        },
    );
    if let Some(cause) = cause {
        break_gang(draft, &job_id, cause);
    }
}

/// Whether the rank had nothing left to do: rank 0 writes the artifacts alone.
fn is_done(job: &Job, rank: u32, exit: &RankExit) -> bool {
    exit.ending == Ending::Exited(0) && rank != 0 && Stage::of(&job.run) == Stage::Finish
}

/// A worker is gone, and with it its ranks.
pub(super) fn lose_worker(draft: &mut Draft<'_>, name: &WorkerName, reason: LossReason) {
    let now = draft.now();
    let lease = draft.base().settings.lease;
    let state = draft.state();
    let Some(worker) = state.workers.get(name) else { return };
    let message = match reason {
        LossReason::LeaseExpired => format!("worker {name} sent no heartbeat for {} s", lease as f64 / 1000.0),
        LossReason::Left => format!("worker {name} was shut down"),
    };
    let host = worker.description.host.clone();
    let stream = state.soft.streams.get(name).copied();
    let broken: Vec<(JobId, Cause)> = state
        .processes
        .iter()
        .filter(|(_, process)| process.worker == *name)
        .filter_map(|(id, process)| {
            let gang = state.job(&process.job)?.gang()?;
            let member = gang.member(id)?;
            let message = format!("rank {} on {host} is lost: {message}", member.rank);
            Some((process.job.clone(), causes::primary(member, message, now)))
        })
        .collect();
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
    for (job, cause) in broken {
        break_gang(draft, &job, cause);
    }
    forget_workers(draft);
}

/// Forgets the workers that were lost first, beyond the number that is remembered.
fn forget_workers(draft: &mut Draft<'_>) {
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

/// Decides about the gangs of which no rank is left.
pub(super) fn settle(draft: &mut Draft<'_>) {
    let now = draft.now();
    let state = draft.state();
    let gone: Vec<(JobId, JobEvent)> = state
        .jobs
        .iter()
        .filter_map(|(id, job)| match &job.phase {
            Phase::Collapsing(collapsing) if state.live_processes(id).next().is_none() => {
                let cause = collapsing.first_cause()?;
                Some((id.clone(), after_loss(job, cause, &state.settings, now)))
            }
            _ => None,
        })
        .collect();
    for (id, event) in gone {
        match event {
            JobEvent::Ended { outcome } => end_job(draft, &id, outcome),
            event => draft.record_job(&id, event),
        }
    }
}

/// The restart, or the end if there have been as many as the spec allows.
fn after_loss(job: &Job, cause: &Cause, settings: &Settings, now: Now) -> JobEvent {
    let restarts = job.losses.len();
    if restarts < job.spec.max_restarts as usize {
        return JobEvent::RestartScheduled {
            cause: cause.clone(),
            not_before: now + backoff(restarts, settings),
        };
    }
    let budget = match restarts {
        0 => "no restart is allowed".to_owned(),
        1 => "the gang had been formed again once, which is the limit".to_owned(),
        times => format!("the gang had been formed again {times} times, which is the limit"),
    };
    let mut failure = cause.failure.clone();
    failure.message = format!("{}; {budget}", failure.message);
    JobEvent::Ended {
        outcome: Outcome::Failed(failure),
    }
}

/// Milliseconds before the next restart: none before the first, then doubled each time.
fn backoff(restarts: usize, settings: &Settings) -> u64 {
    let Some(doublings) = restarts.checked_sub(1) else {
        return 0;
    };
    let factor = 1u64 << doublings.min(32);
    settings
        .restart_backoff
        .saturating_mul(factor)
        .min(settings.restart_backoff_limit)
}

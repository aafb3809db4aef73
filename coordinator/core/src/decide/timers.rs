//! Time: what happens at the start of a coordinator, at a deadline, and which deadline is next.

use std::collections::BTreeMap;

use super::decision_builder::DecisionBuilder;
use super::{access, deletion, hangs, losses, processes, pulses, release, settle};
use crate::identifiers::{JobId, ProcessId, WorkerName};
use crate::now::Now;
use crate::record::Event;
use crate::reply::Reply;
use crate::soft_change::SoftChange;
use crate::stage::Stage;
use crate::state::{
    Ending, Failure, FailureReason, Gang, Job, LossReason, MemberState, Phase, Process, RankExit, State,
};

/// Beyond the grace period, before an agent is reminded of a process that it was told to end.
const REMINDER: u64 = 1_000;

/// Leases that a worker has to attach again to a new coordinator: it may be in the longest of its pauses, and the machine may be busy. A gang
/// does not wait for that; its ranks tell sooner which of them is gone.
const LEASES_TO_RETURN: u64 = 2;

/// A coordinator has taken over: every worker that was there gets time to attach again.
pub(super) fn start(draft: &mut DecisionBuilder<'_>) -> Reply {
    let state = draft.base();
    draft.record(Event::CoordinatorStarted {
        epoch: state.coordinator_epoch + 1,
    });
    let end = draft.now() + LEASES_TO_RETURN * state.settings.lease;
    for (worker, _) in state.workers.iter().filter(|(_, worker)| worker.is_attached()) {
        draft.change_soft(SoftChange::LeaseRenewed {
            worker: worker.clone(),
            end,
        });
    }
    for (id, _) in state.jobs.iter().filter(|(_, job)| job.outcome().is_none()) {
        draft.request_scores(id);
    }
    settle(draft);
    deletion::resume(draft);
    deletion::settle(draft);
    Reply::Done
}

/// Nobody was heard for a while, for no fault of theirs.
pub(super) fn wake(draft: &mut DecisionBuilder<'_>, slept: u64) -> Reply {
    draft.change_soft(SoftChange::Woken { at: draft.now(), slept });
    Reply::Done
}

/// The lease of a worker has ended. One that has not come back since the coordinator started is waited for as long as others come: ten
/// thousand agents do not return within one lease.
fn expire(draft: &mut DecisionBuilder<'_>, worker: &WorkerName) {
    let state = draft.base();
    let limit = state.soft.started_at + state.settings.return_limit;
    let until = state.soft.returning_until.min(limit);
    if state.soft.awaited.contains(worker) && until > draft.now() {
        draft.change_soft(SoftChange::LeaseRenewed {
            worker: worker.clone(),
            end: until,
        });
    } else {
        let message = format!(
            "worker {worker} sent no heartbeat for {} s",
            state.settings.lease as f64 / 1000.0
        );
        losses::lose_worker(draft, worker, (LossReason::LeaseExpired, &message));
    }
}

/// Does what is due.
pub(super) fn tick(draft: &mut DecisionBuilder<'_>) -> Reply {
    let now = draft.now();
    let expired: Vec<WorkerName> = draft.base().soft.leases.ended(now).cloned().collect();
    for worker in expired {
        expire(draft, &worker);
    }
    lose_silent(draft);
    for (job, due) in due_jobs(draft.state(), now) {
        match due {
            // Lost by now, if anything can be.
            Due::Silent(_) => {}
            Due::Disconnected => pulses::resolve_disconnection(draft, &job),
            Due::Exit(process) => stop_gracefully(draft, &process),
            Due::End => exceed_deadline(draft, &job),
            Due::Restart => draft.change_soft(SoftChange::Retried { job }),
        }
    }
    let missing = draft.state().soft.missing.iter();
    let gone: Vec<ProcessId> = missing
        .filter(|(_, until)| **until <= now)
        .map(|(id, _)| id.clone())
        .collect();
    for process in gone {
        let exit = RankExit {
            ending: Ending::Vanished,
            last_log_lines: Vec::new(),
            out_of_memory: false,
        };
        losses::learn_exit(draft, &process, exit);
    }
    let state = draft.state();
    let due: Vec<(ProcessId, Process)> = state
        .soft
        .ending
        .iter()
        .filter_map(|id| {
            let process = state.processes.get(id)?;
            (process_deadline(state, id, process)? <= now).then(|| (id.clone(), process.clone()))
        })
        .collect();
    for (id, process) in due {
        if process.stop.is_some() {
            processes::send_stop(draft, &id);
        } else if draft.state().is_ending(&process) {
            processes::request_stop(draft, &id, 0);
        } else {
            stop_gracefully(draft, &id);
        }
    }
    settle(draft);
    end_what_was_kept_long_enough(draft);
    Reply::Done
}

/// Tokens whose time is up, and jobs that are kept too long.
fn end_what_was_kept_long_enough(draft: &mut DecisionBuilder<'_>) {
    access::expire(draft);
    if keeps_too_long(draft) {
        deletion::settle(draft);
    }
}

/// Loses the ranks that have been silent for too long. Where only rank 0 was needed, its loss makes the others needed again, who may have been
/// silent as long.
fn lose_silent(draft: &mut DecisionBuilder<'_>) {
    let now = draft.now();
    let mut last = BTreeMap::new();
    loop {
        // Lost at the same moment, they cost the gang one generation.
        let mut silent: BTreeMap<JobId, Vec<ProcessId>> = BTreeMap::new();
        for (job, due) in due_jobs(draft.state(), now) {
            if let Due::Silent(process) = due {
                silent.entry(job).or_default().push(process);
            }
        }
        if silent.is_empty() || silent == last {
            return;
        }
        for (job, processes) in &silent {
            pulses::lose_silent(draft, job, processes);
        }
        last = silent;
    }
}

/// Whether a job has been kept for long enough.
fn keeps_too_long(draft: &DecisionBuilder<'_>) -> bool {
    let due = draft.base().soft.retention_at;
    due.is_some_and(|due| due <= draft.now())
}

/// When [`crate::Input::Tick`] is due next; `None`: only an input can change anything.
pub fn deadline(state: &State) -> Option<Now> {
    let jobs = state.soft.timed_jobs.iter().filter_map(|id| state.job(id));
    let jobs = jobs.flat_map(|job| job_deadlines(state, job)).map(|(at, _)| at);
    let processes = state
        .soft
        .ending
        .iter()
        .filter_map(|id| process_deadline(state, id, state.processes.get(id)?));
    let missing = state.soft.missing.values().copied();
    state
        .soft
        .leases
        .first_end()
        .into_iter()
        .chain(state.soft.settle_at)
        .chain(state.soft.retention_at)
        .chain(state.tokens.next_end())
        .chain(jobs)
        .chain(processes)
        .chain(missing)
        .min()
}

/// What a job waits for.
enum Due {
    /// That a rank calls.
    Silent(ProcessId),
    /// That somebody tells which rank is lost.
    Disconnected,
    /// That a rank that said that it cannot go on ends.
    Exit(ProcessId),
    /// Its end: it has been active for as long as it may be.
    End,
    /// That it may be formed again, or that a process may be started in place of a lost one.
    Restart,
}

/// A job has been active for as long as its spec allows.
fn exceed_deadline(draft: &mut DecisionBuilder<'_>, id: &JobId) {
    let Some(job) = draft.state().job(id).filter(|job| job.outcome().is_none()) else {
        return;
    };
    let Some(limit) = job.spec.run_policy.active_deadline_ms else {
        return;
    };
    let message = format!(
        "it was active for {} s, which is the limit of spec.runPolicy.activeDeadline",
        limit as f64 / 1000.0
    );
    losses::fail_job(draft, id, Failure::of_no_rank(FailureReason::DeadlineExceeded, message));
}

fn stop_gracefully(draft: &mut DecisionBuilder<'_>, process: &ProcessId) {
    let grace = draft.base().settings.stop_grace;
    processes::request_stop(draft, process, grace);
}

fn due_jobs(state: &State, now: Now) -> Vec<(JobId, Due)> {
    let jobs = state.soft.timed_jobs.iter().filter_map(|id| state.job(id));
    let due = jobs.flat_map(|job| job_deadlines(state, job).into_iter().map(|due| (job.id.clone(), due)));
    due.filter(|(_, (at, _))| *at <= now)
        .map(|(job, (_, due))| (job, due))
        .collect()
}

/// The timers of a job. Those that began under an earlier coordinator begin anew with this one.
fn job_deadlines(state: &State, job: &Job) -> Vec<(Now, Due)> {
    let begun = |at: Now| at.max(state.soft.started_at);
    let mut deadlines = Vec::new();
    let limit = job.spec.run_policy.active_deadline_ms;
    deadlines.extend(limit.and_then(|limit| Some((job.active.end_of(limit)?, Due::End))));
    if let Some(gang) = job.gang() {
        // Only rank 0 is still needed; the others end, and the news of that may take its time.
        let is_writing = matches!(job.phase, Phase::Running(_)) && Stage::of(&job.run) == Stage::Finish;
        let only_rank_0 = is_writing && gang.living().any(|member| member.rank == 0);
        let needed = gang.living().filter(|member| !only_rank_0 || member.rank == 0);
        for member in needed.chain(&gang.recruits) {
            // One that is being stopped is waited for elsewhere.
            let is_stopping = state
                .processes
                .get(&member.process)
                .is_none_or(|process| process.stop.is_some());
            if let Some(end) = pulses::lease_end(state, job, member).filter(|_| !is_stopping) {
                deadlines.push((end, Due::Silent(member.process.clone())));
            }
        }
        let left = gang.living().filter_map(|member| match &member.state {
            MemberState::Left { at, .. } => Some(begun(*at) + state.settings.disconnect_grace),
            _ => None,
        });
        deadlines.extend(left.min().map(|at| (at, Due::Disconnected)));
        deadlines.extend(report_deadlines(state, gang));
    }
    match &job.phase {
        // Once its time has come it waits for slots, and the reason says so.
        Phase::Restarting(restart) if !job.suspended && !state.soft.waiting.contains_key(&job.id) => {
            deadlines.push((restart.not_before, Due::Restart));
        }
        Phase::Starting(_) | Phase::Running(_) => {
            let retry = state.soft.retries.get(&job.id);
            deadlines.extend(retry.map(|at| (*at, Due::Restart)));
        }
        _ => {}
    }
    deadlines
}

fn report_deadlines(state: &State, gang: &Gang) -> Vec<(Now, Due)> {
    let due = gang.reports.iter().filter_map(|report| {
        let member = gang.everyone().find(|member| member.said(report))?;
        let process = state.processes.get(&member.process)?;
        let at = report.at.max(state.soft.started_at) + state.settings.report_grace;
        process.stop.is_none().then(|| (at, Due::Exit(member.process.clone())))
    });
    due.collect()
}

/// When an agent is reminded of a process that is to end, when a process whose job has succeeded is stopped, and when one that was let go
/// and does not move is killed. An agent that is away is not waited for: it learns when it is back, or its lease ends.
fn process_deadline(state: &State, id: &ProcessId, process: &Process) -> Option<Now> {
    if !state.is_connected(&process.worker) {
        return None;
    }
    let begun = |at: Now| at.max(state.soft.started_at);
    if let Some(stop) = process.stop {
        let sent = state.soft.stop_sent.get(id).copied().unwrap_or(begun(stop.at));
        return Some(sent + (stop.grace + REMINDER));
    }
    let job = state.job(&process.job)?;
    if let Phase::Ended(ended) = &job.phase {
        return Some(begun(ended.at) + state.settings.linger);
    }
    let Some(let_go_at) = process.let_go_at else {
        return release::patience_end(state, id, process);
    };
    let pulse = state.soft.pulses.get(id);
    let moved_at = pulse.map_or(let_go_at, |pulse| pulse.since.max(let_go_at));
    let peers = job.gang().into_iter().flat_map(Gang::living);
    let processes = peers.map(|member| &member.process).chain([id]);
    Some(begun(moved_at) + hangs::patience(state, processes))
}

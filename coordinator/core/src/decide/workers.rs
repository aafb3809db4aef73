//! What agents say: they come, live, go, and tell how their rank processes fare.

use std::collections::BTreeSet;

use super::decision_builder::DecisionBuilder;
use super::{dismissal, losses, processes, settle, settle_soon};
use crate::effect::Effect;
use crate::identifiers::{ProcessId, StreamId, WorkerName};
use crate::record::{Event, JobEvent};
use crate::reject::Reject;
use crate::reply::{Reply, Welcome};
use crate::soft_change::SoftChange;
use crate::state::{
    Gang, LivingProcess, LossReason, Outcome, Phase, Process, RankExit, State, Worker, WorkerDescription,
};

pub(super) fn attach(
    draft: &mut DecisionBuilder<'_>,
    description: WorkerDescription,
    processes: &[LivingProcess],
    stream: StreamId,
) -> Result<Reply, Reject> {
    let state = draft.base();
    let name = description.name.clone();
    let known = state.workers.get(&name).map(|worker| worker.as_ref());
    refuse(state, &description, known)?;
    if let Some(&old) = state.soft.streams.get(&name).filter(|old| **old != stream) {
        draft.effect(Effect::CloseStream {
            worker: name.clone(),
            stream: old,
        });
    }
    let was_attached = known.is_some_and(Worker::is_attached);
    let past = match was_attached {
        true if takes_over(state, &description, known) => Past::Replaced,
        true => Past::Attached,
        false => Past::Absent,
    };
    let awaited_job = dismissal::greet(draft, &description);
    let agent = description.clone();
    if !was_attached || known.is_some_and(|worker| worker.description != description) {
        draft.record(Event::WorkerAttached(description));
        // A new agent is no new machine. To ask copies the list of all workers, so only those that failed are asked about.
        if known.is_some_and(|worker| !worker.failures.is_empty()) {
            losses::set_aside_if_failing(draft, &name);
        }
    }
    let end = draft.now() + state.settings.lease;
    draft.change_soft(SoftChange::LeaseRenewed {
        worker: name.clone(),
        end,
    });
    draft.change_soft(SoftChange::StreamOpened {
        worker: name.clone(),
        stream,
    });
    let epoch = state.coordinator_epoch;
    let unwanted = reconcile(draft, &agent, processes, past);
    // What is decided about a job is seen through at once.
    if draft.changes_jobs() {
        settle(draft);
    } else {
        settle_soon(draft, crowd(state));
    }
    let settings = &state.settings;
    Ok(Reply::Welcome(Welcome {
        heartbeat_interval: settings.heartbeat_interval,
        lease: settings.lease,
        coordinator_epoch: epoch,
        unwanted,
        awaited_job,
    }))
}

/// Who would be looked at anew for an agent that comes or goes.
fn crowd(state: &State) -> usize {
    state.soft.streams.len().max(state.soft.waiting.len())
}

fn refuse(state: &State, description: &WorkerDescription, known: Option<&Worker>) -> Result<(), Reject> {
    let (worker, host) = (&description.name, known.map(|known| known.description.host.clone()));
    if known.is_some_and(|known| known.replaced.contains(&description.instance)) {
        return Err(Reject::WorkerReplaced {
            worker: worker.clone(),
            host: host.unwrap_or_default(),
        });
    }
    if takes_over(state, description, known) && !is_replacement(description, known) {
        return Err(Reject::WorkerNameTaken {
            worker: worker.clone(),
            host: host.unwrap_or_default(),
        });
    }
    let indices: BTreeSet<u32> = description.slots.iter().map(|slot| slot.index).collect();
    if indices.len() != description.slots.len() {
        let reason = format!(
            "expected {} different indices, found {}",
            description.slots.len(),
            indices.len()
        );
        return Err(Reject::Invalid { field: "slots", reason });
    }
    Ok(())
}

/// Whether another agent seems to live under the name.
fn takes_over(state: &State, description: &WorkerDescription, known: Option<&Worker>) -> bool {
    known.is_some_and(|known| {
        known.is_attached()
            && known.description.instance != description.instance
            && state.is_connected(&description.name)
    })
}

/// Whether an agent comes in place of another one: both are there for the same job. Whoever starts such agents starts one a name at a time, and
/// a stream that seems to be open is of a machine that is gone. Two of one name that serve all are a mistake of people.
fn is_replacement(description: &WorkerDescription, known: Option<&Worker>) -> bool {
    let serves = &description.serves;
    serves.job.is_some() && known.is_some_and(|known| known.description.serves == *serves)
}

/// What was known of a worker when an agent attached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    /// It was there.
    Attached,
    /// It was there with another agent, of which nobody knows whether it lives.
    Replaced,
    /// It was lost, or never there.
    Absent,
}

/// What is to become of a process that should be on a worker.
enum Fate {
    /// It runs as it should; its number, if that is news.
    Runs(Option<u32>),
    /// The agent never got the request, or has not followed it yet.
    StartAgain,
    /// It is to end, in its own time.
    Stop,
    /// It is left over from a formation that the worker missed.
    Kill,
    /// It is over; how it ended may be told yet.
    Gone,
    /// Its job has succeeded, or its gang has let it go; it ends by itself.
    Leave,
}

/// Brings what the agent has and what it should have together; returns the processes that it kills.
fn reconcile(
    draft: &mut DecisionBuilder<'_>,
    agent: &WorkerDescription,
    living: &[LivingProcess],
    past: Past,
) -> Vec<ProcessId> {
    let state = draft.base();
    let pid = |id: &ProcessId| {
        living
            .iter()
            .find(|living| living.process == *id)
            .map(|living| living.pid)
    };
    let here = |process: &Process| process.worker == agent.name;
    // Another agent under the name may be there for others.
    let is_served = |process: &Process| state.job(&process.job).is_some_and(|job| agent.suits(job));
    let mut unwanted: Vec<ProcessId> = living
        .iter()
        .filter(|living| !state.processes.get(&living.process).is_some_and(here))
        .map(|living| living.process.clone())
        .collect();
    for (id, process) in state.processes.iter().filter(|(_, process)| here(process)) {
        if pid(id).is_some() && state.soft.missing.contains_key(id) {
            draft.change_soft(SoftChange::ProcessFound { process: id.clone() });
        }
        match fate(state, (id, process), pid(id), past) {
            Fate::Runs(None) | Fate::Leave => {}
            Fate::Runs(Some(pid)) => {
                draft.record_job(
                    &process.job,
                    JobEvent::RankStarted {
                        process: id.clone(),
                        pid,
                    },
                );
            }
            Fate::StartAgain if is_served(process) => processes::request_start(draft, id),
            Fate::Stop => processes::send_stop(draft, id),
            Fate::Kill => {
                if process.stop.is_none() {
                    processes::request_stop(draft, id, draft.base().settings.stop_grace);
                }
                unwanted.push(id.clone());
            }
            Fate::StartAgain | Fate::Gone => {
                let until = draft.now() + state.settings.exit_grace;
                draft.change_soft(SoftChange::ProcessMissed {
                    process: id.clone(),
                    until,
                });
            }
        }
    }
    unwanted
}

fn is_part_of(gang: &Gang, process: &ProcessId) -> bool {
    gang.living().any(|member| member.process == *process) || gang.recruit(process).is_some()
}

fn fate(state: &State, (id, process): (&ProcessId, &Process), pid: Option<u32>, past: Past) -> Fate {
    let phase = state.job(&process.job).map(|job| &job.phase);
    let is_wanted = past != Past::Absent
        && process.stop.is_none()
        && match phase {
            Some(Phase::Starting(gang)) => is_part_of(gang, id),
            Some(Phase::Running(running)) => is_part_of(&running.gang, id),
            _ => false,
        };
    match (pid, is_wanted) {
        (Some(pid), true) => Fate::Runs((process.pid != Some(pid)).then_some(pid)),
        (None, true) if process.pid.is_none() && past == Past::Attached => Fate::StartAgain,
        (None, _) => Fate::Gone,
        (Some(_), false) if past == Past::Absent => Fate::Kill,
        (Some(_), false) if process.stop.is_some() => Fate::Stop,
        (Some(_), false) if process.let_go_at.is_some() => Fate::Leave,
        (Some(_), false) => match phase {
            Some(Phase::Ended(ended)) if ended.outcome == Outcome::Succeeded => Fate::Leave,
            _ => Fate::Kill,
        },
    }
}

/// Whether the stream is the one on which the worker is attached.
pub(super) fn check_stream(state: &State, worker: &WorkerName, stream: StreamId) -> Result<(), Reject> {
    match state.soft.streams.get(worker) {
        Some(open) if *open == stream => Ok(()),
        Some(_) => Err(Reject::StaleStream { worker: worker.clone() }),
        None => Err(Reject::WorkerLost { worker: worker.clone() }),
    }
}

pub(super) fn heartbeat(
    draft: &mut DecisionBuilder<'_>,
    worker: &WorkerName,
    stream: StreamId,
) -> Result<Reply, Reject> {
    check_stream(draft.base(), worker, stream)?;
    let end = draft.now() + draft.base().settings.lease;
    draft.change_soft(SoftChange::LeaseRenewed {
        worker: worker.clone(),
        end,
    });
    Ok(Reply::Done)
}

pub(super) fn detach(draft: &mut DecisionBuilder<'_>, worker: &WorkerName, stream: StreamId) -> Reply {
    if check_stream(draft.base(), worker, stream).is_ok() {
        draft.change_soft(SoftChange::StreamClosed { worker: worker.clone() });
        settle_soon(draft, crowd(draft.base()));
    }
    Reply::Done
}

pub(super) fn leave(draft: &mut DecisionBuilder<'_>, worker: &WorkerName, stream: StreamId) -> Result<Reply, Reject> {
    check_stream(draft.base(), worker, stream)?;
    let message = format!("worker {worker} was shut down");
    losses::lose_worker(draft, worker, (LossReason::Left, &message));
    settle(draft);
    Ok(Reply::Done)
}

pub(super) fn confirm_start(draft: &mut DecisionBuilder<'_>, worker: &WorkerName, id: &ProcessId, pid: u32) -> Reply {
    match draft
        .base()
        .processes
        .get(id)
        .filter(|process| process.worker == *worker)
    {
        Some(process) if process.pid != Some(pid) => {
            draft.record_job(
                &process.job,
                JobEvent::RankStarted {
                    process: id.clone(),
                    pid,
                },
            );
        }
        Some(_) => {}
        // Asked for long ago by a formation that is over.
        None => draft.effect(Effect::StopRank {
            worker: worker.clone(),
            process: id.clone(),
            grace: 0,
        }),
    }
    Reply::Done
}

pub(super) fn report_exit(
    draft: &mut DecisionBuilder<'_>,
    worker: &WorkerName,
    id: &ProcessId,
    exit: RankExit,
) -> Reply {
    if draft
        .base()
        .processes
        .get(id)
        .is_some_and(|process| process.worker == *worker)
    {
        losses::learn_exit(draft, id, exit);
        settle(draft);
    }
    Reply::Done
}

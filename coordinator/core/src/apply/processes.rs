//! What each event of a job changes in its processes and in the workers that they run on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identifiers::{Generation, JobId, ProcessId, WorkerName};
use crate::now::Now;
use crate::record::JobEvent;
use crate::state::{Job, Member, Process, Worker};

/// Failures that a worker remembers.
const REMEMBERED_FAILURES: usize = 16;

/// A loss that counts is held against the worker of the process that was lost first.
pub(super) fn count_failure(
    workers: &mut Arc<BTreeMap<WorkerName, Arc<Worker>>>,
    processes: &BTreeMap<ProcessId, Process>,
    event: &JobEvent,
    at: Now,
) {
    if let JobEvent::RanksLost {
        processes: lost,
        counts: true,
        ..
    } = event
        && let Some(process) = lost.first().and_then(|id| processes.get(id))
        && let Some(worker) = Arc::make_mut(workers).get_mut(&process.worker)
    {
        let failures = &mut Arc::make_mut(worker).failures;
        failures.push(at);
        let excess = failures.len().saturating_sub(REMEMBERED_FAILURES);
        failures.drain(..excess);
    }
}

/// Agents that were there for a job alone have nothing more to do when it ends.
pub(super) fn dismiss(workers: &mut Arc<BTreeMap<WorkerName, Arc<Worker>>>, job: &JobId, event: &JobEvent) {
    let is_its = |worker: &Arc<Worker>| worker.description.serves.job.as_ref() == Some(job);
    if !matches!(event, JobEvent::Ended { .. }) || !workers.values().any(is_its) {
        return;
    }
    for worker in Arc::make_mut(workers).values_mut().filter(|worker| is_its(worker)) {
        Arc::make_mut(worker).is_dismissed = true;
    }
}

pub(super) fn change(processes: &mut BTreeMap<ProcessId, Process>, job: &Job, event: &JobEvent, at: Now) {
    match event {
        JobEvent::GangFormed {
            generation,
            members,
            recruits,
            ..
        } => {
            place_processes(processes, &job.id, *generation, members, at);
            let_go(processes, &job.id, members.iter().chain(recruits), at);
        }
        JobEvent::RanksRecruited { generation, recruits } => {
            place_processes(processes, &job.id, *generation, recruits, at);
        }
        JobEvent::RankLeaving { process } => {
            if let Some(process) = processes.get_mut(process) {
                process.leaving = true;
            }
        }
        JobEvent::RankJoined { process, left, .. } | JobEvent::RankLeft { process, left, .. } => {
            if let Some(process) = processes.get_mut(process) {
                process.left = process.left.max(*left);
            }
        }
        JobEvent::RankStarted { process, pid } => {
            if let Some(process) = processes.get_mut(process) {
                process.pid = Some(*pid);
            }
        }
        JobEvent::RankStopRequested { process, stop } => {
            if let Some(process) = processes.get_mut(process) {
                process.stop = Some(*stop);
            }
        }
        JobEvent::RankExited { process, .. } => {
            processes.remove(process);
        }
        _ => {}
    }
}

/// Processes that are not among those that stay, and were not asked to end, leave on purpose.
fn let_go<'a>(
    processes: &mut BTreeMap<ProcessId, Process>,
    job: &JobId,
    staying: impl Iterator<Item = &'a Member> + Clone,
    at: Now,
) {
    for (id, process) in processes.iter_mut().filter(|(_, process)| process.job == *job) {
        let stays = staying.clone().any(|member| member.process == *id);
        if !stays && process.stop.is_none() {
            process.let_go_at.get_or_insert(at);
        }
    }
}

/// Processes that are new begin; those that live on get their new place.
fn place_processes(
    processes: &mut BTreeMap<ProcessId, Process>,
    job: &JobId,
    generation: Generation,
    members: &[Member],
    at: Now,
) {
    for member in members {
        let process = processes.entry(member.process.clone()).or_insert_with(|| Process {
            job: job.clone(),
            generation,
            asked_in: generation,
            rank: member.rank,
            asked_at: at,
            worker: member.worker.clone(),
            slot: member.slot,
            pid: None,
            stop: None,
            leaving: false,
            let_go_at: None,
            left: Generation::default(),
        });
        process.generation = generation;
        process.rank = member.rank;
    }
}

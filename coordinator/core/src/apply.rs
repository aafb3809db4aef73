//! Applying: what a record or a soft change does. Total and without policy, so that replaying a journal is a fold that cannot fail.
//!
//! A record that does not fit the state (which no `decide` would have written) changes nothing.

mod conditions;
mod gang;
mod job;
mod processes;

use std::sync::Arc;

use crate::decision::Decision;
use crate::identifiers::{InstanceId, WorkerName};
use crate::now::Now;
use crate::record::{Event, Record};
use crate::soft_change::SoftChange;
use crate::state::backlog::Backlog;
use crate::state::{Availability, Job, LossReason, Phase, Presence, Pulse, Soft, State, Worker, WorkerDescription};

/// Agents that a worker remembers, beside the newest.
const REMEMBERED_AGENTS: usize = 8;

/// Applies one journaled record.
pub fn apply(state: &mut State, record: &Record) {
    let at = record.at;
    state.latest = state.latest.max(at);
    match &record.event {
        Event::CoordinatorStarted { epoch } => start(state, *epoch, at),
        Event::CoordinatorRestored { epoch } => {
            start(state, *epoch, at);
            state.restored_in = Some(*epoch);
        }
        Event::WorkerAttached(description) => attach(state, description, at),
        Event::WorkerLost { worker, reason } => lose(state, worker, *reason, at),
        Event::WorkerAvailabilityChanged { worker, availability } => {
            if let Some(worker) = Arc::make_mut(&mut state.workers).get_mut(worker) {
                let worker = Arc::make_mut(worker);
                worker.availability = *availability;
                // A person vouches for it.
                if *availability == Availability::Ready {
                    worker.failures.clear();
                }
            }
        }
        Event::WorkerForgotten { worker } => forget(state, worker),
        Event::QuotaChanged { namespace, quota } => {
            match quota {
                Some(quota) => state.quotas.insert(namespace.clone(), *quota),
                None => state.quotas.remove(namespace),
            };
        }
        Event::RequestAnswered { request, answer } => {
            Arc::make_mut(&mut state.requests).remember(request.clone(), answer.clone());
        }
        Event::TokenIssued(token) => Arc::make_mut(&mut state.tokens).insert(token.clone()),
        Event::TokenRotated {
            token,
            hash,
            previous_until,
        } => Arc::make_mut(&mut state.tokens).rotate(token, hash.clone(), *previous_until),
        Event::TokenSecretDropped { token } => Arc::make_mut(&mut state.tokens).drop_previous(token),
        Event::TokenEnded { token, .. } => Arc::make_mut(&mut state.tokens).remove(token),
        Event::Job { job, event } => job::apply(state, job, event, at),
    }
}

/// Applies one change of the soft state.
pub fn apply_soft(state: &mut State, change: &SoftChange) {
    let soft = &mut state.soft;
    match change.clone() {
        SoftChange::LeaseRenewed { worker, end } => Arc::make_mut(&mut soft.leases).renew(&worker, end),
        SoftChange::Woken { at, slept } => soft.wake(at, slept, at + 2 * state.settings.heartbeat_interval),
        SoftChange::SettlingPutOff { until } => soft.settle_at = until,
        SoftChange::RetentionDue { until } => soft.retention_at = until,
        SoftChange::StreamOpened { worker, stream } => soft.open_stream(worker, stream),
        SoftChange::StreamClosed { worker } => {
            Arc::make_mut(&mut soft.streams).remove(&worker);
        }
        SoftChange::ShardLeased {
            job,
            pass,
            shard,
            process,
        } => {
            soft.shard_leases.entry((job, pass)).or_default().insert(shard, process);
        }
        SoftChange::StopSent { process, at } => {
            if soft.ending.contains(&process) {
                soft.stop_sent.insert(process, at);
            }
        }
        SoftChange::ProcessMissed { process, until } => {
            soft.missing.entry(process).or_insert(until);
        }
        SoftChange::ProcessFound { process } => {
            soft.missing.remove(&process);
        }
        SoftChange::RankPulsed { process, at, progress } => {
            let last = soft.pulses.remove(&process);
            soft.pulses
                .insert(process, Pulse::after(last, at, progress, soft.started_at));
        }
        SoftChange::StateHashed { job, process, hash } => {
            let steps = soft.state_hashes.entry(job).or_default();
            steps.entry(hash.steps_done).or_default().insert(process, hash.hash);
        }
        SoftChange::StatesCompared { job, steps_done } => {
            if let Some(steps) = soft.state_hashes.get_mut(&job) {
                steps.retain(|step, _| *step > steps_done);
            }
        }
        SoftChange::Retried { job } => {
            soft.retries.remove(&job);
        }
        SoftChange::Waiting { job, reason } => {
            match &reason {
                Some(reason) => soft.waiting.insert(job.clone(), reason.clone()),
                None => soft.no_longer_waits(&job),
            }
            if let Some(job) = state.jobs.get(&job) {
                soft.backlog.tell(job, reason);
            }
        }
        SoftChange::LineTold { line, said } => soft.tell(line, said),
    }
}

/// Stands for the records of a job that was deleted, at the place of its submission: its number in the order of submission stays taken.
pub fn pass_over_job(state: &mut State) {
    state.jobs_submitted += 1;
}

/// Applies a whole decision, after its records were journaled.
pub fn enact(state: &mut State, decision: &Decision) {
    for record in &decision.records {
        apply(state, record);
    }
    for change in &decision.soft_changes {
        apply_soft(state, change);
    }
}

fn start(state: &mut State, epoch: u64, at: Now) {
    state.coordinator_epoch = epoch;
    let attached = state.workers.iter().filter(|(_, worker)| worker.is_attached());
    state.soft = Soft {
        started_at: at,
        awaited: attached.map(|(name, _)| name.clone()).collect(),
        ..Soft::default()
    };
    state.soft.backlog = Backlog::of(state.jobs.values().map(Arc::as_ref), |_| None);
    state.soft.timed_jobs = state
        .jobs
        .iter()
        .filter(|(_, job)| job::has_timer(job))
        .map(|(id, _)| id.clone())
        .collect();
    let waits = |job: &&Arc<Job>| job.gang().is_some() && job.retry_at > at;
    state.soft.retries = state
        .jobs
        .values()
        .filter(waits)
        .map(|job| (job.id.clone(), job.retry_at))
        .collect();
    let ended = state
        .ended_jobs()
        .filter_map(|(id, past)| Some((past.expires_at?, id.clone())));
    state.soft.expiries = ended.collect();
    state.soft.ending = state
        .processes
        .iter()
        .filter(|(_, process)| {
            let ended = state
                .jobs
                .get(&process.job)
                .is_none_or(|job| matches!(job.phase, Phase::Ended(_)));
            ended || state.is_ending(process)
        })
        .map(|(id, _)| id.clone())
        .collect();
}

fn attach(state: &mut State, description: &WorkerDescription, at: Now) {
    let known = state.workers.get(&description.name);
    let attached_at = known
        .filter(|worker| worker.is_attached())
        .map_or(at, |worker| worker.attached_at);
    let restarted = known.is_none_or(|worker| worker.description.instance != description.instance);
    let availability = match known.map(|worker| worker.availability).unwrap_or_default() {
        Availability::Preempted | Availability::SetAside if restarted => Availability::Ready,
        other => other,
    };
    let worker = Worker {
        description: description.clone(),
        attached_at,
        presence: Presence::Attached,
        availability,
        failures: known.map(|worker| worker.failures.clone()).unwrap_or_default(),
        is_dismissed: state.is_dismissed(description),
        replaced: known.map(|worker| replaced_by(description, worker)).unwrap_or_default(),
    };
    Arc::make_mut(&mut state.workers).insert(description.name.clone(), Arc::new(worker));
}

/// Agents that were there for a job and in whose place a new one has come.
fn replaced_by(new: &WorkerDescription, worker: &Worker) -> Vec<InstanceId> {
    let mut replaced = worker.replaced.clone();
    let last = &worker.description;
    if last.serves.job.is_some() && last.instance != new.instance {
        replaced.push(last.instance.clone());
        let excess = replaced.len().saturating_sub(REMEMBERED_AGENTS);
        replaced.drain(..excess);
    }
    replaced
}

fn lose(state: &mut State, name: &WorkerName, reason: LossReason, at: Now) {
    let Some(worker) = Arc::make_mut(&mut state.workers).get_mut(name) else {
        return;
    };
    Arc::make_mut(worker).presence = Presence::Lost { at, reason };
    Arc::make_mut(&mut state.soft.leases).drop_worker(name);
    Arc::make_mut(&mut state.soft.streams).remove(name);
    state.soft.awaited.remove(name);
}

fn forget(state: &mut State, name: &WorkerName) {
    Arc::make_mut(&mut state.workers).remove(name);
    let State { processes, soft, .. } = state;
    processes.retain(|_, process| process.worker != *name);
    soft.keep_processes(processes);
}

//! Who holds slots, and who was served before whom.

use std::collections::BTreeMap;

use firn_core::identifiers::JobId;
use firn_core::queue::quota::Use;
use firn_core::shared_map::SharedMap;
use firn_core::state::backlog::Backlog;
use firn_core::state::*;
use firn_core::{Event, Input, JobEvent, Now, Record, State, apply, apply_soft, decide};

use super::{Verdict, Witness, hold};

impl Witness {
    /// Whatever was placed after a quota was set is within it: what a namespace holds beyond only shrinks.
    pub(super) fn quotas_are_kept(&mut self, state: &State) -> Verdict {
        let mut used: BTreeMap<String, Use> = BTreeMap::new();
        for job in state.jobs.values() {
            let (entry, part) = (used.entry(job.namespace().to_owned()).or_default(), job.used());
            entry.slots += part.slots;
            entry.jobs += part.jobs;
        }
        for (namespace, now) in &used {
            let quota = state.quotas.get(namespace.as_str()).copied().unwrap_or_default();
            let before = self.used.get(namespace).copied().unwrap_or_default();
            let is_kept = |now: u64, before: u64, limit: Option<u32>| {
                now <= before || limit.is_none_or(|limit| now <= u64::from(limit))
            };
            hold(
                is_kept(now.slots, before.slots, quota.slots) && is_kept(now.jobs, before.jobs, quota.jobs),
                "no quota is exceeded by what was placed after it was set",
                || format!("{namespace} holds {now:?} after {before:?} of {quota:?}"),
            )?;
        }
        self.used = used;
        Ok(())
    }
}

/// What is kept up with each event is what a look at all jobs would give.
pub(super) fn the_backlog_follows_from_the_jobs(state: &State) -> Verdict {
    let told = |job: &JobId| state.soft.waiting.get(job).cloned();
    let anew = Backlog::of(state.jobs.values().map(AsRef::as_ref), told);
    hold(
        state.soft.backlog == anew,
        "the backlog follows from the jobs and from what they were told",
        || format!("{:?} is kept, and {anew:?} follows", state.soft.backlog),
    )
}

/// Jobs that were told before why they wait are told the same as if nobody had been told anything: what was said spares work, and changes nothing.
pub(super) fn what_is_said_does_not_depend_on_what_was(state: &State, now: Now) -> Verdict {
    let mut forgetful = state.clone();
    forgetful.soft.waiting = SharedMap::default();
    forgetful.soft.lines.clear();
    forgetful.soft.backlog = Backlog::of(state.jobs.values().map(AsRef::as_ref), |_| None);
    let (remembering, forgetful) = (after_tick(state.clone(), now), after_tick(forgetful, now));
    for job in forgetful.soft.waiting.keys() {
        let (said, anew) = (remembering.soft.wait(job), forgetful.soft.wait(job));
        hold(said == anew, "what is said does not depend on what was said", || {
            format!("{job} is told {said:?}, and {anew:?} where nobody was told anything")
        })?;
    }
    Ok(())
}

fn after_tick(mut state: State, now: Now) -> State {
    if let Ok(decision) = decide(&state, now, Input::Tick) {
        decision.records.iter().for_each(|record| apply(&mut state, record));
        decision
            .soft_changes
            .iter()
            .for_each(|change| apply_soft(&mut state, change));
    }
    state
}

/// Who is drained waits again within the decision that has placed others.
fn is_release(record: &Record) -> bool {
    let Event::Job { event, .. } = &record.event else {
        return false;
    };
    matches!(
        event,
        JobEvent::ReleaseRequested { .. } | JobEvent::RestartScheduled { .. }
    )
}

/// The state after one decision: nobody was placed before one who asks for the same and comes first.
pub(crate) fn order_is_kept(state: &State, records: &[Record], now: Now) -> Verdict {
    if records.iter().any(is_release) {
        return Ok(());
    }
    let placed = records.iter().filter_map(|record| match &record.event {
        Event::Job {
            job,
            event: JobEvent::GangFormed {
                members, generation, ..
            },
        } => {
            // A gang that is formed anew in processes of an earlier generation was placed before.
            let is_new = |member: &Member| {
                let process = state.processes.get(&member.process);
                process.is_some_and(|process| process.asked_in == *generation)
            };
            state.job(job).filter(|_| members.iter().all(is_new))
        }
        _ => None,
    });
    for placed in placed {
        // On the same workers.
        let could_have_been_placed = |other: &Job| {
            let mut workers = placed
                .members()
                .iter()
                .filter_map(|member| state.workers.get(&member.worker));
            workers.all(|worker| worker.description.suits(other))
                && other.spec.scheduling.worker_selector == placed.spec.scheduling.worker_selector
        };
        let comes_first = |other: &&std::sync::Arc<Job>| {
            let is_urgent = other.spec.scheduling.priority > placed.spec.scheduling.priority;
            let is_earlier = other.spec.scheduling.priority == placed.spec.scheduling.priority
                && other.namespace() == placed.namespace()
                && other.sequence < placed.sequence;
            let waits = match &other.phase {
                Phase::Queued => true,
                Phase::Restarting(restart) => restart.not_before <= now,
                _ => false,
            };
            let wait = state.soft.wait(&other.id);
            let is_held_up = wait.is_some_and(|wait| wait.waits_for == WaitsFor::Quota);
            waits
                && !other.suspended
                && other.spec.resources == placed.spec.resources
                && could_have_been_placed(other)
                && (is_urgent && !is_held_up || is_earlier)
        };
        let passed_over = state.jobs.values().find(comes_first);
        hold(passed_over.is_none(), "the order of the queue is kept", || {
            format!("{} was placed before {:?}", placed.id, passed_over.map(|job| &job.id))
        })?;
    }
    Ok(())
}

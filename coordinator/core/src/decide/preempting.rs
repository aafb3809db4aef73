//! Running jobs of lower priority make room for the first job of the queue that could not start otherwise.
//!
//! Who does is decided in [`crate::queue::preemption`]; here it is found out what is free and who holds the rest, and whoever was chosen is
//! let go: whole gangs hand over at the next step and wait at their old place in the queue ([`super::release`]), elastic ones let workers go and work
//! on. No step is lost by it and nothing counts as a loss. Slots of ranks that are leaving count as free, so nobody is asked twice.

use std::collections::{BTreeMap, BTreeSet};

use super::decision_builder::DecisionBuilder;
use super::free_slots::Fleet;
use super::{growth, release, scaling};
use crate::identifiers::{JobId, ProcessId, WorkerName};
use crate::queue::preemption::{self, Holder, Room, Wanted};
use crate::spec::PreemptionPolicy;
use crate::state::{DeviceKind, Job, Process, Release, State};

/// Lets go of what jobs of lower priority hold and these jobs need; whether there was any.
pub(super) fn make_room(draft: &mut DecisionBuilder<'_>, ahead: &[JobId]) -> bool {
    let mut any = false;
    for id in ahead {
        let Some(job) = draft.state().jobs.get(id).cloned() else {
            continue;
        };
        let scheduling = &job.spec.scheduling;
        if scheduling.preemption_policy == PreemptionPolicy::Never || scheduling.priority == 0 {
            continue;
        }
        let (wanted, holders) = problem(draft.state(), &job);
        match preemption::make_room(&wanted, &holders) {
            None => {}
            Some(Room::Drain(jobs)) => {
                for other in jobs {
                    any |= release::begin(draft, &other, Release::Preempted { by: id.clone() });
                }
            }
            Some(Room::Shrink(parts)) => {
                for (other, workers) in parts {
                    shrink(draft, &other, &workers);
                    any = true;
                }
            }
        }
    }
    any
}

/// Which jobs give their slots up to this one, for people.
pub(super) fn who_makes_room(state: &State, id: &JobId) -> Option<String> {
    let gives = |job: &Job| {
        let reason = job.releasing.as_ref().map(|releasing| &releasing.reason);
        job.is_released() && matches!(reason, Some(Release::Preempted { by }) if by == id)
    };
    let mut givers = state.jobs_with_gangs().filter(|job| gives(job));
    let first = &givers.next()?.id;
    Some(match givers.count() {
        0 => format!("jobs/{first} is giving its slots up to it"),
        more => format!("jobs/{first} and {more} more are giving their slots up to it"),
    })
}

fn problem(state: &State, job: &Job) -> (Wanted, Vec<Holder>) {
    let fleet = Fleet::connected(state);
    let audience = fleet.audience(job);
    let kind = fleet.kind(job, &audience.circle);
    let able = fleet.able(state, &audience);
    let present = job.living_workers();
    let mut staying: BTreeMap<&WorkerName, BTreeSet<u32>> = BTreeMap::new();
    for (id, process) in &state.processes {
        if !is_on_its_way_out(state, id, process) {
            staying.entry(&process.worker).or_default().insert(process.slot);
        }
    }
    let others = able.workers.iter().filter(|worker| !present.contains(&worker.name));
    let free = others.map(|worker| {
        let stays = |index: u32| staying.get(&worker.name).is_some_and(|slots| slots.contains(&index));
        let slots = worker
            .slots
            .iter()
            .filter(|slot| slot.kind == kind && !stays(slot.index));
        (worker.name.clone(), slots.count())
    });
    let resources = &job.spec.resources;
    let wanted = Wanted {
        priority: job.spec.scheduling.priority,
        workers: (resources.workers.min.max(1) as usize).saturating_sub(present.len()),
        slots_per_worker: resources.slots_per_worker.max(1) as usize,
        free: free.collect(),
    };
    let holders = state.jobs_with_gangs().filter_map(|other| holder(state, other, kind));
    (wanted, holders.collect())
}

/// Whether the slot of a process will be free soon, whatever happens.
fn is_on_its_way_out(state: &State, id: &ProcessId, process: &Process) -> bool {
    let job = state.job(&process.job);
    state.is_ending(process) || state.is_leaving(id) || job.is_none_or(|job| job.is_released() || job.gang().is_none())
}

/// What a job holds, if it can be asked to give it up.
fn holder(state: &State, job: &Job, kind: DeviceKind) -> Option<Holder> {
    let gang = job.gang()?;
    if job.is_released() || job.is_finishing() || growth::kind_of(gang) != kind {
        return None;
    }
    let mut workers: Vec<(WorkerName, usize)> = Vec::new();
    for member in gang.living().chain(&gang.recruits) {
        let id = &member.process;
        let Some(process) = state.processes.get(id) else {
            continue;
        };
        if is_on_its_way_out(state, id, process) {
            continue;
        }
        match workers.iter_mut().find(|(worker, _)| *worker == member.worker) {
            Some((_, slots)) => *slots += 1,
            None => workers.push((member.worker.clone(), 1)),
        }
    }
    let place = job.place();
    let staying = gang.living().filter(|member| !state.is_leaving(&member.process));
    let members: BTreeSet<&WorkerName> = staying.map(|member| &member.worker).collect();
    // A gang that lacks workers has none to spare, whoever is on the way to it.
    let surplus = match members.len() < job.spec.resources.workers.min.max(1) as usize {
        true => 0,
        false => workers
            .len()
            .saturating_sub(job.spec.resources.workers.min.max(1) as usize),
    };
    Some(Holder {
        job: job.id.clone(),
        priority: place.priority,
        sequence: place.sequence,
        workers,
        surplus,
    })
}

/// The ranks of an elastic gang leave these workers at the next step, and the others work on.
fn shrink(draft: &mut DecisionBuilder<'_>, id: &JobId, workers: &[WorkerName]) {
    let Some(job) = draft.state().jobs.get(id).cloned() else {
        return;
    };
    let Some(gang) = job.gang() else { return };
    for worker in workers {
        scaling::let_go(draft, id, gang, worker);
    }
}

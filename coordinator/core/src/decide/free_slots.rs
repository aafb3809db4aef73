//! Which slots are free on the workers that can be reached, and which of these workers know what a job needs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::compatibility::{Need, Revision};
use crate::placement::{Placement, SlotState, WorkerSlots};
use crate::state::{Job, Process, State};

/// The workers that take ranks now, each with its slots.
pub(super) fn connected_workers(state: &State) -> Vec<WorkerSlots> {
    let mut taken: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for process in state.processes.values() {
        taken.entry(&process.worker).or_default().push(process.slot);
    }
    state
        .workers
        .values()
        .filter(|worker| worker.takes_ranks() && state.is_connected(&worker.description.name))
        .map(|worker| {
            let name = &worker.description.name;
            let taken = taken.get(name).map_or(&[][..], Vec::as_slice);
            let slots = worker.description.slots.iter().map(|slot| SlotState {
                index: slot.index,
                kind: slot.kind(),
                free: !taken.contains(&slot.index),
            });
            WorkerSlots {
                name: name.clone(),
                slots: slots.collect(),
            }
        })
        .collect()
}

/// What the oldest worker speaks that is there or may come back; of this build where none is known. One walk over all workers: ask it once a
/// decision.
pub(super) fn oldest_revision(state: &State) -> Revision {
    let known = state.workers.values().map(|worker| worker.description.protocol);
    known.min().unwrap_or(Revision::CURRENT)
}

/// What a job needs of the workers that are known; nothing where all are of this build.
pub(super) fn need(oldest: Revision, job: &Job) -> Need {
    if oldest < Revision::CURRENT {
        Need::of_job(job)
    } else {
        Need::NOTHING
    }
}

/// The workers that know everything that is needed, and why the others will not do.
pub(super) fn able<'a>(
    state: &State,
    workers: &'a [WorkerSlots],
    need: &Need,
) -> (Cow<'a, [WorkerSlots]>, Vec<String>) {
    if *need == Need::NOTHING {
        return (Cow::Borrowed(workers), Vec::new());
    }
    let mut too_old = Vec::new();
    let mut able = Vec::new();
    for slots in workers {
        let worker = state.workers.get(&slots.name);
        let refusal = worker.and_then(|worker| {
            let description = &worker.description;
            let who = format!("worker {}", description.name);
            need.refuses(&who, description.protocol, &description.version)
        });
        match refusal {
            Some(refusal) => too_old.push(refusal),
            None => able.push(slots.clone()),
        }
    }
    (Cow::Owned(able), too_old)
}

/// The slots of a placement are free no more.
pub(super) fn take(workers: &mut [WorkerSlots], placement: &Placement) {
    for (name, slots) in &placement.workers {
        for worker in workers.iter_mut().filter(|worker| worker.name == *name) {
            for slot in worker.slots.iter_mut().filter(|slot| slots.contains(&slot.index)) {
                slot.free = false;
            }
        }
    }
}

/// The slot of a process is free, or will be.
pub(super) fn free(workers: &mut [WorkerSlots], process: &Process) {
    for worker in workers.iter_mut().filter(|worker| worker.name == process.worker) {
        for slot in worker.slots.iter_mut().filter(|slot| slot.index == process.slot) {
            slot.free = true;
        }
    }
}

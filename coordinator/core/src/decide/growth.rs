//! Processes for a gang that works already: in place of lost ones, and on workers that come later, up to the most that the spec allows.
//!
//! They are recruits first: they load data and model while the gang works, and become members when they are ready. Jobs that wait for their
//! first slots, or that have fewer workers than they need, are served before others grow.

use super::decision_builder::DecisionBuilder;
use super::free_slots::Able;
use super::processes;
use crate::identifiers::{JobId, ProcessId, WorkerName};
use crate::now::Now;
use crate::placement::{self, Placement, Problem, WorkerSlots};
use crate::queue::quota::Request;
use crate::record::JobEvent;
use crate::spec::{DeviceRequest, ResourcesSpec, WorkersSpec};
use crate::stage::Stage;
use crate::state::{DeviceKind, Gang, Job, Member, MemberState, Phase, State};

/// Whether a gang could use more processes now.
pub(super) fn is_wanted(job: &Job, now: Now) -> bool {
    let Some(gang) = job.gang().filter(|_| !job.is_released()) else {
        return false;
    };
    let resources = &job.spec.resources;
    let workers = workers_of(gang);
    let most = resources.workers.max.max(resources.workers.min) as usize;
    let is_full = |worker: &WorkerName| slots_of(gang, worker).count() >= resources.slots_per_worker.max(1) as usize;
    let has_room = workers.len() < most || !workers.iter().all(is_full);
    // At the end a gang that works is left alone.
    let is_late = matches!(Stage::of(&job.run), Stage::Test { .. } | Stage::Finish);
    let is_settled = matches!(job.phase, Phase::Running(_)) || !job.is_short();
    has_room && now >= job.retry_at && !(is_late && is_settled)
}

/// What a job asks of its namespace's quota.
pub(super) fn request(job: &Job) -> Request {
    let resources = &job.spec.resources;
    let each = u64::from(resources.slots_per_worker.max(1));
    let fewest = u64::from(resources.workers.min.max(1)) * each;
    let Some(gang) = job.gang() else {
        return Request {
            next: fewest,
            fewest,
            has_gang: false,
        };
    };
    let workers = workers_of(gang);
    let lacks_one_beside = workers
        .iter()
        .any(|worker| (slots_of(gang, worker).count() as u64) < each);
    Request {
        next: if lacks_one_beside { 1 } else { each },
        fewest,
        has_gang: true,
    }
}

/// Finds slots for more processes of a gang, `room` at most: first beside those that it has, then on other workers. Says what is missing for a gang that
/// cannot work without.
///
/// # Errors
/// The sentence of the placement, if nothing was found.
pub(super) fn recruit(
    draft: &mut DecisionBuilder<'_>,
    job: &Job,
    able: &Able<'_>,
    room: u64,
) -> Result<Placement, placement::Blocked> {
    let Some(gang) = job.gang() else {
        return Ok(Placement::default());
    };
    let mut placement = beside(draft.state(), job, gang, &able.workers, room);
    let taken: usize = placement.workers.iter().map(|(_, slots)| slots.len()).sum();
    let other = elsewhere(job, gang, able, room - taken as u64);
    let blocked = match other {
        Ok(found) => {
            placement.workers.extend(found.workers);
            None
        }
        Err(blocked) => Some(blocked),
    };
    match blocked {
        Some(blocked) if placement.workers.is_empty() => return Err(blocked),
        _ => {}
    }
    if !placement.workers.is_empty() {
        ask_for(draft, job, gang, &placement);
    }
    Ok(placement)
}

/// Whether a gang would have the fewest workers of its spec with these slots.
pub(super) fn could_be_completed(job: &Job, able: &Able<'_>) -> bool {
    let Some(gang) = job.gang() else { return false };
    let found = elsewhere(job, gang, able, u64::MAX).map_or(0, |found| found.workers.len());
    workers_of(gang).len() + found >= job.spec.resources.workers.min.max(1) as usize
}

fn workers_of(gang: &Gang) -> Vec<WorkerName> {
    let mut workers: Vec<WorkerName> = Vec::new();
    for member in living(gang) {
        if !workers.contains(&member.worker) {
            workers.push(member.worker.clone());
        }
    }
    workers
}

fn living(gang: &Gang) -> impl Iterator<Item = &Member> {
    gang.everyone().filter(|member| member.state != MemberState::Exited)
}

fn slots_of<'a>(gang: &'a Gang, worker: &'a WorkerName) -> impl Iterator<Item = u32> + 'a {
    living(gang)
        .filter(move |member| member.worker == *worker)
        .map(|member| member.slot)
}

pub(super) fn kind_of(gang: &Gang) -> DeviceKind {
    gang.members
        .first()
        .map_or(DeviceKind::Cpu, |member| DeviceKind::of(&member.device))
}

/// Free slots on workers that have fewer ranks of the gang than the spec asks for.
fn beside(state: &State, job: &Job, gang: &Gang, workers: &[WorkerSlots], mut room: u64) -> Placement {
    let each = job.spec.resources.slots_per_worker.max(1) as usize;
    let mut placement = Placement::default();
    for name in workers_of(gang) {
        let missing = each.saturating_sub(slots_of(gang, &name).count());
        let takes_ranks = state.workers.get(&name).is_some_and(|worker| worker.takes_ranks());
        let Some(worker) = workers.iter().find(|worker| worker.name == name && takes_ranks) else {
            continue;
        };
        let free = worker
            .slots
            .iter()
            .filter(|slot| slot.free && slot.kind == kind_of(gang));
        let missing = missing.min(usize::try_from(room).unwrap_or(usize::MAX));
        let slots: Vec<u32> = free.map(|slot| slot.index).take(missing).collect();
        room -= slots.len() as u64;
        if !slots.is_empty() {
            placement.workers.push((name, slots));
        }
    }
    placement
}

/// Whole workers beyond those that the gang has, with `slots` in all at most.
fn elsewhere(job: &Job, gang: &Gang, able: &Able<'_>, slots: u64) -> Result<Placement, placement::Blocked> {
    let resources = &job.spec.resources;
    let present = workers_of(gang);
    let most = resources.workers.max.max(resources.workers.min);
    let affordable = u32::try_from(slots / u64::from(resources.slots_per_worker.max(1))).unwrap_or(u32::MAX);
    let room = most
        .saturating_sub(u32::try_from(present.len()).unwrap_or(u32::MAX))
        .min(affordable);
    if room == 0 {
        return Ok(Placement::default());
    }
    let device = match kind_of(gang) {
        DeviceKind::Cpu => DeviceRequest::Cpu,
        DeviceKind::Gpu => DeviceRequest::Gpu,
    };
    let others = able.workers.iter().filter(|worker| !present.contains(&worker.name));
    let problem = Problem {
        request: ResourcesSpec {
            workers: WorkersSpec { min: 1, max: room },
            device,
            ..*resources
        },
        workers: others.cloned().collect(),
        in_addition: true,
        is_choice: able.is_choice,
    };
    placement::solve(&problem, None)
}

fn ask_for(draft: &mut DecisionBuilder<'_>, job: &Job, gang: &Gang, placement: &Placement) {
    let state = draft.state();
    let mut recruits = Vec::new();
    for (name, slots) in &placement.workers {
        let Some(worker) = state.workers.get(name) else {
            continue;
        };
        let taken = u32::try_from(slots_of(gang, name).count()).unwrap_or(u32::MAX);
        for (local_rank, &slot) in (taken..).zip(slots) {
            let number = job.recruited + recruits.len() as u64;
            let rank = u32::try_from(gang.members.len() + gang.recruits.len() + recruits.len()).unwrap_or(u32::MAX);
            let process = processes::new_id(state, format!("{}-p{number}", job.id));
            let local = (local_rank, local_rank + 1);
            recruits.push(Member::to_start(&worker.description, slot, rank, local, process));
        }
    }
    let processes: Vec<ProcessId> = recruits.iter().map(|recruit| recruit.process.clone()).collect();
    let id: &JobId = &job.id;
    draft.record_job(
        id,
        JobEvent::RanksRecruited {
            generation: job.generation,
            recruits,
        },
    );
    for process in &processes {
        processes::request_start(draft, process);
    }
}

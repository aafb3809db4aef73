//! Placement: whole gangs on free slots, or the reason why not. A pure function of what is free and of where the gang ran before.
//!
//! A gang never mixes CPUs and GPUs: the slowest rank sets the pace of every step. `auto` means GPUs as soon as any worker has one, so that
//! a job never slips onto CPUs only because the GPUs are busy.

use crate::identifiers::WorkerName;
use crate::spec::{DeviceRequest, ResourcesSpec};
use crate::state::DeviceKind;

/// What is asked for and what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What the job asks for.
    pub request: ResourcesSpec,
    /// Workers that are there, by name.
    pub workers: Vec<WorkerSlots>,
    /// Whether the gang has workers already, and these are others.
    pub in_addition: bool,
    /// Whether there are more workers, which will not do for this job.
    pub is_choice: bool,
}

/// One worker's slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSlots {
    /// Name of the worker.
    pub name: WorkerName,
    /// By index.
    pub slots: Vec<SlotState>,
}

/// One slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotState {
    /// Unique on its worker.
    pub index: u32,
    /// Its kind.
    pub kind: DeviceKind,
    /// Whether no process can be alive on it.
    pub free: bool,
}

/// Where a gang runs: workers in rank order, each with its slots in local rank order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// One entry a worker.
    pub workers: Vec<(WorkerName, Vec<u32>)>,
}

/// Why a gang cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The kind of slot that it waits for.
    pub kind: DeviceKind,
    /// Whether the slots of all workers together would do, if they were free: waiting for other jobs helps.
    pub enough_in_all: bool,
    /// What is missing, for people: `needs …`.
    pub reason: String,
}

/// Refusals of single workers that a sentence holds.
const MOST_NAMED: usize = 3;

impl Blocked {
    /// The same, with why some workers do not count.
    #[must_use]
    pub fn because(mut self, refusals: &[String]) -> Self {
        for refusal in refusals.iter().take(MOST_NAMED) {
            self.reason = format!("{}; {refusal}", self.reason);
        }
        if let Some(more) = refusals.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
            self.reason = format!("{}; and {more} more like this", self.reason);
        }
        self
    }
}

impl WorkerSlots {
    fn count(&self, kind: DeviceKind, only_free: bool) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.kind == kind && (slot.free || !only_free))
            .count()
    }

    /// The free slots to take: those of the earlier placement first, then the lowest ones.
    fn choose(&self, kind: DeviceKind, count: usize, earlier: &[u32]) -> Vec<u32> {
        let free = |slot: &&SlotState| slot.kind == kind && slot.free;
        let mut slots: Vec<u32> = self.slots.iter().filter(free).map(|slot| slot.index).collect();
        slots.sort_by_key(|index| (!earlier.contains(index), *index));
        slots.truncate(count);
        slots.sort_unstable();
        slots
    }
}

/// Places a gang on as many workers as it takes at most, or says what is missing for the fewest.
///
/// Workers of `previous` come first, in their order, because their caches are warm; then those with the fewest free slots, so that whole
/// workers stay free for jobs that need many slots at one place; then by name. Solving again with the answer gives the answer.
///
/// # Errors
/// [`Blocked`], if there is no room for the fewest workers.
pub fn solve(problem: &Problem, previous: Option<&Placement>) -> Result<Placement, Blocked> {
    let request = &problem.request;
    let kind = kind(request.device, &problem.workers);
    let needed = request.slots_per_worker.max(1) as usize;
    let earlier = |worker: &WorkerSlots| {
        let workers = previous.map_or(&[][..], |placement| &placement.workers);
        workers.iter().position(|(name, _)| *name == worker.name)
    };

    let mut candidates: Vec<&WorkerSlots> = problem
        .workers
        .iter()
        .filter(|worker| worker.count(kind, true) >= needed)
        .collect();
    if candidates.len() < request.workers.min as usize || candidates.is_empty() {
        return Err(blocked(problem, kind, candidates.len()));
    }
    candidates.sort_by_key(|worker| {
        (
            earlier(worker).unwrap_or(usize::MAX),
            worker.count(kind, true),
            worker.name.clone(),
        )
    });
    candidates.truncate(request.workers.max.max(request.workers.min) as usize);
    candidates.sort_by_key(|worker| (earlier(worker).unwrap_or(usize::MAX), worker.name.clone()));

    let workers = candidates
        .into_iter()
        .map(|worker| {
            let slots = previous.and_then(|placement| placement.workers.get(earlier(worker)?));
            let slots = slots.map_or(&[][..], |(_, slots)| slots);
            (worker.name.clone(), worker.choose(kind, needed, slots))
        })
        .collect();
    Ok(Placement { workers })
}

/// The kind of slot that a request means, given the workers that are there.
pub fn kind(request: DeviceRequest, workers: &[WorkerSlots]) -> DeviceKind {
    match request {
        DeviceRequest::Cpu => DeviceKind::Cpu,
        DeviceRequest::Gpu => DeviceKind::Gpu,
        DeviceRequest::Auto if workers.iter().any(|worker| worker.count(DeviceKind::Gpu, false) > 0) => DeviceKind::Gpu,
        DeviceRequest::Auto => DeviceKind::Cpu,
    }
}

fn blocked(problem: &Problem, kind: DeviceKind, ready: usize) -> Blocked {
    let request = &problem.request;
    let (workers, slots) = (
        request.workers.min.max(1) as usize,
        request.slots_per_worker.max(1) as usize,
    );
    let large_enough = problem
        .workers
        .iter()
        .filter(|worker| worker.count(kind, false) >= slots)
        .count();
    let (each, has) = if slots == 1 { ("slot", "one") } else { ("slots", "them") };
    let wanted = match workers {
        1 if problem.in_addition => format!("needs one more worker with {slots} free {kind} {each}"),
        1 => format!("needs 1 worker with {slots} free {kind} {each}"),
        _ => format!("needs {workers} workers with {slots} free {kind} {each} each"),
    };
    let verb = if ready == 1 { "has" } else { "have" };
    let which = match (problem.in_addition, problem.is_choice) {
        (true, true) => "other suitable ",
        (true, false) => "other ",
        (false, true) => "suitable ",
        (false, false) => "",
    };
    let found = match problem.workers.len() {
        0 => format!("no {which}worker is attached"),
        several if which.is_empty() => format!("{ready} of {several} attached workers {verb} {has}"),
        several => format!("{ready} of {several} {which}workers {verb} {has}"),
    };
    let busy = match large_enough - ready {
        0 => String::new(),
        1 => ", 1 more is busy".to_owned(),
        more => format!(", {more} more are busy"),
    };
    Blocked {
        kind,
        enough_in_all: large_enough >= workers,
        reason: format!("{wanted}; {found}{busy}"),
    }
}

#[cfg(test)]
mod tests;

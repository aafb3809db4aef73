//! Which job gets free slots: in the order of submission.
//!
//! A job that waits for slots that other jobs hold keeps later ones of the same kind waiting too, so that small jobs cannot starve a large
//! one. A job that all attached workers together could not hold keeps nobody waiting: no end of another job would help it. Gangs that have
//! fewer workers than they need are served in the same order; gangs that could merely use more come last. When one that waits for workers holds
//! what an earlier job waits for, it gives way in the end ([`super::yielding`]).

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::draft::Draft;
use super::{gangs, growth, yielding};
use crate::compatibility::{Need, Revision};
use crate::effect::{Effect, StartRank};
use crate::identifiers::{JobId, ProcessId};
use crate::note::Note;
use crate::now::Now;
use crate::placement::{self, Blocked, Placement, Problem, SlotState, WorkerSlots};
use crate::record::JobEvent;
use crate::spec::ResourcesSpec;
use crate::state::{DeviceKind, Job, Member, MemberState, Pass, Phase, State};

/// Forms the gangs that can be formed, and says of the other jobs why they wait.
pub(super) fn settle(draft: &mut Draft<'_>) {
    let ahead = serve(draft);
    if yielding::make_room(draft, &ahead) {
        serve(draft);
    }
}

/// Serves the jobs in their order; returns those that wait for slots that others hold.
fn serve(draft: &mut Draft<'_>) -> Vec<JobId> {
    let now = draft.now();
    let waiting = jobs(draft.state(), |job| {
        waits(job, now) || (gangs::is_short(job) && growth::is_wanted(job, now))
    });
    let growing = jobs(draft.state(), |job| {
        !gangs::is_short(job) && growth::is_wanted(job, now)
    });
    if waiting.is_empty() && growing.is_empty() {
        return Vec::new();
    }
    let mut queue = Queue::of(draft.state());
    for id in waiting {
        let Some(job) = draft.state().jobs.get(&id).cloned() else {
            continue;
        };
        match job.gang() {
            None => queue.place(draft, &job),
            Some(_) => queue.complete(draft, &job),
        }
    }
    for id in growing {
        if let Some(job) = draft.state().jobs.get(&id).cloned() {
            queue.grow(draft, &job);
        }
    }
    queue.ahead.into_values().map(|(id, _)| id).collect()
}

/// What is free while jobs are served one after the other.
struct Queue {
    workers: Vec<WorkerSlots>,
    /// The job of each kind that waits for slots that others hold, and why.
    ahead: BTreeMap<DeviceKind, (JobId, String)>,
    /// Equal requests have equal answers until a gang is formed.
    refusals: Vec<((ResourcesSpec, Need), Blocked)>,
}

impl Queue {
    fn of(state: &State) -> Self {
        Self {
            workers: connected_workers(state),
            ahead: BTreeMap::new(),
            refusals: Vec::new(),
        }
    }

    fn is_behind(&self, draft: &mut Draft<'_>, job: &Job) -> bool {
        let kind = placement::kind(job.spec.resources.device, &self.workers);
        let Some((first, reason)) = self.ahead.get(&kind) else {
            return false;
        };
        wait(draft, &job.id, format!("waits behind jobs/{first}, which {reason}"));
        true
    }

    /// A whole gang, for a job that has none.
    fn place(&mut self, draft: &mut Draft<'_>, job: &Job) {
        if self.is_behind(draft, job) {
            return;
        }
        let asked = (job.spec.resources, need(draft.state(), job));
        let known = self.refusals.iter().find(|(refused, _)| *refused == asked);
        let answer = match known {
            Some((_, blocked)) => Err(blocked.clone()),
            None => {
                let (workers, too_old) = able(draft.state(), &self.workers, job);
                let problem = Problem {
                    request: job.spec.resources,
                    workers: workers.into_owned(),
                    in_addition: false,
                };
                placement::solve(&problem, previous(job).as_ref()).map_err(|blocked| blocked.because(&too_old))
            }
        };
        match answer {
            Ok(placement) => {
                self.take(&placement);
                form_gang(draft, job, &placement);
            }
            Err(blocked) => {
                self.refuse(draft, job, &blocked);
                self.refusals.push((asked, blocked));
            }
        }
    }

    /// What a gang needs that has fewer workers than the spec asks for.
    fn complete(&mut self, draft: &mut Draft<'_>, job: &Job) {
        if self.is_behind(draft, job) {
            return;
        }
        let (workers, too_old) = able(draft.state(), &self.workers, job);
        match growth::recruit(draft, job, &workers) {
            Ok(placement) => self.take(&placement),
            Err(blocked) => self.refuse(draft, job, &blocked.because(&too_old)),
        }
    }

    /// What a gang could use; nobody waits for it.
    fn grow(&mut self, draft: &mut Draft<'_>, job: &Job) {
        if self
            .ahead
            .contains_key(&placement::kind(job.spec.resources.device, &self.workers))
        {
            return;
        }
        let (workers, _) = able(draft.state(), &self.workers, job);
        if let Ok(placement) = growth::recruit(draft, job, &workers) {
            self.take(&placement);
        }
    }

    fn refuse(&mut self, draft: &mut Draft<'_>, job: &Job, blocked: &Blocked) {
        if blocked.enough_in_all {
            self.ahead
                .insert(blocked.kind, (job.id.clone(), blocked.reason.clone()));
        }
        wait(draft, &job.id, blocked.reason.clone());
    }

    fn take(&mut self, placement: &Placement) {
        if placement.workers.is_empty() {
            return;
        }
        self.refusals.clear();
        take(&mut self.workers, placement);
    }
}

fn waits(job: &Job, now: Now) -> bool {
    match &job.phase {
        Phase::Queued => true,
        Phase::Restarting(restart) => restart.not_before <= now,
        _ => false,
    }
}

/// Jobs in the order of submission.
fn jobs(state: &State, is_meant: impl Fn(&Job) -> bool) -> Vec<JobId> {
    let mut jobs: Vec<&Job> = state
        .jobs
        .values()
        .map(|job| job.as_ref())
        .filter(|job| is_meant(job))
        .collect();
    jobs.sort_by_key(|job| job.sequence);
    jobs.into_iter().map(|job| job.id.clone()).collect()
}

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

/// What a job needs of the workers that are known; nothing where all of them are of this build.
fn need(state: &State, job: &Job) -> Need {
    let mut known = state.workers.values();
    match known.all(|worker| worker.description.protocol >= Revision::CURRENT) {
        true => Need::NOTHING,
        false => Need::of_job(job),
    }
}

/// The workers that know everything that a job needs, and why the others will not do.
pub(super) fn able<'a>(state: &State, workers: &'a [WorkerSlots], job: &Job) -> (Cow<'a, [WorkerSlots]>, Vec<String>) {
    let need = need(state, job);
    if need == Need::NOTHING {
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

fn take(workers: &mut [WorkerSlots], placement: &Placement) {
    for (name, slots) in &placement.workers {
        for worker in workers.iter_mut().filter(|worker| worker.name == *name) {
            for slot in worker.slots.iter_mut().filter(|slot| slots.contains(&slot.index)) {
                slot.free = false;
            }
        }
    }
}

/// Where the job ran before.
fn previous(job: &Job) -> Option<Placement> {
    let Phase::Restarting(restart) = &job.phase else {
        return None;
    };
    let mut placement = Placement::default();
    for member in &restart.last {
        match placement
            .workers
            .iter_mut()
            .find(|(worker, _)| *worker == member.worker)
        {
            Some((_, slots)) => slots.push(member.slot),
            None => placement.workers.push((member.worker.clone(), vec![member.slot])),
        }
    }
    Some(placement)
}

fn wait(draft: &mut Draft<'_>, id: &JobId, reason: String) {
    if draft.state().soft.waiting.get(id).map(|known| known.as_ref()) != Some(reason.as_str()) {
        draft.note(Note::Waiting {
            job: id.clone(),
            reason: Some(reason.into()),
        });
    }
}

fn form_gang(draft: &mut Draft<'_>, job: &Job, placement: &Placement) {
    let generation = job.generation.next();
    let members = members(draft.state(), job, placement);
    let processes: Vec<ProcessId> = members.iter().map(|member| member.process.clone()).collect();
    draft.record_job(
        &job.id,
        JobEvent::GangFormed {
            generation,
            members,
            recruits: Vec::new(),
            at_step_boundary: false,
            rewind: false,
        },
    );
    for process in &processes {
        start_again(draft, process);
    }
    request_scores(draft, &job.id);
}

fn members(state: &State, job: &Job, placement: &Placement) -> Vec<Member> {
    let generation = job.generation.next();
    let mut members = Vec::new();
    for (name, slots) in &placement.workers {
        let Some(worker) = state.workers.get(name) else {
            continue;
        };
        for (local_rank, &slot) in (0u32..).zip(slots) {
            let rank = u32::try_from(members.len()).unwrap_or(u32::MAX);
            let device = worker.description.slots.iter().find(|known| known.index == slot);
            members.push(Member {
                rank,
                worker: name.clone(),
                host: worker.description.host.clone(),
                slot,
                device: device.map(|known| known.device.clone()).unwrap_or_default(),
                local_rank,
                local_world_size: u32::try_from(slots.len()).unwrap_or(u32::MAX),
                process: ProcessId::from(format!("{}-g{generation}-r{rank}", job.id)),
                state: MemberState::Starting,
                steps_done: 0,
            });
        }
    }
    members
}

/// Asks for a process of a formed gang, for the first time or once more.
pub(super) fn start_again(draft: &mut Draft<'_>, id: &ProcessId) {
    let state = draft.state();
    let Some(process) = state.processes.get(id) else { return };
    let Some(gang) = state.job(&process.job).and_then(Job::gang) else {
        return;
    };
    let Some(member) = gang.everyone().find(|member| member.process == *id) else {
        return;
    };
    let start = StartRank {
        worker: process.worker.clone(),
        process: id.clone(),
        job: process.job.clone(),
        generation: process.generation,
        rank: member.rank,
        world_size: u32::try_from(gang.living().count() + gang.recruits.len()).unwrap_or(u32::MAX),
        local_rank: member.local_rank,
        local_world_size: member.local_world_size,
        slot: member.slot,
    };
    draft.effect(Effect::StartRank(start));
}

/// Asks for the scores of evaluations whose shards are all in; the answer may have been lost with a formation or a coordinator.
pub(super) fn request_scores(draft: &mut Draft<'_>, id: &JobId) {
    let Some(job) = draft.state().jobs.get(id).cloned() else {
        return;
    };
    for (&pass, progress) in &job.run.passes {
        if matches!(pass, Pass::Evaluate { .. }) && progress.is_complete() {
            draft.effect(Effect::ScorePass {
                job: id.clone(),
                generation: job.generation,
                pass,
            });
        }
    }
}

//! Which job gets free slots: in the order of submission.
//!
//! A job that waits for slots that other jobs hold keeps all slots that it may be given from later ones, so that small jobs cannot starve a large
//! one. A job that all workers together that it may have could not hold keeps nobody waiting: no end of another job would help it. Gangs that have
//! fewer workers than they need are served in the same order; gangs that could merely use more come last. When one that waits for workers holds
//! what an earlier job waits for, it gives way in the end ([`super::yielding`]).

use super::decision_builder::DecisionBuilder;
use super::free_slots::{Audience, Awaited, Fleet};
use super::processes::request_start;
use super::{growth, yielding};
use crate::identifiers::{JobId, ProcessId};
use crate::now::Now;
use crate::placement::{self, Blocked, Placement, Problem};
use crate::record::JobEvent;
use crate::soft_change::SoftChange;
use crate::spec::{ResourcesSpec, settings};
use crate::state::{Job, Member, Phase, State};

/// Forms the gangs that can be formed, and says of the other jobs why they wait.
pub(super) fn settle(draft: &mut DecisionBuilder<'_>) {
    let ahead = serve(draft);
    if yielding::dissolve_waiting_gangs(draft, &ahead) {
        serve(draft);
    }
}

/// Serves the jobs in their order; returns those that wait for slots that others hold.
fn serve(draft: &mut DecisionBuilder<'_>) -> Vec<JobId> {
    let now = draft.now();
    let waiting = jobs(draft.state(), |job| {
        waits(job, now) || (job.is_short() && growth::is_wanted(job, now))
    });
    let growing = jobs(draft.state(), |job| !job.is_short() && growth::is_wanted(job, now));
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
    queue.ahead
}

/// What is free while jobs are served one after the other.
struct Queue {
    fleet: Fleet,
    /// The jobs that wait for slots that others hold.
    ahead: Vec<JobId>,
    /// Equal requests have equal answers until a gang is formed.
    refusals: Vec<((ResourcesSpec, Audience), Blocked)>,
}

impl Queue {
    fn of(state: &State) -> Self {
        Self {
            fleet: Fleet::connected(state),
            ahead: Vec::new(),
            refusals: Vec::new(),
        }
    }

    fn is_behind(&self, draft: &mut DecisionBuilder<'_>, job: &Job, audience: &Audience) -> bool {
        let kind = self.fleet.kind(job, audience);
        let Some(first) = self.fleet.ahead(kind, audience) else {
            return false;
        };
        wait(draft, &job.id, first.sentence());
        true
    }

    /// A whole gang, for a job that has none.
    fn place(&mut self, draft: &mut DecisionBuilder<'_>, job: &Job) {
        let audience = self.fleet.audience(job);
        if self.is_behind(draft, job, &audience) {
            return;
        }
        let asked = (job.spec.resources, audience);
        let known = self.refusals.iter().find(|(refused, _)| *refused == asked);
        let answer = match known {
            Some((_, blocked)) => Err(blocked.clone()),
            None => self.solve(draft.state(), job, &asked.1),
        };
        match answer {
            Ok(placement) => {
                self.take(draft.state(), &placement);
                self.name_settings(draft, job);
                form_gang(draft, job, &placement);
            }
            Err(blocked) => {
                self.refuse(draft, job, &asked.1, &blocked);
                if !asked.1.has_own_workers() {
                    self.refusals.push((asked, blocked));
                }
            }
        }
    }

    fn solve(&self, state: &State, job: &Job, audience: &Audience) -> Result<Placement, Blocked> {
        let able = self.fleet.able(state, audience);
        let problem = Problem {
            request: job.spec.resources,
            workers: able.workers.into_owned(),
            in_addition: false,
            is_choice: able.is_choice,
        };
        placement::solve(&problem, previous(job).as_ref()).map_err(|blocked| blocked.because(&able.refusals))
    }

    /// Before the first formation nobody has a checkpoint of the job. Where workers of the first program are known, they may come to have a part
    /// in it, so it is named as their ranks name it, if they know all it asks for.
    fn name_settings(&self, draft: &mut DecisionBuilder<'_>, job: &Job) {
        let is_new = settings::is_new_to_first_program;
        if job.phase != Phase::Queued || !job.recorded_settings_digest.as_deref().is_some_and(is_new) {
            return;
        }
        let digest = settings::digest(&job.spec, self.fleet.oldest);
        if !is_new(&digest) {
            draft.record_job(&job.id, JobEvent::SettingsNamed { digest });
        }
    }

    /// What a gang needs that has fewer workers than the spec asks for.
    fn complete(&mut self, draft: &mut DecisionBuilder<'_>, job: &Job) {
        let audience = self.fleet.audience(job);
        if self.is_behind(draft, job, &audience) {
            return;
        }
        let able = self.fleet.able(draft.state(), &audience);
        match growth::recruit(draft, job, &able) {
            Ok(placement) => self.take(draft.state(), &placement),
            Err(blocked) => {
                let blocked = blocked.because(&able.refusals);
                self.refuse(draft, job, &audience, &blocked);
            }
        }
    }

    /// What a gang could use; nobody waits for it.
    fn grow(&mut self, draft: &mut DecisionBuilder<'_>, job: &Job) {
        let audience = self.fleet.audience(job);
        if self.fleet.ahead(self.fleet.kind(job, &audience), &audience).is_some() {
            return;
        }
        let able = self.fleet.able(draft.state(), &audience);
        if let Ok(placement) = growth::recruit(draft, job, &able) {
            self.take(draft.state(), &placement);
        }
    }

    /// One that could have its slots if others did not hold them, or wait for them, keeps them from those that come after.
    fn refuse(&mut self, draft: &mut DecisionBuilder<'_>, job: &Job, audience: &Audience, blocked: &Blocked) {
        let first = self.fleet.any_ahead(blocked.kind, audience);
        let first = first.filter(|_| blocked.enough_in_all).map(Awaited::sentence);
        if blocked.enough_in_all {
            if first.is_none() {
                self.ahead.push(job.id.clone());
            }
            self.fleet.keep_for(&job.id, &blocked.reason, (blocked.kind, audience));
        }
        wait(draft, &job.id, first.unwrap_or_else(|| blocked.reason.clone()));
    }

    fn take(&mut self, state: &State, placement: &Placement) {
        if placement.workers.is_empty() {
            return;
        }
        self.refusals.clear();
        self.fleet.take(state, placement);
    }
}

fn waits(job: &Job, now: Now) -> bool {
    match &job.phase {
        _ if job.suspended => false,
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

fn wait(draft: &mut DecisionBuilder<'_>, id: &JobId, reason: String) {
    if draft.state().soft.waiting.get(id).map(|known| known.as_ref()) != Some(reason.as_str()) {
        draft.change_soft(SoftChange::Waiting {
            job: id.clone(),
            reason: Some(reason.into()),
        });
    }
}

fn form_gang(draft: &mut DecisionBuilder<'_>, job: &Job, placement: &Placement) {
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
        request_start(draft, process);
    }
    draft.request_scores(&job.id);
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
            let local = (local_rank, u32::try_from(slots.len()).unwrap_or(u32::MAX));
            let process = ProcessId::from(format!("{}-g{generation}-r{rank}", job.id));
            members.push(Member::to_start(&worker.description, slot, rank, local, process));
        }
    }
    members
}

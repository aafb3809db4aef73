//! Which job gets free slots: in the order of the queue ([`crate::queue::order`]), and within the quotas of the namespaces.
//!
//! A job that waits for slots that other jobs hold keeps all slots that it may be given from later ones, so that small jobs cannot starve a large
//! one. A job that all workers together that it may have could not hold keeps nobody waiting: no end of another job would help it. One whose quota is
//! used up keeps later ones of its own namespace waiting, and nobody else. Gangs that have fewer workers than they need are served in the same
//! order; gangs that could merely use more come last. When one that waits for workers holds what an earlier job waits for, it gives way in the end
//! ([`super::yielding`]). Jobs of lower priority make room at once ([`super::preempting`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decision_builder::DecisionBuilder;
use super::free_slots::{Audience, Fleet};
use super::processes::request_start;
use super::{gangs, growth, preempting, yielding};
use crate::identifiers::{JobId, Namespace, ProcessId};
use crate::now::Now;
use crate::placement::{self, Blocked, Placement, Problem};
use crate::queue::order::Order;
use crate::queue::quota::{Accounts, Exhausted, Use};
use crate::record::JobEvent;
use crate::soft_change::SoftChange;
use crate::spec::{ResourcesSpec, settings};
use crate::state::{Job, Line, Member, Phase, Reason, State, Wait, WaitsFor};

/// Forms the gangs that can be formed, and says of the other jobs why they wait.
pub(super) fn settle(draft: &mut DecisionBuilder<'_>) {
    let mut ahead = serve(draft);
    if yielding::dissolve_waiting_gangs(draft, &ahead) {
        ahead = serve(draft);
    }
    if preempting::make_room(draft, &ahead) {
        gangs::settle(draft);
        serve(draft);
    }
}

/// Serves the jobs in their order; returns those that wait for slots that others hold.
fn serve(draft: &mut DecisionBuilder<'_>) -> Vec<JobId> {
    let now = draft.now();
    let asking = Asking::of(draft.state(), now);
    if asking.waiting.is_empty() && asking.growing.is_empty() {
        return Vec::new();
    }
    let mut queue = Queue::of(draft.state());
    for jobs in [&asking.waiting, &asking.growing] {
        let places = jobs.iter().map(|asks| (asks.job.place(), asks));
        let mut order = Order::new(places, |namespace| queue.accounts.share(namespace));
        while let Some(asks) = order.next() {
            let (slots, job) = (queue.serve(draft, asks), &asks.job);
            if slots > 0 {
                let jobs = u64::from(job.gang().is_none());
                queue.accounts.take(job.namespace(), Use { slots, jobs });
                order.set_share(job.namespace(), queue.accounts.share(job.namespace()));
            }
        }
    }
    queue.tell_lines(draft);
    queue.ahead
}

/// Who asks for slots, in any order.
struct Asking {
    /// Those that have no gang, or one that is short.
    waiting: Vec<Asks>,
    /// Those that could use more.
    growing: Vec<Asks>,
}

/// A job that asks for slots, and why it was said to wait.
struct Asks {
    job: Arc<Job>,
    known: Option<Reason>,
}

impl Asks {
    /// Whether it cannot work without, and waits.
    fn needs(&self) -> bool {
        self.job.gang().is_none() || self.job.is_short()
    }
}

impl Asking {
    fn of(state: &State, now: Now) -> Self {
        let (mut waiting, mut growing) = (Vec::new(), Vec::new());
        // Both are in the order of the ids: nothing is looked up for each of ten thousand jobs.
        let mut said = state.soft.waiting.iter().peekable();
        for job in state.jobs.values() {
            if !(waits(job, now) || growth::is_wanted(job, now)) {
                continue;
            }
            while said.next_if(|(id, _)| **id < job.id).is_some() {}
            let known = said.next_if(|(id, _)| **id == job.id).map(|(_, reason)| reason.clone());
            let asks = Asks {
                job: job.clone(),
                known,
            };
            match asks.needs() {
                true => waiting.push(asks),
                false => growing.push(asks),
            }
        }
        Self { waiting, growing }
    }
}

/// What is free while jobs are served one after the other.
struct Queue {
    fleet: Fleet,
    accounts: Accounts<'static>,
    /// The jobs that wait for slots that others hold.
    ahead: Vec<JobId>,
    /// The lines of namespaces behind a job that waits for the quota, and what those are told who stand in them.
    behind_quota: BTreeMap<Namespace, (Arc<Line>, Arc<str>)>,
    /// Equal requests have equal answers until a gang is formed.
    refusals: Vec<Refusal>,
}

/// Why a request was refused.
#[derive(Clone)]
struct Refusal {
    asked: (ResourcesSpec, Audience),
    blocked: Blocked,
    said: Arc<str>,
}

impl Queue {
    fn of(state: &State) -> Self {
        Self {
            fleet: Fleet::connected(state),
            accounts: Accounts::of(state).into_owned(),
            ahead: Vec::new(),
            behind_quota: BTreeMap::new(),
            refusals: Vec::new(),
        }
    }

    /// Gives a job what it can have, or says why it waits; returns the slots that it got.
    fn serve(&mut self, draft: &mut DecisionBuilder<'_>, asks: &Asks) -> u64 {
        let job = &asks.job;
        let circle = self.fleet.circle(job);
        let line = self.fleet.line(self.fleet.kind(job, &circle), &circle);
        // Nobody waits for what it could merely use.
        if line.is_some() && !asks.needs() {
            return 0;
        }
        let room = match self.room(draft, asks) {
            Some(room) => room,
            None => return 0,
        };
        if let Some(line) = line {
            wait_behind(draft, asks, line);
            return 0;
        }
        let audience = self.fleet.audience_within(job, circle);
        let placement = match job.gang() {
            None => self.place(draft, asks, (audience, room)),
            Some(_) => self.recruit(draft, asks, (&audience, room)),
        };
        self.take(draft.state(), &placement)
    }

    /// Slots that the quota of its namespace lets a job have; `None`: it waits for that, and it was said why.
    fn room(&mut self, draft: &mut DecisionBuilder<'_>, asks: &Asks) -> Option<u64> {
        let (job, namespace) = (&asks.job, asks.job.namespace());
        if let Some((line, _)) = self.behind_quota.get(namespace).filter(|_| asks.needs()) {
            wait_behind(draft, asks, Arc::clone(line));
            return None;
        }
        match self.accounts.room(namespace, growth::request(job)) {
            Ok(room) => Some(room),
            Err(Exhausted { later, reason }) => {
                if asks.needs() {
                    wait(draft, asks, (WaitsFor::Quota, &Arc::from(reason.as_str())));
                }
                if asks.needs() && later {
                    let said = format!("waits behind jobs/{}: {reason}", job.id);
                    let namespace = Namespace::from(namespace);
                    let line = Arc::new(Line::Quota(namespace.clone()));
                    self.behind_quota.insert(namespace, (line, said.into()));
                }
                None
            }
        }
    }

    /// A whole gang, for a job that has none.
    fn place(&mut self, draft: &mut DecisionBuilder<'_>, asks: &Asks, (audience, room): (Audience, u64)) -> Placement {
        let job = &asks.job;
        let asked = (within(job.spec.resources, room), audience);
        let known = self.refusals.iter().find(|refusal| refusal.asked == asked);
        if let Some(Refusal { blocked, said, .. }) = known.cloned() {
            self.refuse(draft, asks, &asked.1, (&blocked, &said));
            return Placement::default();
        }
        match self.solve(draft.state(), job, &asked) {
            Ok(placement) => {
                self.name_settings(draft, job);
                form_gang(draft, job, &placement);
                placement
            }
            Err(blocked) => {
                let said: Arc<str> = blocked.reason.as_str().into();
                self.refuse(draft, asks, &asked.1, (&blocked, &said));
                if !asked.1.circle.has_own_workers() {
                    self.refusals.push(Refusal { asked, blocked, said });
                }
                Placement::default()
            }
        }
    }

    fn solve(
        &self,
        state: &State,
        job: &Job,
        (request, audience): &(ResourcesSpec, Audience),
    ) -> Result<Placement, Blocked> {
        let able = self.fleet.able(state, audience);
        let problem = Problem {
            request: *request,
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

    /// What a gang needs that has fewer workers than the spec asks for, or what it could use.
    fn recruit(
        &mut self,
        draft: &mut DecisionBuilder<'_>,
        asks: &Asks,
        (audience, room): (&Audience, u64),
    ) -> Placement {
        let able = self.fleet.able(draft.state(), audience);
        match growth::recruit(draft, &asks.job, &able, room) {
            Ok(placement) => placement,
            Err(blocked) => {
                if asks.needs() {
                    let blocked = blocked.because(&able.refusals);
                    let said = blocked.reason.as_str().into();
                    self.refuse(draft, asks, audience, (&blocked, &said));
                }
                Placement::default()
            }
        }
    }

    /// One that could have its slots if others did not hold them, or wait for them, keeps them from those that come after.
    fn refuse(
        &mut self,
        draft: &mut DecisionBuilder<'_>,
        asks: &Asks,
        audience: &Audience,
        (blocked, said): (&Blocked, &Arc<str>),
    ) {
        let id = &asks.job.id;
        if !blocked.enough_in_all {
            return wait(draft, asks, (WaitsFor::Slots, said));
        }
        let circle = &audience.circle;
        let line = self.fleet.any_line(blocked.kind, circle);
        self.fleet.keep_for(id, said, (blocked.kind, circle));
        if let Some(line) = line {
            return wait_behind(draft, asks, line);
        }
        self.ahead.push(id.clone());
        match preempting::who_makes_room(draft.state(), id) {
            Some(who) => wait(draft, asks, (WaitsFor::Slots, &format!("{said}; {who}").into())),
            None => wait(draft, asks, (WaitsFor::Slots, said)),
        }
    }

    /// Takes what was given; returns how many slots that are.
    fn take(&mut self, state: &State, placement: &Placement) -> u64 {
        if placement.workers.is_empty() {
            return 0;
        }
        self.refusals.clear();
        self.fleet.take(state, placement);
        placement.workers.iter().map(|(_, slots)| slots.len() as u64).sum()
    }
}

impl Queue {
    /// Says what has changed for those who stand in a line: for all of them at once.
    fn tell_lines(&self, draft: &mut DecisionBuilder<'_>) {
        let of_quotas = self.behind_quota.values().cloned();
        let lines: BTreeMap<Arc<Line>, Arc<str>> = self.fleet.lines().chain(of_quotas).collect();
        let known = draft.state().soft.lines.clone();
        let ended = known.keys().filter(|line| !lines.contains_key(*line));
        for line in ended.cloned() {
            draft.change_soft(SoftChange::LineTold { line, said: None });
        }
        for (line, said) in lines.into_iter().filter(|(line, said)| known.get(line) != Some(said)) {
            draft.change_soft(SoftChange::LineTold { line, said: Some(said) });
        }
    }
}

/// The same with as many workers at most as there is room for. There is room for the fewest.
fn within(mut request: ResourcesSpec, room: u64) -> ResourcesSpec {
    let most = room / u64::from(request.slots_per_worker.max(1));
    let workers = &mut request.workers;
    workers.max = workers.max.min(u32::try_from(most).unwrap_or(u32::MAX));
    request
}

fn waits(job: &Job, now: Now) -> bool {
    match &job.phase {
        _ if job.suspended => false,
        Phase::Queued => true,
        Phase::Restarting(restart) => restart.not_before <= now,
        _ => false,
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

/// It lacks something itself.
fn wait(draft: &mut DecisionBuilder<'_>, asks: &Asks, (waits_for, reason): (WaitsFor, &Arc<str>)) {
    let reason = reason.clone();
    say(draft, asks, Reason::Own(Wait { waits_for, reason }));
}

/// Another one comes first. What it is told then stands with the line.
fn wait_behind(draft: &mut DecisionBuilder<'_>, asks: &Asks, line: Arc<Line>) {
    say(draft, asks, Reason::Behind(line));
}

fn say(draft: &mut DecisionBuilder<'_>, asks: &Asks, reason: Reason) {
    if asks.known.as_ref() != Some(&reason) {
        draft.change_soft(SoftChange::Waiting {
            job: asks.job.id.clone(),
            reason: Some(reason),
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

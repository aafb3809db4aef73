//! Which job gets free slots: in the order of the queue ([`crate::queue::order`]), and within the quotas of the namespaces.
//!
//! A job that waits for slots that other jobs hold keeps all slots that it may be given from later ones, so that small jobs cannot starve a large
//! one. A job that all workers together that it may have could not hold keeps nobody waiting: no end of another job would help it. One whose quota is
//! used up keeps later ones of its own namespace waiting, and nobody else. Gangs that have fewer workers than they need are served in the same
//! order; gangs that could merely use more come last. When one that waits for workers holds what an earlier job waits for, it gives way in the end
//! ([`super::yielding`]). Jobs of lower priority make room at once ([`super::preempting`]).

mod asking;
mod left;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::asking::{Asking, Asks, Turn};
use self::left::Left;
use super::decision_builder::DecisionBuilder;
use super::free_slots::{Audience, Fleet, known_or_new};
use super::processes::{new_id, request_start};
use super::{gangs, growth, preempting, yielding};
use crate::identifiers::{JobId, Namespace, ProcessId};
use crate::placement::{self, Blocked, Placement, Problem};
use crate::queue::order::Order;
use crate::queue::quota::{Accounts, Exhausted, Use};
use crate::record::JobEvent;
use crate::soft_change::SoftChange;
use crate::spec::{ResourcesSpec, settings};
use crate::state::backlog::{Row, Wish};
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
    if asking.is_empty() {
        return Vec::new();
    }
    let mut queue = Queue::of(draft.state());
    let (waiting, left) = asking.waiting(&queue.fleet, &queue.accounts);
    queue.serve_all(draft, &asking, (waiting, left));
    let growing = asking.growing(&queue.accounts);
    queue.serve_all(draft, &asking, (growing, Left::default()));
    queue.tell_lines(draft);
    queue.ahead
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
    /// What jobs were told that others of the same wish are told, too, as long as nothing changes here.
    answers: BTreeMap<Wish, Reason>,
    /// What those were told before that stand in lines.
    told: BTreeMap<Arc<Line>, Arc<str>>,
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
            answers: BTreeMap::new(),
            told: state.soft.lines.clone(),
        }
    }

    /// Serves jobs in their order, as far as anything is to be given to them or said.
    fn serve_all<'b>(
        &mut self,
        draft: &mut DecisionBuilder<'_>,
        asking: &'b Asking,
        (mut order, mut left): (Order<'b, Turn<'b>>, Left<'b>),
    ) {
        while let Some(turn) = order.next() {
            if !self.repeats_answer(draft, &turn) {
                let Some(asks) = asking.asks(&turn) else { continue };
                let (slots, job) = (self.serve(draft, &asks), &asks.job);
                if slots > 0 {
                    let jobs = u64::from(job.gang().is_none());
                    self.accounts.take(job.namespace(), Use { slots, jobs });
                    order.set_share(job.namespace(), self.accounts.share(job.namespace()));
                }
            }
            if let Some(lane) = left.settled(&turn, &self.answers) {
                order.pass_over(lane);
            }
        }
    }

    /// Says to a job what others of its wish were told; `false`: nobody was.
    fn repeats_answer(&self, draft: &mut DecisionBuilder<'_>, turn: &Turn<'_>) -> bool {
        let Turn::Queued { row, .. } = turn else { return false };
        let Row { job, wish, reason, .. } = row;
        let Some(answer) = self.answers.get(wish).filter(|_| !self.fleet.has_workers_for(job)) else {
            return false;
        };
        say(draft, (job, reason.as_ref()), answer);
        true
    }

    /// Says to a job what every other one of its wish would be told now.
    fn answer(&mut self, draft: &mut DecisionBuilder<'_>, asks: &Asks, answer: Reason) {
        say(draft, (&asks.job.id, asks.known.as_ref()), &answer);
        if let Some(wish) = asks.wish.filter(|_| !self.fleet.has_workers_for(&asks.job.id)) {
            self.answers.insert(wish, answer);
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
            self.answer(draft, asks, Reason::Behind(line));
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
            let line = Arc::clone(line);
            self.answer(draft, asks, Reason::Behind(line));
            return None;
        }
        match self.accounts.room(namespace, growth::request(job)) {
            Ok(room) => Some(room),
            Err(Exhausted { later, reason }) => {
                if asks.needs() {
                    let reason = Arc::from(reason.as_str());
                    self.answer(draft, asks, own(WaitsFor::Quota, &reason));
                }
                if asks.needs() && later {
                    let said = format!("waits behind jobs/{}: {reason}", job.id);
                    let namespace = Namespace::from(namespace);
                    let line = known_or_new(Line::Quota(namespace.clone()), &self.told);
                    self.behind_quota.insert(namespace, (line, said.into()));
                    self.answers.clear();
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
        let told = (id, asks.known.as_ref());
        if !blocked.enough_in_all {
            let reason = own(WaitsFor::Slots, said);
            // Where there are older workers, it depends on all of the spec which of them count.
            return match self.fleet.has_older(&audience.circle) {
                true => say(draft, told, &reason),
                false => self.answer(draft, asks, reason),
            };
        }
        let circle = &audience.circle;
        let line = self.fleet.any_line(blocked.kind, circle);
        self.fleet.keep_for(id, said, (blocked.kind, circle), &self.told);
        self.answers.clear();
        if let Some(line) = line {
            return say(draft, told, &Reason::Behind(line));
        }
        self.ahead.push(id.clone());
        let reason = match preempting::who_makes_room(draft.state(), id) {
            Some(who) => own(WaitsFor::Slots, &format!("{said}; {who}").into()),
            None => own(WaitsFor::Slots, said),
        };
        say(draft, told, &reason);
    }

    /// Takes what was given; returns how many slots that are.
    fn take(&mut self, state: &State, placement: &Placement) -> u64 {
        if placement.workers.is_empty() {
            return 0;
        }
        self.refusals.clear();
        self.answers.clear();
        self.fleet.take(state, placement);
        placement.workers.iter().map(|(_, slots)| slots.len() as u64).sum()
    }
}

impl Queue {
    /// Says what has changed for those who stand in a line: for all of them at once.
    fn tell_lines(&self, draft: &mut DecisionBuilder<'_>) {
        let of_quotas = self.behind_quota.values().cloned();
        let lines: BTreeMap<Arc<Line>, Arc<str>> = self.fleet.lines().chain(of_quotas).collect();
        let known = &self.told;
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
fn own(waits_for: WaitsFor, reason: &Arc<str>) -> Reason {
    let reason = Arc::clone(reason);
    Reason::Own(Wait { waits_for, reason })
}

/// Says why a job waits, if it was not told the same before.
fn say(draft: &mut DecisionBuilder<'_>, (job, known): (&JobId, Option<&Reason>), reason: &Reason) {
    if known != Some(reason) {
        draft.change_soft(SoftChange::Waiting {
            job: job.clone(),
            reason: Some(reason.clone()),
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
            let process = new_id(state, format!("{}-g{generation}-r{rank}", job.id));
            members.push(Member::to_start(&worker.description, slot, rank, local, process));
        }
    }
    members
}

//! The world outside the core: agents on machines, ranks that train, a network between them and the coordinator, a shell that scores, people,
//! and faults.

mod agents;
mod collective;
mod core;
mod faults;
mod learned;
mod main_thread;
mod network;
mod passes;
mod peace;
mod people;
mod pulse;
mod ranks;
mod training;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use firn_core::identifiers::{Generation, JobId, ProcessId, RequestId, StreamId, WorkerName};
use firn_core::state::*;
use firn_core::{Effect, Input, Now, Reject, Reply};

pub(crate) use self::core::Core;
pub(crate) use self::learned::{Learned, agree};
pub(crate) use self::ranks::Rank;
pub(crate) use self::training::STEPS;

use self::collective::Collective;
use self::learned::mix;
use self::network::{Envelope, Held};
use super::actions::Action;
use super::invariants::{Tally, Witness, order_is_kept};

/// Machines, each with one agent.
pub(crate) const MACHINES: usize = 4;
/// Slots of each.
pub(crate) const SLOTS: usize = 2;

/// Lines that tell what happened; they outlive a panic.
pub(crate) type Log = Rc<RefCell<Vec<String>>>;

/// Everything.
pub(crate) struct Outside {
    pub(crate) core: Core,
    pub(crate) machines: Vec<Machine>,
    pub(crate) ranks: BTreeMap<ProcessId, Rank>,
    /// Messages between ranks and the coordinator.
    bag: Vec<Envelope>,
    /// Calls that wait at the coordinator.
    pub(crate) held: Vec<Held>,
    /// Messages that arrived once and may arrive again.
    old: VecDeque<Input>,
    collectives: BTreeMap<(JobId, Generation), Collective>,
    /// Checkpoints that lie somewhere.
    pub(crate) files: BTreeMap<(JobId, String), StoredFile>,
    /// What was uploaded, by digest.
    uploads: BTreeMap<String, Learned>,
    /// Passes that are to be scored.
    scores: Vec<Effect>,
    /// Jobs as their people asked for them.
    pub(crate) plans: BTreeMap<JobId, Plan>,
    /// Submits that were acknowledged.
    pub(crate) submitted: BTreeMap<RequestId, JobId>,
    people: Vec<Input>,
    streams: u64,
    calls: u64,
    marks: u64,
    luck: u64,
    crash_after_commit: bool,
    witness: Witness,
    /// The first invariant that did not hold.
    pub(crate) broken: Option<String>,
    log: Option<Log>,
}

/// A worker's machine.
#[derive(Default)]
pub(crate) struct Machine {
    /// Starts of its agent.
    instance: u64,
    pub(crate) agent: Agent,
    /// The job that its agent is there for alone.
    pub(crate) serves: Option<JobId>,
    /// The one that the next agent will be there for.
    next_serves: Option<JobId>,
    /// Its agent was told that the job is over.
    is_dismissed: bool,
    /// Nothing gets in or out.
    is_cut_off: bool,
    pub(crate) stream: Option<StreamId>,
    /// Commands that have not arrived.
    commands: VecDeque<Effect>,
    /// Messages that have not arrived; they survive the stream.
    messages: VecDeque<Input>,
    /// Processes that were asked for once, so that a repeated order is ignored.
    known: Vec<ProcessId>,
}

/// An agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Agent {
    #[default]
    Down,
    Up,
    /// SIGSTOP.
    Frozen,
    /// It was told to end: its ranks are killed then.
    Draining {
        kill_at: Now,
    },
}

/// A checkpoint's file.
#[derive(Debug, Clone)]
pub(crate) struct StoredFile {
    pub(crate) learned: Learned,
    pub(crate) is_damaged: bool,
}

/// What a job trains on, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) splits: &'static [SplitName],
    pub(crate) strict: bool,
    /// The next step of this formation is not finite.
    poisoned: Option<Generation>,
}

pub(crate) fn name(machine: usize) -> WorkerName {
    WorkerName::from(format!("w{machine}"))
}

/// Where a machine stands.
pub(crate) fn zone(machine: usize) -> char {
    if machine < MACHINES / 2 { 'a' } else { 'b' }
}

fn pick<T>(mut items: Vec<T>, choice: impl Into<usize>) -> Option<T> {
    match items.len() {
        0 => None,
        count => Some(items.swap_remove(choice.into() % count)),
    }
}

impl Outside {
    pub(crate) fn new(log: Option<Log>) -> Self {
        let mut outside = Self {
            core: Core::new(),
            machines: (0..MACHINES).map(|_| Machine::default()).collect(),
            ranks: BTreeMap::new(),
            bag: Vec::new(),
            held: Vec::new(),
            old: VecDeque::new(),
            collectives: BTreeMap::new(),
            files: BTreeMap::new(),
            uploads: BTreeMap::new(),
            scores: Vec::new(),
            plans: BTreeMap::new(),
            submitted: BTreeMap::new(),
            people: Vec::new(),
            streams: 0,
            calls: 0,
            marks: 0,
            luck: 0,
            crash_after_commit: false,
            witness: Witness::default(),
            broken: None,
            log,
        };
        outside.tell(Input::CoordinatorStarted);
        outside
    }

    /// What happened so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.witness.tally
    }

    /// One action, and all invariants.
    pub(crate) fn act(&mut self, number: usize, action: Action) {
        self.note(|now| format!("{now} #{number} {action:?}"));
        self.luck = mix(u64::from(action_number(action)));
        self.perform(action);
        self.check();
    }

    /// All invariants.
    fn check(&mut self) {
        let mut witness = std::mem::take(&mut self.witness);
        let verdict = witness.check(self);
        self.witness = witness;
        if let Err(broken) = verdict {
            self.fail(broken);
        }
    }

    /// Remembers the first invariant that does not hold.
    fn fail(&mut self, what: String) {
        if self.broken.is_none() {
            self.note(|now| format!("{now} BROKEN: {what}"));
            self.broken = Some(what);
        }
    }

    /// Tells the log, if there is one.
    fn note(&self, line: impl FnOnce(Now) -> String) {
        if let Some(log) = &self.log {
            log.borrow_mut().push(line(self.core.now));
        }
    }

    /// A coin that falls as the present action says.
    fn coin(&mut self) -> bool {
        self.luck = mix(self.luck);
        self.luck >> 40 & 1 == 1
    }

    /// The core learns of an input; its effects are carried out. `None`: the coordinator died before it could answer.
    fn tell(&mut self, input: Input) -> Option<Result<Reply, Reject>> {
        let caller = network::caller(&input).cloned();
        let shown = self.log.as_ref().map(|_| format!("{input:?}"));
        let outcome = self.core.give(input);
        if let Some(shown) = shown {
            let reply = format!("{:?}", outcome.reply);
            self.note(|_| format!("    {shown:.400} -> {reply:.300}"));
            for record in &self.core.journal[outcome.before..] {
                let record = format!("{:?}", record.event);
                self.note(|_| format!("        {record:.400}"));
            }
        }
        let news = &self.core.journal[outcome.before..];
        let in_order = order_is_kept(&self.core.state, news, self.core.now);
        let verdict = self.witness.learn(news, caller.as_ref()).and(in_order);
        let has_records = !news.is_empty();
        let touched = network::touched(news, &outcome.soft_changes);
        if let Err(broken) = verdict {
            self.fail(broken);
        }
        if !self.core.replays_so_far() {
            self.fail("invariant `replay of the journal equals the live state` is broken".to_owned());
        }
        if has_records && std::mem::take(&mut self.crash_after_commit) {
            self.note(|_| "    the coordinator dies before it can tell anybody".to_owned());
            self.crash();
            return None;
        }
        for effect in outcome.effects {
            self.carry_out(effect);
        }
        self.ask_again(touched);
        Some(outcome.reply)
    }

    fn carry_out(&mut self, effect: Effect) {
        self.note(|_| format!("        effect {effect:?}"));
        let worker = match &effect {
            Effect::StartRank(start) => start.worker.clone(),
            Effect::StopRank { worker, .. }
            | Effect::DismissAgent { worker, .. }
            | Effect::CloseStream { worker, .. } => worker.clone(),
            Effect::ScorePass { .. } => {
                self.scores.push(effect);
                return;
            }
            Effect::EraseJob { job } => {
                self.files.retain(|(other, _), _| *other != *job);
                self.tell(Input::JobErased {
                    job: job.clone(),
                    bytes: 0,
                });
                return;
            }
            Effect::DeleteCheckpoint { job, sha256 } => {
                self.files.remove(&(job.clone(), sha256.clone()));
                return;
            }
        };
        let Some(machine) = (0..MACHINES).find(|machine| name(*machine) == worker) else {
            return;
        };
        let machine = &mut self.machines[machine];
        match effect {
            Effect::CloseStream { stream, .. } if machine.stream == Some(stream) => {
                machine.stream = None;
                machine.commands.clear();
            }
            Effect::CloseStream { .. } => {}
            command if machine.stream.is_some() => machine.commands.push_back(command),
            _ => {}
        }
    }

    /// The shell has scored a pass.
    fn score(&mut self, choice: u8) {
        if self.scores.is_empty() {
            return;
        }
        let index = usize::from(choice) % self.scores.len();
        if let Effect::ScorePass { job, generation, pass } = self.scores.remove(index) {
            self.tell(Input::PassScored {
                job,
                generation,
                pass,
                from_predictions: [("roc_auc".to_owned(), 0.5)].into(),
                intervals: None,
                thresholds: Vec::new(),
            });
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Submit(wish) => self.submit(wish),
            Action::SubmitAgain(choice) => self.repeat_wish(choice),
            Action::Cancel(choice) => self.cancel(choice),
            Action::Suspend(choice) => self.suspend(choice),
            Action::Resume(choice) => self.resume(choice),
            Action::Scale { job, fewest, more } => self.scale(job, (fewest, more)),
            Action::SetQuota { namespace, slots, jobs } => self.set_quota(namespace, slots, jobs),
            Action::Drain(choice) => self.drain(choice, false),
            Action::Undrain(choice) => self.drain(choice, true),
            Action::Attach(choice) => self.attach(usize::from(choice) % MACHINES),
            Action::Dedicate { machine, job } => self.dedicate(usize::from(machine) % MACHINES, job),
            Action::Detach(choice) => self.detach(usize::from(choice) % MACHINES),
            Action::Terminate { machine, grace } => self.terminate_agent(usize::from(machine) % MACHINES, grace),
            Action::KillAgent(choice) => self.kill_agent(usize::from(choice) % MACHINES),
            Action::PowerOff(choice) => self.power_off(usize::from(choice) % MACHINES),
            Action::FreezeAgent(choice) => self.freeze_agent(usize::from(choice) % MACHINES),
            Action::Partition(choice) => self.partition(usize::from(choice) % MACHINES),
            Action::Deliver(choice) => self.deliver_any(choice),
            Action::Duplicate(choice) => self.duplicate(choice),
            Action::Drop(choice) => self.drop_any(choice),
            Action::Delay(choice) => self.delay(choice),
            Action::Repeat(choice) => self.repeat(choice),
            Action::Command(choice) => self.deliver_command(usize::from(choice) % MACHINES),
            Action::Report(choice) => {
                self.deliver_message(usize::from(choice) % MACHINES);
            }
            Action::Advance(choice) => {
                if let Some(process) = self.some_rank(choice) {
                    self.advance(&process);
                }
            }
            Action::Score(choice) => self.score(choice),
            Action::Crash => self.crash(),
            Action::CrashAfterCommit => self.crash_after_commit = true,
            Action::Sleep(milliseconds) => self.sleep(u64::from(milliseconds)),
            Action::Pass(milliseconds) => self.pass(u64::from(milliseconds)),
            Action::Calm(rounds) => (0..rounds).for_each(|_| {
                self.calm_round();
            }),
            fault => self.afflict(fault),
        }
    }

    /// The coordinator dies and starts again.
    fn crash(&mut self) {
        self.crash_after_commit = false;
        self.scores.clear();
        for machine in &mut self.machines {
            machine.stream = None;
            machine.commands.clear();
        }
        self.break_connections();
        self.core.restart();
        self.tell(Input::CoordinatorStarted);
    }

    fn some_rank(&self, choice: u8) -> Option<ProcessId> {
        pick(self.ranks.keys().cloned().collect(), choice)
    }
}

/// The number that an action holds.
fn action_number(action: Action) -> u16 {
    match action {
        Action::Deliver(choice)
        | Action::Duplicate(choice)
        | Action::Drop(choice)
        | Action::Delay(choice)
        | Action::Repeat(choice)
        | Action::Sleep(choice)
        | Action::Pass(choice) => choice,
        Action::Advance(choice)
        | Action::KillAgent(choice)
        | Action::Attach(choice)
        | Action::End { rank: choice, .. }
        | Action::Corrupt(choice)
        | Action::Calm(choice) => u16::from(choice),
        _ => 0,
    }
}

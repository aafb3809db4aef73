//! The world outside the core: agents with real processes, ranks that work, a shell that computes scores, and faults.

mod agents;
mod ranks;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use firn_core::identifiers::{JobId, ProcessId, RequestId, StreamId, WorkerName};
use firn_core::state::*;
use firn_core::{Effect, Input, Reject, Reply, StartRank};

use super::invariants::Witness;
use crate::bench::{Coordinator, EVERY_SPLIT, TRAIN_AND_VALIDATION, durable, spec_on};

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Submit {
        workers: u32,
        restarts: u32,
        splits: u32,
    },
    Cancel(u8),
    Attach(u8),
    Detach(u8),
    KillAgent(u8),
    Leave(u8),
    FallSilent(u8),
    DeliverToAgent(u8),
    DeliverToCoordinator(u8),
    Exit {
        rank: u8,
        how: u8,
    },
    ReportFailure(u8),
    Advance(u8),
    Repeat(u8),
    Score(u8),
    CrashCoordinator,
    Pass(u64),
    /// So many rounds in which everything arrives and every rank does something.
    Calm(u8),
}

const WORKERS: usize = 4;
const SLOTS: usize = 2;

/// A worker's machine.
#[derive(Default)]
struct Machine {
    /// Starts of its agent.
    instance: u64,
    runs: bool,
    /// Lives, but nothing of it comes through.
    silent: bool,
    stream: Option<StreamId>,
    /// Commands that have not arrived.
    commands: VecDeque<Effect>,
    /// Messages that have not arrived; they survive the stream, not the agent.
    messages: VecDeque<Input>,
    processes: BTreeMap<ProcessId, Rank>,
    /// Processes that have ended, so that a repeated start is ignored.
    known: Vec<ProcessId>,
}

/// A rank process, by what it does next.
#[derive(Clone)]
struct Rank {
    start: StartRank,
    next: Next,
}

#[derive(Clone, Debug)]
enum Next {
    Join,
    Register,
    Walk(Pass),
    Work(Pass, Shard),
    Step { epoch: u32 },
    Checkpoint { epoch: u32 },
    Artifacts,
    Finish,
    Exit(i32),
}

/// Everything.
pub(super) struct Outside {
    coordinator: Coordinator,
    machines: Vec<Machine>,
    scores: Vec<Effect>,
    /// Messages of ranks that were sent once and may be sent again.
    sent: Vec<Input>,
    splits: BTreeMap<JobId, &'static [SplitName]>,
    streams: u64,
    /// Request ids given out.
    marks: u64,
    witness: Witness,
    log: Vec<String>,
}

fn pick<T>(items: Vec<T>, choice: u8) -> Option<T> {
    let count = items.len();
    if count == 0 {
        None
    } else {
        items.into_iter().nth(choice as usize % count)
    }
}

fn name(machine: usize) -> WorkerName {
    WorkerName::from(format!("w{machine}"))
}

impl Outside {
    pub(super) fn new() -> Self {
        Self {
            coordinator: Coordinator::new(),
            machines: (0..WORKERS).map(|_| Machine::default()).collect(),
            scores: Vec::new(),
            sent: Vec::new(),
            splits: BTreeMap::new(),
            streams: 1_000,
            marks: 0,
            witness: Witness::default(),
            log: Vec::new(),
        }
    }

    /// One action, and all invariants.
    pub(super) fn act(&mut self, action: &Action) {
        self.log.push(format!("{} {action:?}", self.coordinator.now));
        self.perform(action);
        self.check();
    }

    fn check(&mut self) {
        if let Err(broken) = self.witness.check(&self.coordinator.state, &self.coordinator.journal) {
            self.fail(&broken);
        }
        if self.log.len().is_multiple_of(16) {
            let replayed = self.coordinator.replayed();
            if durable(&replayed) != durable(&self.coordinator.state) {
                self.fail("invariant `the journal replays to the live state` is broken");
            }
        }
        self.nothing_is_placed_on_a_slot_with_a_live_process();
    }

    fn fail(&self, what: &str) -> ! {
        let log = self.log.join("\n");
        panic!(
            "{what}\n--- what happened\n{log}\n--- jobs\n{:#?}",
            self.coordinator.state.jobs
        );
    }

    /// The slots as they are outside, not as the core believes.
    fn nothing_is_placed_on_a_slot_with_a_live_process(&self) {
        for machine in &self.machines {
            let mut slots: Vec<u32> = machine.processes.values().map(|rank| rank.start.slot).collect();
            slots.sort_unstable();
            let count = slots.len();
            slots.dedup();
            if slots.len() != count {
                let processes: Vec<_> = machine.processes.keys().collect();
                self.fail(&format!("two living processes on one slot: {processes:?}"));
            }
        }
    }

    fn give(&mut self, input: Input) -> Result<Reply, Reject> {
        let shown = format!("{input:?}");
        let reply = self.coordinator.give(input);
        self.log
            .push(format!("    {shown:.300} -> {:.200}", format!("{reply:?}")));
        for effect in self.coordinator.take_effects() {
            self.log.push(format!("    effect {effect:?}"));
            self.carry_out(effect);
        }
        reply
    }

    fn carry_out(&mut self, effect: Effect) {
        let worker = match &effect {
            Effect::StartRank(start) => start.worker.clone(),
            Effect::StopRank { worker, .. } | Effect::CloseStream { worker, .. } => worker.clone(),
            Effect::ScorePass { .. } => {
                self.scores.push(effect);
                return;
            }
            Effect::DeleteCheckpoint { .. } => return,
        };
        let Some(machine) = (0..WORKERS).find(|machine| name(*machine) == worker) else {
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

    fn running(&self) -> Vec<usize> {
        (0..WORKERS).filter(|machine| self.machines[*machine].runs).collect()
    }

    fn connected(&self) -> Vec<usize> {
        (0..WORKERS)
            .filter(|machine| self.machines[*machine].stream.is_some())
            .collect()
    }

    fn ranks(&self) -> Vec<(usize, ProcessId)> {
        let ranks = |(machine, of): (usize, &Machine)| {
            of.processes
                .keys()
                .map(|process| (machine, process.clone()))
                .collect::<Vec<_>>()
        };
        self.machines.iter().enumerate().flat_map(ranks).collect()
    }

    fn perform(&mut self, action: &Action) {
        match *action {
            Action::Submit {
                workers,
                restarts,
                splits,
            } => self.submit(workers, restarts, splits),
            Action::Cancel(choice) => {
                if let Some(job) = pick(self.coordinator.state.jobs.keys().cloned().collect(), choice) {
                    let input = self.marked(Input::Cancel { job });
                    self.sent.push(input.clone());
                    let _ = self.give(input);
                }
            }
            Action::Attach(choice) => self.attach(choice as usize % WORKERS),
            Action::Detach(choice) => {
                if let Some(machine) = pick(self.connected(), choice) {
                    self.detach(machine);
                }
            }
            Action::KillAgent(choice) => {
                if let Some(machine) = pick(self.running(), choice) {
                    self.kill_agent(machine);
                }
            }
            Action::Leave(choice) => {
                if let Some(machine) = pick(self.connected(), choice) {
                    self.leave(machine);
                }
            }
            Action::FallSilent(choice) => {
                if let Some(machine) = pick(self.running(), choice) {
                    self.machines[machine].silent = !self.machines[machine].silent;
                }
            }
            Action::DeliverToAgent(choice) => self.deliver_command(choice as usize % WORKERS),
            Action::DeliverToCoordinator(choice) => self.deliver_message(choice as usize % WORKERS),
            Action::Exit { rank, how } => self.exit(rank, how),
            Action::ReportFailure(choice) => self.report_failure(choice),
            Action::Advance(choice) => {
                if let Some((machine, process)) = pick(self.ranks(), choice) {
                    self.advance(machine, &process);
                }
            }
            Action::Repeat(choice) => {
                if let Some(input) = pick(self.sent.clone(), choice) {
                    let _ = self.give(input);
                }
            }
            Action::Score(choice) => self.score(choice),
            Action::CrashCoordinator => self.crash_coordinator(),
            Action::Pass(milliseconds) => self.pass(milliseconds),
            Action::Calm(rounds) => (0..rounds).for_each(|_| self.calm_round()),
        }
    }

    fn exit(&mut self, rank: u8, how: u8) {
        let Some((machine, process)) = pick(self.ranks(), rank) else {
            return;
        };
        let ending = match how {
            0 => Ending::Killed(11),
            1 => Ending::Exited(0),
            2 | 3 => Ending::Exited(1),
            4 => Ending::Exited(10 + i32::from(rank % 2)),
            _ => Ending::Killed(9),
        };
        self.end_process(machine, &process, ending);
    }

    /// The same mutation under a mark of its own, as clients send it.
    fn marked(&mut self, mutation: Input) -> Input {
        self.marks += 1;
        let request = Request {
            id: RequestId::from(format!("request {}", self.marks)),
            body: Some(format!("body {}", self.marks).into()),
        };
        Input::Once {
            request,
            mutation: Box::new(mutation),
        }
    }

    fn submit(&mut self, workers: u32, restarts: u32, splits: u32) {
        let mut spec = spec_on("job", workers);
        spec.resources.min_workers = 1 + workers / 2;
        spec.resources.slots_per_worker = 1 + splits % 2;
        spec.training.epochs = 3;
        spec.max_restarts = restarts;
        let input = self.marked(Input::Submit { spec: Arc::new(spec) });
        self.sent.push(input.clone());
        if let Ok(Reply::Submitted(job)) = self.give(input) {
            let all: [&'static [SplitName]; 3] = [&[SplitName::Train], &TRAIN_AND_VALIDATION, &EVERY_SPLIT];
            self.splits.insert(job, all[splits as usize % 3]);
        }
    }
}

/// The faults stop.
impl Outside {
    /// Agents that run are back on their streams, everything arrives, and every rank does one thing.
    fn calm_round(&mut self) {
        for machine in self.running() {
            self.attach(machine);
            while !self.machines[machine].silent && !self.machines[machine].commands.is_empty() {
                self.deliver_command(machine);
            }
            while !self.machines[machine].silent && !self.machines[machine].messages.is_empty() {
                self.deliver_message(machine);
                if self.machines[machine].stream.is_none() {
                    break;
                }
            }
        }
        for (machine, process) in self.ranks() {
            if self.machines[machine].processes.contains_key(&process) {
                self.advance(machine, &process);
            }
        }
        while !self.scores.is_empty() {
            self.score(0);
            self.scores.remove(0);
        }
        self.pass(20);
    }

    /// The faults stop: agents are there, everything arrives, ranks work. Then every job ends.
    pub(super) fn heal(&mut self) {
        self.log.push("the faults stop".to_owned());
        for round in 0..3_000 {
            if self.coordinator.state.jobs.values().all(|job| job.outcome().is_some()) {
                return;
            }
            for machine in &mut self.machines {
                machine.silent = false;
            }
            (0..WORKERS).for_each(|machine| self.attach(machine));
            self.calm_round();
            self.pass(if round % 10 == 9 { 2_000 } else { 0 });
            self.check();
        }
        self.fail("invariant `every job ends when the faults stop` is broken");
    }
}

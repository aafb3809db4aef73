//! The world outside the core: agents with real processes, ranks that work, a shell that computes scores, and faults.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use firn_core::identifiers::{InstanceId, JobId, ProcessId, RankIdentity, RequestId, StreamId, WorkerName};
use firn_core::state::*;
use firn_core::{Directive, Effect, Input, Reject, Reply, StartRank};

use super::invariants::Witness;
use crate::bench::{Coordinator, EVERY_SPLIT, TRAIN_AND_VALIDATION, dataset, description, durable, sha256, spec_on};

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Submit { workers: u32, restarts: u32, splits: u32 },
    Cancel(u8),
    Attach(u8),
    Detach(u8),
    KillAgent(u8),
    Leave(u8),
    FallSilent(u8),
    DeliverToAgent(u8),
    DeliverToCoordinator(u8),
    Exit { rank: u8, how: u8 },
    ReportFailure(u8),
    Advance(u8),
    Repeat(u8),
    Score(u8),
    CrashCoordinator,
    Pass(u64),
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
    witness: Witness,
    log: Vec<String>,
}

fn pick<T>(items: Vec<T>, choice: u8) -> Option<T> {
    let count = items.len();
    if count == 0 { None } else { items.into_iter().nth(choice as usize % count) }
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
        panic!("{what}\n--- what happened\n{log}\n--- jobs\n{:#?}", self.coordinator.state.jobs);
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
        self.log.push(format!("    {shown:.300} -> {:.200}", format!("{reply:?}")));
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
        let Some(machine) = (0..WORKERS).find(|machine| name(*machine) == worker) else { return };
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
        (0..WORKERS).filter(|machine| self.machines[*machine].stream.is_some()).collect()
    }

    fn ranks(&self) -> Vec<(usize, ProcessId)> {
        let ranks = |(machine, of): (usize, &Machine)| {
            of.processes.keys().map(|process| (machine, process.clone())).collect::<Vec<_>>()
        };
        self.machines.iter().enumerate().flat_map(ranks).collect()
    }

    fn perform(&mut self, action: &Action) {
        match *action {
            Action::Submit { workers, restarts, splits } => self.submit(workers, restarts, splits),
            Action::Cancel(choice) => {
                if let Some(job) = pick(self.coordinator.state.jobs.keys().cloned().collect(), choice) {
                    let _ = self.give(Input::Cancel { job });
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
            Action::Exit { rank, how } => {
                if let Some((machine, process)) = pick(self.ranks(), rank) {
                    let ending = [
                        Ending::Killed(9),
                        Ending::Killed(11),
                        Ending::Exited(1),
                        Ending::Exited(0),
                        Ending::Killed(9),
                        Ending::Exited(10 + i32::from(how % 2)),
                    ];
                    self.end_process(machine, &process, ending[how as usize % 6].clone());
                }
            }
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
        }
    }

    fn submit(&mut self, workers: u32, restarts: u32, splits: u32) {
        let mut spec = spec_on("job", workers);
        spec.resources.min_workers = 1 + workers / 2;
        spec.resources.slots_per_worker = 1 + splits % 2;
        spec.training.epochs = 2;
        spec.max_restarts = restarts;
        let request = RequestId::from(format!("request {}", self.coordinator.state.jobs_submitted));
        let input = Input::Submit { spec: Arc::new(spec), request: Some(request) };
        self.sent.push(input.clone());
        if let Ok(Reply::Submitted(job)) = self.give(input) {
            let all: [&'static [SplitName]; 3] = [&[SplitName::Train], &TRAIN_AND_VALIDATION, &EVERY_SPLIT];
            self.splits.insert(job, all[splits as usize % 3]);
        }
    }
}

/// Agents.
impl Outside {
    fn attach(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        if of.silent || of.stream.is_some() {
            return;
        }
        if !of.runs {
            of.runs = true;
            of.instance += 1;
        }
        let mut described = description(name(machine).as_str(), &["cpu"; SLOTS]);
        described.instance = InstanceId::from(of.instance.to_string());
        let living = |process: &ProcessId| LivingProcess { process: process.clone(), pid: 7 };
        let processes = of.processes.keys().map(living).collect();
        self.streams += 1;
        let stream = StreamId(self.streams);
        self.machines[machine].stream = Some(stream);
        match self.give(Input::AgentAttached { description: described, processes, stream }) {
            Ok(Reply::Welcome(welcome)) => {
                for process in welcome.unwanted {
                    self.end_process(machine, &process, Ending::Killed(9));
                }
            }
            _ => self.machines[machine].stream = None,
        }
    }

    fn detach(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        of.commands.clear();
        if let Some(stream) = of.stream.take() {
            let _ = self.give(Input::AgentDetached { worker: name(machine), stream });
        }
    }

    fn kill_agent(&mut self, machine: usize) {
        // Its ranks die with it, and so does what it had not told.
        let of = &mut self.machines[machine];
        of.runs = false;
        of.silent = false;
        of.processes.clear();
        of.known.clear();
        of.messages.clear();
        self.detach(machine);
    }

    fn leave(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        of.processes.clear();
        of.messages.clear();
        if let Some(stream) = of.stream {
            let _ = self.give(Input::AgentLeaving { worker: name(machine), stream });
        }
        self.kill_agent(machine);
    }

    fn deliver_command(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        if of.silent || !of.runs {
            return;
        }
        match of.commands.pop_front() {
            Some(Effect::StartRank(start)) if !of.known.contains(&start.process) => {
                let process = start.process.clone();
                of.known.push(process.clone());
                of.processes.insert(process.clone(), Rank { start, next: Next::Join });
                of.messages.push_back(Input::RankStarted { worker: name(machine), process, pid: 7 });
            }
            Some(Effect::StopRank { process, .. }) => self.end_process(machine, &process, Ending::Exited(12)),
            _ => {}
        }
    }

    fn deliver_message(&mut self, machine: usize) {
        if self.machines[machine].silent || self.machines[machine].stream.is_none() {
            return;
        }
        if let Some(message) = self.machines[machine].messages.pop_front() {
            self.sent.push(message.clone());
            let _ = self.give(message);
        }
    }

    fn end_process(&mut self, machine: usize, process: &ProcessId, ending: Ending) {
        let of = &mut self.machines[machine];
        if of.processes.remove(process).is_some() {
            let exit = RankExit { ending, last_log_lines: Vec::new() };
            of.messages.push_back(Input::RankExited { worker: name(machine), process: process.clone(), exit });
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        let end = self.coordinator.now + milliseconds;
        while self.coordinator.now < end {
            let step = end.since(self.coordinator.now).min(2_000);
            let next = self.coordinator.now + step;
            while let Some(deadline) = firn_core::deadline(&self.coordinator.state).filter(|at| *at <= next) {
                self.coordinator.now = self.coordinator.now.max(deadline);
                let _ = self.give(Input::Tick);
                if firn_core::deadline(&self.coordinator.state).is_some_and(|again| again <= self.coordinator.now) {
                    self.fail("invariant `a tick leaves nothing that is due` is broken");
                }
            }
            self.coordinator.now = next;
            for machine in 0..WORKERS {
                let of = &self.machines[machine];
                if let (false, Some(stream)) = (of.silent, of.stream) {
                    let refused = self.coordinator.give(Input::AgentHeartbeat { worker: name(machine), stream }).is_err();
                    if refused {
                        self.machines[machine].stream = None;
                        self.machines[machine].commands.clear();
                    }
                }
            }
        }
    }

    fn crash_coordinator(&mut self) {
        self.scores.clear();
        for machine in &mut self.machines {
            machine.stream = None;
            machine.commands.clear();
        }
        self.coordinator.crash();
        for effect in self.coordinator.take_effects() {
            self.carry_out(effect);
        }
    }

    fn score(&mut self, choice: u8) {
        if let Some(Effect::ScorePass { job, generation, pass }) = pick(self.scores.clone(), choice) {
            let input = Input::PassScored { job, generation, pass, roc_auc: Some(0.5) };
            let _ = self.give(input);
        }
    }
}

/// Ranks.
impl Outside {
    fn report_failure(&mut self, choice: u8) {
        let Some((machine, process)) = pick(self.ranks(), choice) else { return };
        let start = self.machines[machine].processes[&process].start.clone();
        let reasons = [FailureReason::NodeFailures, FailureReason::InternalError, FailureReason::BadData];
        let failure = Failure {
            reason: reasons[choice as usize % 3],
            message: "it went wrong".to_owned(),
            rank: None,
            host: String::new(),
            last_log_lines: Vec::new(),
        };
        let _ = self.give(Input::RankFailed { identity: identity(&start), failure });
        self.end_process(machine, &process, Ending::Exited(1));
    }

    /// The rank does the next thing; a refusal makes it exit.
    fn advance(&mut self, machine: usize, process: &ProcessId) {
        let rank = self.machines[machine].processes[process].clone();
        if self.machines[machine].silent {
            return;
        }
        let next = match self.work(&rank) {
            Ok(next) => next,
            Err(Reject::GangIncomplete { .. }) => rank.next,
            Err(_) => Next::Exit(12),
        };
        match next {
            Next::Exit(status) => self.end_process(machine, process, Ending::Exited(status)),
            next => {
                if let Some(rank) = self.machines[machine].processes.get_mut(process) {
                    rank.next = next;
                }
            }
        }
    }

    fn send(&mut self, input: Input) -> Result<Reply, Reject> {
        self.sent.push(input.clone());
        self.give(input)
    }

    fn work(&mut self, rank: &Rank) -> Result<Next, Reject> {
        let identity = identity(&rank.start);
        match rank.next.clone() {
            Next::Join => {
                let join = Input::RankJoined { identity, ring_address: rank.start.process.to_string(), device: "cpu".to_owned() };
                Ok(match self.send(join)? {
                    Reply::World(world) if self.is_registered(&rank.start.job) => follow(&rank.start, world.next),
                    Reply::World(_) => Next::Register,
                    _ => Next::Join,
                })
            }
            Next::Register => {
                let splits = self.splits[&rank.start.job];
                self.send(Input::DatasetRegistered { identity, dataset: Arc::new(dataset(splits)) })?;
                Ok(Next::Walk(Pass::Scan(SplitName::Train)))
            }
            Next::Walk(pass) => Ok(match self.send(Input::ShardRequested { identity, pass })? {
                Reply::Shard(shard) => Next::Work(pass, shard),
                Reply::Complete(directive) => follow(&rank.start, directive),
                _ => Next::Walk(pass),
            }),
            Next::Work(pass, shard) => {
                let report = self.coordinator.report(pass, shard);
                self.send(Input::ShardCompleted { identity, pass, shard: shard.index, report })?;
                Ok(Next::Walk(pass))
            }
            Next::Step { epoch } => self.step(identity, epoch),
            Next::Checkpoint { epoch } => {
                let (epochs_done, steps_done) = (epoch + 1, 4 * u64::from(epoch) + 4);
                let sha256 = sha256(steps_done + 1_000 * identity.generation.0);
                let checkpoint = Checkpoint { epochs_done, steps_done, sha256, size_bytes: 1 };
                self.send(Input::CheckpointStored { identity, checkpoint })?;
                Ok(Next::Walk(Pass::validation(epoch)))
            }
            Next::Artifacts => {
                let artifact = Artifact {
                    name: "head.safetensors".to_owned(),
                    size_bytes: 1,
                    sha256: sha256(1),
                    location: "coordinator".to_owned(),
                };
                self.send(Input::ArtifactStored { identity, artifact })?;
                Ok(Next::Finish)
            }
            Next::Finish => self.send(Input::JobFinished { identity }).map(|_| Next::Exit(0)),
            exit @ Next::Exit(_) => Ok(exit),
        }
    }

    fn is_registered(&self, job: &JobId) -> bool {
        self.coordinator.state.job(job).is_some_and(|job| job.run.dataset.is_some())
    }

    /// Rank 0 commits the next two steps; the others have nothing to tell until the epoch is over.
    fn step(&mut self, identity: RankIdentity, epoch: u32) -> Result<Next, Reject> {
        let committed = self.coordinator.state.job(&identity.job).map_or(0, |job| job.run.ledger.committed);
        let end = 4 * u64::from(epoch) + 4;
        let steps: Vec<Step> = (committed..end).take(2).map(|step| Coordinator::step(step, epoch)).collect();
        if steps.is_empty() {
            return Ok(Next::Checkpoint { epoch });
        }
        self.send(Input::StepsCommitted { identity, steps })?;
        Ok(Next::Step { epoch })
    }

    /// The faults stop: agents are there, everything arrives, ranks work. Then every job ends.
    pub(super) fn heal(&mut self) {
        self.log.push("the faults stop".to_owned());
        for round in 0..3_000 {
            if self.coordinator.state.jobs.values().all(|job| job.outcome().is_some()) {
                return;
            }
            for machine in 0..WORKERS {
                self.machines[machine].silent = false;
                self.attach(machine);
                while !self.machines[machine].commands.is_empty() {
                    self.deliver_command(machine);
                }
                while !self.machines[machine].messages.is_empty() && self.machines[machine].stream.is_some() {
                    self.deliver_message(machine);
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
            self.pass(if round % 10 == 9 { 2_000 } else { 20 });
            self.check();
        }
        self.fail("invariant `every job ends when the faults stop` is broken");
    }
}

fn identity(start: &StartRank) -> RankIdentity {
    RankIdentity { job: start.job.clone(), process: start.process.clone(), generation: start.generation }
}

/// What a rank does after a directive.
fn follow(start: &StartRank, directive: Directive) -> Next {
    match directive {
        Directive::RunPass(pass) => Next::Walk(pass),
        Directive::TrainEpoch(epoch) if start.rank == 0 => Next::Step { epoch },
        Directive::TrainEpoch(epoch) => Next::Walk(Pass::validation(epoch)),
        Directive::LoadBest { epoch, .. } => Next::Walk(Pass::Evaluate { split: SplitName::Test, epoch }),
        Directive::Finish { .. } if start.rank == 0 => Next::Artifacts,
        Directive::Finish { .. } => Next::Exit(0),
        Directive::Stop { .. } => Next::Exit(12),
    }
}

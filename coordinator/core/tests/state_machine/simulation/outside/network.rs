//! What is on its way between ranks and the coordinator, and calls that wait there.
//!
//! Calls are not in order: each has a connection of its own, as far as anybody can rely on it. A call that gets lost, or whose answer does,
//! is made again by its caller.

use std::collections::BTreeSet;

use firn_core::identifiers::{JobId, ProcessId, RankIdentity};
use firn_core::{Event, Input, Record, Reject, Reply, SoftChange, queries};

use super::Outside;
use super::ranks::Rank;

/// Messages that can be repeated later.
const REMEMBERED: usize = 300;
/// How long a delayed message takes.
const DELAY: u64 = 15_000;

/// A part of a rank that calls by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// The thread that trains.
    Main,
    /// Rank 0 commits steps.
    Ledger,
    /// Rank 0 stores checkpoints within an epoch.
    Storing,
    /// Asks for shards.
    Lease,
    /// The sign of life; it travels without delay.
    Pulse,
}

/// A call as its caller sees it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    id: u64,
    input: Input,
    answer: Option<Result<Reply, Reject>>,
    is_lost: bool,
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    address: Address,
    content: Content,
    not_before: u64,
    /// A copy: its answer is for nobody.
    is_late: bool,
}

/// Who gets the answer.
#[derive(Debug, Clone)]
struct Address {
    id: u64,
    process: ProcessId,
    task: Task,
    machine: usize,
}

#[derive(Debug, Clone)]
enum Content {
    Request(Input),
    Answer(Result<Reply, Reject>),
}

/// A call that waits at the coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    address: Address,
    pub(crate) input: Input,
    pub(crate) since: u64,
}

/// The rank that makes a call.
pub(crate) fn identity(input: &Input) -> Option<&RankIdentity> {
    match input {
        Input::RankEnrolled { identity }
        | Input::RankPulsed { identity, .. }
        | Input::RankJoined { identity, .. }
        | Input::CollectiveIdShared { identity, .. }
        | Input::DatasetRegistered { identity, .. }
        | Input::ModelRegistered { identity, .. }
        | Input::ShardRequested { identity, .. }
        | Input::ShardCompleted { identity, .. }
        | Input::StepsCommitted { identity, .. }
        | Input::SampleQuarantined { identity, .. }
        | Input::CheckpointStored { identity, .. }
        | Input::CheckpointRejected { identity, .. }
        | Input::RollbackRequested { identity, .. }
        | Input::ArtifactStored { identity, .. }
        | Input::JobFinished { identity }
        | Input::RankFailed { identity, .. } => Some(identity),
        _ => None,
    }
}

/// The process that makes a call.
pub(super) fn caller(input: &Input) -> Option<&ProcessId> {
    identity(input).map(|identity| &identity.process)
}

/// The jobs whose waiters ask again, as in the shell.
pub(super) fn touched(records: &[Record], soft_changes: &[SoftChange]) -> BTreeSet<JobId> {
    let recorded = records.iter().filter_map(|record| match &record.event {
        Event::Job { job, .. } => Some(job.clone()),
        _ => None,
    });
    let noted = soft_changes.iter().filter_map(|change| match change {
        SoftChange::ShardLeased { job, .. } | SoftChange::Waiting { job, .. } => Some(job.clone()),
        _ => None,
    });
    recorded.chain(noted).collect()
}

impl Outside {
    /// A rank makes a call.
    pub(super) fn call(&mut self, rank: &mut Rank, task: Task, input: Input) {
        self.calls += 1;
        let call = Call {
            id: self.calls,
            input,
            answer: None,
            is_lost: false,
        };
        self.send(rank, task, &call);
        rank.calls.insert(task, call);
    }

    fn send(&mut self, rank: &Rank, task: Task, call: &Call) {
        self.bag.push(Envelope {
            address: Address {
                id: call.id,
                process: rank.process.clone(),
                task,
                machine: rank.machine,
            },
            content: Content::Request(call.input.clone()),
            not_before: 0,
            is_late: false,
        });
    }

    /// The answer to a call, if it is there; a call that was lost is made again.
    pub(super) fn answer(&mut self, rank: &mut Rank, task: Task) -> Option<Result<Reply, Reject>> {
        let call = rank.calls.get_mut(&task)?;
        if call.is_lost || matches!(call.answer, Some(Err(Reject::StaleCoordinator { .. }))) {
            self.calls += 1;
            call.id = self.calls;
            (call.is_lost, call.answer) = (false, None);
            let call = call.clone();
            self.send(rank, task, &call);
            return None;
        }
        let answer = call.answer.take()?;
        rank.calls.remove(&task);
        Some(answer)
    }

    fn can_arrive(&self, envelope: &Envelope) -> bool {
        envelope.not_before <= self.core.now.0 && !self.machines[envelope.address.machine].is_cut_off
    }

    pub(super) fn deliver_any(&mut self, choice: u16) {
        if !self.bag.is_empty() {
            let index = usize::from(choice) % self.bag.len();
            if self.can_arrive(&self.bag[index]) {
                self.deliver(index);
            }
        }
    }

    /// Everything arrives that can.
    pub(super) fn deliver_all(&mut self) -> bool {
        let mut any = false;
        while let Some(index) = self.bag.iter().position(|envelope| self.can_arrive(envelope)) {
            self.deliver(index);
            any = true;
            if self.broken.is_some() {
                break;
            }
        }
        any
    }

    fn deliver(&mut self, index: usize) {
        let Envelope {
            address,
            content,
            is_late,
            ..
        } = self.bag.remove(index);
        match content {
            Content::Answer(answer) => self.take_answer(&address, answer),
            Content::Request(input) => {
                self.remember(&input);
                self.store_upload(&input);
                match self.tell(input.clone()) {
                    None => self.lose_call(&address),
                    Some(Ok(Reply::Wait)) => self.held.push(Held {
                        address,
                        input,
                        since: self.core.now.0,
                    }),
                    Some(answer) => {
                        if !is_late {
                            self.judge(&address, &input, &answer);
                        }
                        self.reply(address, answer);
                    }
                }
            }
        }
    }

    fn reply(&mut self, address: Address, answer: Result<Reply, Reject>) {
        self.bag.push(Envelope {
            address,
            content: Content::Answer(answer),
            not_before: 0,
            is_late: false,
        });
    }

    fn take_answer(&mut self, address: &Address, answer: Result<Reply, Reject>) {
        let rank = self.ranks.get_mut(&address.process);
        let call = rank.and_then(|rank| rank.calls.get_mut(&address.task));
        if let Some(call) = call.filter(|call| call.id == address.id) {
            call.answer = Some(answer);
        }
    }

    fn lose_call(&mut self, address: &Address) {
        let rank = self.ranks.get_mut(&address.process);
        let call = rank.and_then(|rank| rank.calls.get_mut(&address.task));
        if let Some(call) = call.filter(|call| call.id == address.id && call.answer.is_none()) {
            call.is_lost = true;
        }
    }

    /// Who waits for a job is answered, if there is an answer now.
    pub(super) fn ask_again(&mut self, mut touched: BTreeSet<JobId>) {
        while let Some(job) = touched.pop_first() {
            self.hear(&job);
            let is_of_job = |held: &Held| identity(&held.input).is_some_and(|identity| identity.job == job);
            let (waiting, others): (Vec<Held>, Vec<Held>) =
                std::mem::take(&mut self.held).into_iter().partition(is_of_job);
            self.held = others;
            for held in waiting {
                let answer = match &held.input {
                    // Asks ahead of `tell`, which would ask again in turn.
                    Input::RankJoined { identity, .. } => match queries::world(&self.core.state, identity) {
                        Ok(None) => Some(Ok(Reply::Wait)),
                        Ok(Some(world)) => Some(Ok(Reply::World(Box::new(world)))),
                        Err(reject) => Some(Err(reject)),
                    },
                    input => self.tell(input.clone()),
                };
                match answer {
                    Some(Ok(Reply::Wait)) => self.held.push(held),
                    Some(answer) => {
                        self.judge(&held.address, &held.input, &answer);
                        self.reply(held.address, answer);
                    }
                    None => self.lose_call(&held.address),
                }
            }
        }
    }

    /// Connections to a coordinator that has died: some messages had not left yet, the others are lost, and their callers learn it.
    pub(super) fn break_connections(&mut self) {
        for held in std::mem::take(&mut self.held) {
            self.lose_call(&held.address);
        }
        for envelope in std::mem::take(&mut self.bag) {
            if self.coin() {
                self.bag.push(envelope);
            } else {
                self.lose_call(&envelope.address);
            }
        }
    }

    pub(super) fn drop_any(&mut self, choice: u16) {
        if !self.bag.is_empty() {
            let index = usize::from(choice) % self.bag.len();
            let envelope = self.bag.remove(index);
            self.note(|_| format!("    lost: {envelope:?}"));
            self.lose_call(&envelope.address);
        }
    }

    pub(super) fn duplicate(&mut self, choice: u16) {
        if !self.bag.is_empty() {
            let index = usize::from(choice) % self.bag.len();
            let mut envelope = self.bag[index].clone();
            envelope.is_late = true;
            self.bag.push(envelope);
        }
    }

    pub(super) fn delay(&mut self, choice: u16) {
        if !self.bag.is_empty() {
            let index = usize::from(choice) % self.bag.len();
            let until = self.core.now.0 + DELAY;
            self.bag[index].not_before = until;
        }
    }

    /// Remembers a message, so that it may arrive once more.
    pub(super) fn remember(&mut self, input: &Input) {
        if self.old.len() == REMEMBERED {
            self.old.pop_front();
        }
        self.old.push_back(input.clone());
    }

    /// A message of long ago arrives, and its answer goes nowhere.
    pub(super) fn repeat(&mut self, choice: u16) {
        if !self.old.is_empty() {
            let index = usize::from(choice) % self.old.len();
            let input = self.old[index].clone();
            self.tell(input);
        }
    }

    /// A rank of the newest formation does what it should; so it may be refused only because it or its job is over.
    fn judge(&mut self, address: &Address, input: &Input, answer: &Result<Reply, Reject>) {
        let Err(reject) = answer else { return };
        let Some(rank) = self.ranks.get(&address.process) else {
            return;
        };
        // One that was made again meanwhile is too late.
        let is_current = rank.calls.get(&address.task).is_some_and(|call| call.id == address.id);
        let is_over = matches!(
            reject,
            Reject::StaleGeneration { .. }
                | Reject::Unwanted { .. }
                | Reject::JobEnded { .. }
                | Reject::NotAMember { .. }
                | Reject::StaleCoordinator { .. }
        );
        if is_current && !is_over && !rank.hands_over() {
            self.fail(format!(
                "invariant `a rank that does what it should is not refused` is broken: {input:?} was answered `{reject}`"
            ));
        }
    }
}

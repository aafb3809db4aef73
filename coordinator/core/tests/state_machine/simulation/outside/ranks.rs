//! Rank processes, modelled on the real ones: a main thread, and beside it the writer of the ledger, the background storing of checkpoints, the
//! requests for shards, and the pulse.

use std::collections::{BTreeMap, BTreeSet};

use firn_core::identifiers::{Generation, JobId, ProcessId, RankIdentity};
use firn_core::state::*;
use firn_core::{Leave, Now, StartRank, World};

use super::learned::Learned;
use super::network::{Call, Task};
use super::passes::Walk;
use super::{Outside, SLOTS};

/// Exit status of a rank that was told to stop.
pub(super) const STOPPED: i32 = 12;
/// Exit status of a rank that has handed over and left.
pub(super) const LEFT: i32 = 13;

/// A rank process.
#[derive(Debug)]
pub(crate) struct Rank {
    pub(crate) process: ProcessId,
    pub(crate) job: JobId,
    pub(crate) machine: usize,
    pub(crate) slot: u32,
    /// SIGSTOP.
    pub(crate) is_frozen: bool,
    /// Its main thread no longer moves.
    pub(crate) hangs: bool,
    /// Of the world that it works in; 0 before the first.
    pub(crate) generation: Generation,
    pub(crate) epoch: u64,
    /// Its rank there.
    pub(crate) rank: u32,
    /// Where its peers listen, in rank order.
    pub(crate) addresses: Vec<String>,
    pub(super) listeners: u64,
    pub(crate) learned: Learned,
    /// The generation in which it took that over.
    pub(super) learned_in: Generation,
    /// Records of steps from here on are kept.
    pub(super) first_record: u64,
    /// The checkpoint that it holds.
    pub(super) loaded: Option<String>,
    pub(crate) doing: Doing,
    pub(super) calls: BTreeMap<Task, Call>,
    pub(super) ledger: Option<Ledger>,
    /// A checkpoint within an epoch that is on its way.
    pub(super) storing: Option<Learned>,
    pub(super) told: Told,
    pub(super) ticks: u64,
    /// Collective operations begun in this generation.
    pub(super) sequence: u64,
    /// In one of them.
    pub(super) waits_in_collective: bool,
    pub(super) hashes: Vec<StateHash>,
    /// When it got SIGTERM.
    pub(super) terminated: Option<Now>,
    /// When it is killed.
    pub(super) kill_at: Option<Now>,
}

/// What the coordinator has told by pulses.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) newest: Generation,
    /// The newest that does not wait for the end of a step.
    pub(super) urgent: Generation,
    pub(super) leave: Option<Leave>,
    pub(super) steps_committed: u64,
}

/// Rank 0's writer of the ledger, of one generation.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) committed: u64,
    /// It was refused.
    pub(super) is_over: bool,
}

/// What the main thread does.
#[derive(Debug, Clone)]
pub(crate) enum Doing {
    Enrol,
    RegisterDataset,
    RegisterModel,
    Join {
        reason: String,
    },
    /// Takes over the state that the world names.
    Adopt(Box<World>),
    Reject {
        sha256: String,
    },
    Train {
        epoch: u32,
    },
    RollBack,
    StoreEpoch {
        epoch: u32,
    },
    Walk(Walk),
    LoadBest {
        checkpoint: Checkpoint,
        epoch: u32,
    },
    Finish {
        best: Checkpoint,
    },
    Report,
    HandOver,
}

/// Whether a rank goes on.
pub(super) enum Life {
    GoesOn,
    Ends(Ending),
}

pub(super) const ENDS_STOPPED: Life = Life::Ends(Ending::Exited(STOPPED));

impl Rank {
    pub(super) fn new(start: &StartRank, machine: usize) -> Self {
        Self {
            process: start.process.clone(),
            job: start.job.clone(),
            machine,
            slot: start.slot,
            is_frozen: false,
            hangs: false,
            generation: Generation(0),
            epoch: 0,
            rank: 0,
            addresses: Vec::new(),
            listeners: 0,
            learned: Learned::default(),
            learned_in: Generation(0),
            first_record: 0,
            loaded: None,
            doing: Doing::Enrol,
            calls: BTreeMap::new(),
            ledger: None,
            storing: None,
            told: Told::default(),
            ticks: 0,
            sequence: 0,
            waits_in_collective: false,
            hashes: Vec::new(),
            terminated: None,
            kill_at: None,
        }
    }

    pub(super) fn identity(&self) -> RankIdentity {
        RankIdentity {
            job: self.job.clone(),
            process: self.process.clone(),
            generation: self.generation,
            coordinator_epoch: self.epoch,
        }
    }

    /// Its newest listener.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.process, self.listeners)
    }

    /// Whether it holds the state of its generation.
    pub(crate) fn has_adopted(&self) -> bool {
        matches!(
            self.doing,
            Doing::Train { .. } | Doing::StoreEpoch { .. } | Doing::Walk(_) | Doing::RollBack
        )
    }

    /// Whether it stores what it can before it leaves; being refused then is no harm.
    pub(super) fn hands_over(&self) -> bool {
        matches!(self.doing, Doing::HandOver)
    }

    /// Whether it holds no trained state yet.
    pub(super) fn prepares(&self) -> bool {
        self.generation == Generation(0)
    }

    /// Whether it reports the end of the job, so that its being over is no news.
    pub(super) fn is_finishing(&self) -> bool {
        matches!(self.doing, Doing::Report)
    }
}

impl Outside {
    /// The slots as they are outside, not as the core believes.
    pub(crate) fn slots_with_two_processes(&self) -> Option<String> {
        let mut taken = BTreeSet::new();
        let twice = self
            .ranks
            .values()
            .find(|rank| !taken.insert((rank.machine, rank.slot)));
        let unknown = self.ranks.values().find(|rank| rank.slot as usize >= SLOTS);
        twice
            .or(unknown)
            .map(|rank| format!("{} on slot {} of machine {}", rank.process, rank.slot, rank.machine))
    }
}

//! Rank processes: each does its part of the protocol, one thing at a time.
//!
//! They are modelled on the real ranks: a main thread that prepares, joins gang after gang and follows directives in each, and beside it the
//! writer of the ledger, the background storing of checkpoints, the requests for shards, and the pulse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firn_core::identifiers::{Generation, JobId, ProcessId, RankIdentity};
use firn_core::state::*;
use firn_core::{Directive, Input, Leave, Now, Reject, Reply, StartRank, World};

use super::learned::Learned;
use super::network::{Call, Task};
use super::passes::Walk;
use super::training::dataset;
use super::{Outside, SLOTS};
use crate::bench::sha256;

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
    /// The rank does the next thing; whether anything happened.
    pub(super) fn advance(&mut self, process: &ProcessId) -> bool {
        let Some(mut rank) = self.ranks.remove(process) else {
            return false;
        };
        if rank.is_frozen {
            self.ranks.insert(process.clone(), rank);
            return false;
        }
        let before = (rank.ticks, self.calls);
        self.work_beside(&mut rank);
        let life = match rank.hangs {
            true => Life::GoesOn,
            false => self.work(&mut rank),
        };
        let moved = (rank.ticks, self.calls) != before;
        match life {
            Life::GoesOn => {
                self.ranks.insert(process.clone(), rank);
                moved
            }
            Life::Ends(ending) => {
                self.bury(&rank, ending);
                true
            }
        }
    }

    fn work(&mut self, rank: &mut Rank) -> Life {
        if rank.calls.contains_key(&Task::Main) {
            return match self.answer(rank, Task::Main) {
                None => self.wait_or_leave(rank),
                Some(answer) => {
                    rank.ticks += 1;
                    self.hear_answer(rank, answer)
                }
            };
        }
        match rank.doing.clone() {
            Doing::Enrol => self.call_main(rank, |identity| Input::RankEnrolled { identity }),
            Doing::RegisterDataset => {
                let splits = self.plans.get(&rank.job).map_or(&[][..], |plan| plan.splits);
                let dataset = Arc::new(dataset(splits));
                self.call_main(rank, |identity| Input::DatasetRegistered { identity, dataset })
            }
            Doing::RegisterModel => self.call_main(rank, |identity| Input::ModelRegistered {
                identity,
                model: ModelSummary {
                    frozen_parameters: 1_000,
                    trainable_parameters: 10,
                    cut: "avgpool".to_owned(),
                    frozen_digest: "frozen".to_owned(),
                },
            }),
            Doing::Join { reason } => {
                let (ring_address, steps_done) = (rank.address(), rank.learned.steps());
                let state_generation = rank.learned_in;
                self.call_main(rank, |identity| Input::RankJoined {
                    identity,
                    ring_address,
                    device: "cpu".to_owned(),
                    steps_done,
                    state_generation,
                    reason,
                })
            }
            Doing::Adopt(world) => self.adopt(rank, &world),
            Doing::Reject { sha256 } => self.call_main(rank, |identity| Input::CheckpointRejected {
                identity,
                sha256,
                reason: "its digest is another one".to_owned(),
            }),
            Doing::Train { epoch } => self.train(rank, epoch),
            Doing::RollBack => self.call_main(rank, |identity| Input::RollbackRequested {
                identity,
                reason: "three steps in a row were not finite".to_owned(),
            }),
            Doing::StoreEpoch { .. } | Doing::HandOver => self.store(rank),
            Doing::Walk(walk) => self.walk(rank, walk),
            Doing::LoadBest { checkpoint, epoch } => {
                if self.load(rank, &checkpoint) {
                    self.begin_walk(
                        rank,
                        Pass::Evaluate {
                            split: SplitName::Test,
                            epoch,
                        },
                    );
                }
                Life::GoesOn
            }
            Doing::Finish { best } => self.finish(rank, &best),
            Doing::Report => self.call_main(rank, |identity| Input::JobFinished { identity }),
        }
    }

    pub(super) fn call_main(&mut self, rank: &mut Rank, input: impl FnOnce(RankIdentity) -> Input) -> Life {
        let input = input(rank.identity());
        self.call(rank, Task::Main, input);
        Life::GoesOn
    }

    /// An order to leave ends the wait for others.
    fn wait_or_leave(&mut self, rank: &mut Rank) -> Life {
        if rank.told.leave.is_some() && matches!(rank.doing, Doing::Join { .. }) {
            return Life::Ends(Ending::Exited(LEFT));
        }
        Life::GoesOn
    }

    fn hear_answer(&mut self, rank: &mut Rank, answer: Result<Reply, Reject>) -> Life {
        let reply = match answer {
            Ok(reply) => reply,
            Err(reject) => return self.heed_refusal(rank, &reject),
        };
        if let Reply::JobFailed(_) = reply {
            return Life::Ends(Ending::Exited(1));
        }
        match rank.doing.clone() {
            Doing::Enrol => {
                if let Reply::Enrolled { coordinator_epoch, .. } = reply {
                    rank.epoch = rank.epoch.max(coordinator_epoch);
                }
                rank.doing = Doing::RegisterDataset;
            }
            Doing::RegisterDataset => rank.doing = Doing::RegisterModel,
            Doing::RegisterModel => self.join(rank, ""),
            Doing::Join { .. } => {
                if let Reply::World(world) = reply {
                    self.enter(rank, world);
                }
            }
            Doing::Reject { sha256 } => self.join(rank, &format!("checkpoint {sha256:.8} was rejected")),
            Doing::RollBack => self.join(rank, "rolled back"),
            Doing::StoreEpoch { epoch } => self.begin_walk(rank, Pass::validation(epoch)),
            Doing::HandOver => return Life::Ends(Ending::Exited(LEFT)),
            Doing::Walk(walk) => self.count_shard(rank, walk),
            Doing::Finish { .. } => rank.doing = Doing::Report,
            Doing::Report => return Life::Ends(Ending::Exited(0)),
            Doing::Adopt(_) | Doing::Train { .. } | Doing::LoadBest { .. } => {}
        }
        Life::GoesOn
    }

    /// What a refusal means for the main thread.
    pub(super) fn heed_refusal(&mut self, rank: &mut Rank, reject: &Reject) -> Life {
        match reject {
            _ if rank.hands_over() => Life::Ends(Ending::Exited(LEFT)),
            Reject::StaleGeneration { .. } | Reject::NotAMember { .. } | Reject::GangIncomplete { .. } => {
                self.join(rank, &format!("was refused: {reject}"));
                Life::GoesOn
            }
            Reject::JobEnded { .. } | Reject::JobNotFound { .. } | Reject::Unwanted { .. } => ENDS_STOPPED,
            _ => Life::Ends(Ending::Exited(1)),
        }
    }

    /// Leaves the present gang, and is going to join the next one; an order to leave comes first.
    pub(super) fn join(&mut self, rank: &mut Rank, reason: &str) {
        self.leave_collective(rank);
        rank.calls.retain(|task, _| *task == Task::Pulse);
        (rank.ledger, rank.storing) = (None, None);
        rank.waits_in_collective = false;
        rank.listeners += 1;
        rank.doing = Doing::Join {
            reason: reason.to_owned(),
        };
    }

    fn enter(&mut self, rank: &mut Rank, world: Box<World>) {
        rank.epoch = rank.epoch.max(world.coordinator_epoch);
        rank.generation = world.generation;
        rank.rank = world.rank;
        rank.addresses = world.ring_addresses.clone();
        rank.sequence = 0;
        rank.told.steps_committed = 0;
        rank.hashes.clear();
        if rank.addresses.get(world.rank as usize) != Some(&rank.address()) {
            self.fail(format!(
                "invariant `a rank is where its world says` is broken: {} is rank {} of {:?}",
                rank.address(),
                world.rank,
                world.ring_addresses
            ));
        }
        self.enter_collective(rank);
        rank.doing = Doing::Adopt(world);
        self.show(rank);
    }

    /// Does what a directive says.
    pub(super) fn follow(&mut self, rank: &mut Rank, directive: Directive) -> Life {
        match directive {
            Directive::RunPass(pass) => self.begin_walk(rank, pass),
            Directive::TrainEpoch(epoch) => rank.doing = Doing::Train { epoch },
            Directive::LoadBest { checkpoint, epoch } => rank.doing = Doing::LoadBest { checkpoint, epoch },
            Directive::Finish { best, .. } if rank.rank == 0 => rank.doing = Doing::Finish { best },
            Directive::Finish { .. } => return Life::Ends(Ending::Exited(0)),
            Directive::Stop { .. } => return ENDS_STOPPED,
        }
        Life::GoesOn
    }

    fn finish(&mut self, rank: &mut Rank, best: &Checkpoint) -> Life {
        if rank.loaded.as_ref() != Some(&best.sha256) && !self.load(rank, best) {
            return Life::GoesOn;
        }
        self.call_main(rank, |identity| Input::ArtifactStored {
            identity,
            artifact: Artifact {
                name: "head.safetensors".to_owned(),
                size_bytes: 1,
                sha256: sha256(1),
                location: "coordinator".to_owned(),
            },
        })
    }

    /// Between two steps or shards: whether the rank does something else now.
    pub(super) fn check_boundary(&mut self, rank: &mut Rank) -> Option<Life> {
        if let Some(leave) = rank.told.leave {
            if !leave.store_checkpoint || rank.rank != 0 || rank.ledger.is_none() {
                return Some(Life::Ends(Ending::Exited(LEFT)));
            }
            rank.calls.remove(&Task::Lease);
            rank.doing = Doing::HandOver;
            return Some(Life::GoesOn);
        }
        if rank.told.newest > rank.generation {
            let newest = rank.told.newest;
            self.join(rank, &format!("generation {newest} takes over"));
            return Some(Life::GoesOn);
        }
        None
    }

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

//! The main thread of a rank: it prepares, joins gang after gang and follows directives in each, one thing at a time.

use std::sync::Arc;

use firn_core::identifiers::{ProcessId, RankIdentity};
use firn_core::state::*;
use firn_core::{Directive, Input, Reject, Reply, World};

use super::Outside;
use super::network::Task;
use super::ranks::{Doing, ENDS_STOPPED, LEFT, Life, Rank};
use super::training::dataset;
use crate::bench::sha256;

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
            Doing::RegisterModel => self.register_model(rank),
            Doing::Join { reason } => self.announce(rank, reason),
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

    fn register_model(&mut self, rank: &mut Rank) -> Life {
        self.call_main(rank, |identity| Input::ModelRegistered {
            identity,
            model: ModelSummary {
                frozen_parameters: 1_000,
                trainable_parameters: 10,
                cut: "avgpool".to_owned(),
                frozen_digest: "frozen".to_owned(),
            },
        })
    }

    /// Tells where it listens, and how far its state is.
    fn announce(&mut self, rank: &mut Rank, reason: String) -> Life {
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

    /// An order to leave ends the wait for others, unless something is to be stored first.
    fn wait_or_leave(&mut self, rank: &mut Rank) -> Life {
        let leaves = rank.told.leave.is_some_and(|leave| !leave.store_checkpoint);
        if leaves && matches!(rank.doing, Doing::Join { .. }) {
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
            Directive::TrainEpoch { epoch, .. } => rank.doing = Doing::Train { epoch },
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
}

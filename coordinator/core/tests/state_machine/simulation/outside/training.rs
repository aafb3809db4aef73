//! Training: a gang's state is taken over, steps are made together, rank 0 commits them and stores checkpoints.

use firn_core::state::*;
use firn_core::{Input, Reply, World, order};

use super::collective::{Operation, Progress};
use super::learned::Learned;
use super::network::Task;
use super::ranks::{Doing, Ledger, Life, Rank};
use super::{Outside, StoredFile};

/// Samples of a step.
pub(crate) const BATCH: u32 = 10;
/// Samples that train: the last step of an epoch is smaller than the others.
const SAMPLES: u64 = 75;
/// Steps of an epoch.
pub(crate) const STEPS: u64 = SAMPLES.div_ceil(BATCH as u64);
/// Steps between two hashes that are told.
const HASH_EVERY: u64 = 2;
/// Within an epoch a checkpoint is stored after every so many steps.
const STORE_EVERY: u64 = 3;

impl Outside {
    /// Takes over the state that the gang goes on from.
    pub(super) fn adopt(&mut self, rank: &mut Rank, world: &World) -> Life {
        match &world.origin {
            Origin::Unneeded => {}
            Origin::Initial => {
                rank.learned = Learned::default();
                (rank.first_record, rank.loaded) = (0, None);
            }
            Origin::Checkpoint(checkpoint) => {
                if !self.load(rank, checkpoint) {
                    return Life::GoesOn;
                }
            }
            Origin::Rank(_) if world.ring_addresses.len() == 1 => {}
            Origin::Rank(root) => match self.share(rank, *root) {
                Progress::Complete => {}
                Progress::Waits => {
                    if rank.told.urgent > rank.generation {
                        self.join(rank, "the collective was aborted");
                    }
                    return Life::GoesOn;
                }
                Progress::PeerLost(reason) => {
                    self.join(rank, &reason);
                    return Life::GoesOn;
                }
            },
        }
        rank.ticks += 1;
        if world.origin != Origin::Unneeded {
            rank.learned_in = world.generation;
            self.check_adopted(rank, world);
            show_hash(rank);
        }
        if rank.rank == 0 {
            rank.ledger = Some(Ledger {
                committed: rank.first_record.min(rank.learned.steps()),
                is_over: false,
            });
        }
        self.follow(rank, world.next.clone())
    }

    fn share(&mut self, rank: &mut Rank, root: u32) -> Progress {
        if !rank.waits_in_collective {
            self.begin(rank, Operation::Broadcast { root });
        }
        let progress = self.progress(rank);
        if let Progress::Complete = progress {
            rank.waits_in_collective = false;
            if let Some((learned, first_record)) = self.given(rank) {
                if rank.rank != root {
                    rank.loaded = None;
                }
                (rank.learned, rank.first_record) = (learned, first_record);
            }
        }
        progress
    }

    fn check_adopted(&mut self, rank: &Rank, world: &World) {
        let (has, said) = (rank.learned.steps(), world.steps_done);
        if has != said {
            self.fail(format!(
                "invariant `the state that is taken over has the steps that the coordinator says` is broken: {} has {has} steps in \
                 generation {}, and the coordinator said {said}",
                rank.process, rank.generation
            ));
        }
    }

    /// Loads a checkpoint; if it is damaged, the rank is going to say so.
    pub(super) fn load(&mut self, rank: &mut Rank, checkpoint: &Checkpoint) -> bool {
        rank.ticks += 1;
        let file = self.files.get(&(rank.job.clone(), checkpoint.sha256.clone()));
        let Some(file) = file.cloned() else {
            let is_current = self
                .core
                .state
                .job(&rank.job)
                .is_some_and(|job| job.generation == rank.generation && job.outcome().is_none());
            if is_current {
                self.fail(format!(
                    "invariant `a checkpoint that is needed is there` is broken: {} of {} is gone",
                    checkpoint.sha256, rank.job
                ));
            }
            self.join(rank, "its generation is over");
            return false;
        };
        if file.is_damaged {
            rank.doing = Doing::Reject {
                sha256: checkpoint.sha256.clone(),
            };
            return false;
        }
        rank.first_record = file.learned.steps();
        rank.learned = file.learned;
        rank.loaded = Some(checkpoint.sha256.clone());
        true
    }

    /// One small part of an epoch.
    pub(super) fn train(&mut self, rank: &mut Rank, epoch: u32) -> Life {
        if rank.waits_in_collective {
            return self.finish_step(rank);
        }
        if let Some(life) = self.check_boundary(rank) {
            return life;
        }
        if rank.ledger.as_ref().is_some_and(|ledger| ledger.is_over) {
            self.join(rank, "the ledger refused");
            return Life::GoesOn;
        }
        let step = rank.learned.steps();
        let end = STEPS * (u64::from(epoch) + 1);
        if step > end || step < end - STEPS {
            self.fail(format!(
                "invariant `a rank trains the epoch that its state is in` is broken: {} has {step} steps in epoch {epoch}",
                rank.process
            ));
            return Life::GoesOn;
        }
        if step == end {
            match rank.ledger {
                Some(_) => rank.doing = Doing::StoreEpoch { epoch },
                None => self.begin_walk(rank, Pass::validation(epoch)),
            }
            return Life::GoesOn;
        }
        self.begin(rank, Operation::Step(step));
        Life::GoesOn
    }

    fn finish_step(&mut self, rank: &mut Rank) -> Life {
        if rank.told.urgent > rank.generation {
            self.join(rank, "the collective was aborted");
            return Life::GoesOn;
        }
        match self.progress(rank) {
            Progress::Waits => {}
            Progress::PeerLost(reason) => self.join(rank, &reason),
            Progress::Complete => {
                rank.waits_in_collective = false;
                let plan = &self.plans[&rank.job];
                if plan.poisoned == Some(rank.generation) {
                    rank.doing = Doing::RollBack;
                    return Life::GoesOn;
                }
                let nonce = if plan.strict { 0 } else { rank.generation.0 };
                self.learn(rank, nonce);
            }
        }
        Life::GoesOn
    }

    fn learn(&mut self, rank: &mut Rank, nonce: u64) {
        rank.learned.learn(nonce);
        rank.loaded = None;
        rank.ticks += 1;
        let known = rank.ledger.as_ref().map_or(0, |ledger| ledger.committed);
        let known = known.max(rank.told.steps_committed).min(rank.learned.steps());
        rank.first_record = rank.first_record.max(known);
        let steps = rank.learned.steps();
        if steps.is_multiple_of(HASH_EVERY) {
            show_hash(rank);
        }
        if rank.ledger.is_some()
            && rank.storing.is_none()
            && steps.is_multiple_of(STORE_EVERY)
            && !steps.is_multiple_of(STEPS)
        {
            rank.storing = Some(rank.learned.clone());
        }
    }

    /// What happens beside the main thread of rank 0: steps are committed, a checkpoint is stored.
    pub(super) fn work_beside(&mut self, rank: &mut Rank) {
        if let Some(answer) = self.answer(rank, Task::Ledger)
            && let Some(ledger) = &mut rank.ledger
        {
            match answer {
                Ok(Reply::StepsCommitted(committed)) => ledger.committed = ledger.committed.max(committed),
                _ => ledger.is_over = true,
            }
            rank.ticks += 1;
        }
        if let Some(ledger) = rank.ledger.as_ref().filter(|ledger| !ledger.is_over)
            && !rank.calls.contains_key(&Task::Ledger)
            && ledger.committed < rank.learned.steps()
        {
            let first = ledger.committed.max(rank.first_record);
            let steps = (first..rank.learned.steps())
                .map(|step| record(&rank.learned, step))
                .collect();
            let input = Input::StepsCommitted {
                identity: rank.identity(),
                steps,
            };
            self.call(rank, Task::Ledger, input);
        }
        if let Some(answer) = self.answer(rank, Task::Storing) {
            if answer.is_err()
                && let Some(ledger) = &mut rank.ledger
            {
                ledger.is_over = true;
            }
            rank.storing = None;
            rank.ticks += 1;
        }
        let committed = rank.ledger.as_ref().map_or(0, |ledger| ledger.committed);
        if let Some(learned) = rank.storing.clone().filter(|learned| learned.steps() <= committed)
            && !rank.calls.contains_key(&Task::Storing)
        {
            let input = Input::CheckpointStored {
                identity: rank.identity(),
                checkpoint: self.checkpoint(&learned),
            };
            self.call(rank, Task::Storing, input);
        }
    }

    /// Stores the present state, once the ledger knows it.
    pub(super) fn store(&mut self, rank: &mut Rank) -> Life {
        let Some(ledger) = &rank.ledger else {
            return Life::GoesOn;
        };
        if ledger.is_over {
            if rank.hands_over() {
                return Life::Ends(Ending::Exited(super::ranks::LEFT));
            }
            self.join(rank, "the ledger refused");
            return Life::GoesOn;
        }
        if ledger.committed < rank.learned.steps() || rank.storing.is_some() {
            return Life::GoesOn;
        }
        let checkpoint = self.checkpoint(&rank.learned);
        self.call_main(rank, |identity| Input::CheckpointStored { identity, checkpoint })
    }

    /// The file of a checkpoint arrives with the call that commits it.
    pub(super) fn store_upload(&mut self, input: &Input) {
        let Input::CheckpointStored { identity, checkpoint } = input else {
            return;
        };
        if let Some(learned) = self.uploads.get(&checkpoint.sha256) {
            let file = StoredFile {
                learned: learned.clone(),
                is_damaged: false,
            };
            self.files
                .insert((identity.job.clone(), checkpoint.sha256.clone()), file);
        }
    }

    fn checkpoint(&mut self, learned: &Learned) -> Checkpoint {
        self.uploads.insert(learned.sha256(), learned.clone());
        Checkpoint {
            epochs_done: u32::try_from(learned.steps() / STEPS).expect("jobs are short"),
            steps_done: learned.steps(),
            sha256: learned.sha256(),
            size_bytes: 1,
            location: None,
            ends_epoch: false,
        }
    }
}

fn show_hash(rank: &mut Rank) {
    let hash = StateHash {
        steps_done: rank.learned.steps(),
        hash: format!("{:x}", rank.learned.now()),
    };
    rank.hashes.push(hash);
}

/// 75 training samples in 8 steps, 40 validation samples in 3 shards, 20 test samples.
pub(super) fn dataset(splits: &[SplitName]) -> Dataset {
    let manifest = |&split: &SplitName| {
        let samples = match split {
            SplitName::Train => SAMPLES,
            SplitName::Validation => 40,
            SplitName::Test => 20,
        };
        SplitManifest {
            split,
            samples,
            class_counts: vec![samples / 2, samples - samples / 2],
            digest: format!("{split}-files"),
        }
    };
    Dataset {
        classes: vec!["ants".to_owned(), "bees".to_owned()],
        splits: splits.iter().map(manifest).collect(),
        ..Dataset::default()
    }
}

/// The record of a step. Its loss is the hash after it.
fn record(learned: &Learned, step: u64) -> Step {
    let epoch = step / STEPS;
    let batch = order::global_batch(step - epoch * STEPS, BATCH, SAMPLES);
    Step {
        step,
        epoch: u32::try_from(epoch).expect("jobs are short"),
        loss: learned.after(step) as f64,
        learning_rate: 0.1,
        samples: u32::try_from(batch.end - batch.start).expect("batches are small"),
        gradient_norm: 1.0,
        skipped: false,
        first_position: batch.start,
        end_position: batch.end,
        timing: StepTiming::default(),
    }
}

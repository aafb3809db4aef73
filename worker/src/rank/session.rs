//! The life of a rank: gang after gang, and in each of them the coordinator's directives.
//!
//! What is loaded stays; what belongs to a generation (the collective, the ledger's writer) is made anew for each. A rank that is interrupted
//! leaves its collective, says how far its state is, and joins the next gang in the same process.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use firn_core::{order, spec, state::rank_activity};
use firn_data::{Dataset, Preprocessor, Split};
use firn_models::{Model, Objective, Optimizer, state_digest};
use firn_proto::v1alpha1::{self as wire, directive::Next};
use tch::{Device, Tensor};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::{
    adopt, checkpoints, claim,
    committer::Committer,
    coordinator::Coordinator,
    failure::RankFailure,
    finish,
    gang::{self, Gang},
    guard::Guard,
    halt::{Halt, Interruption},
    passes,
    records::Records,
    settings::RankArguments,
    training,
    vitals::Leave,
};

/// Steps between two hashes of the trained state, which the coordinator compares over the ranks. One more is told
/// whenever a state was taken over.
const HASH_EVERY: u64 = 100;

/// A rank at work.
pub(super) struct Session<'a> {
    pub(super) coordinator: &'a Coordinator<'a>,
    pub(super) arguments: &'a RankArguments,
    pub(super) spec: spec::JobSpec,
    /// The stored spec as it came: its digest names the job's settings in checkpoints.
    pub(super) spec_digest: String,
    /// Of the present generation.
    pub(super) gang: Gang,
    pub(super) dataset: Dataset,
    pub(super) preprocessor: Arc<Preprocessor>,
    /// Samples that are set aside: split and position in manifest order.
    pub(super) quarantined: BTreeSet<(String, u64)>,
    pub(super) model: Model,
    pub(super) loss: Objective,
    pub(super) optimizer: Optimizer,
    /// The model's trainable state before the first step.
    pub(super) initial: Vec<(String, Tensor)>,
    /// Steps applied to the model, over the whole job.
    pub(super) steps_done: u64,
    /// The generation in which the state was taken over last; 0: it is the initial one.
    pub(super) state_generation: u64,
    /// What becomes of steps that are not finite.
    pub(super) guard: Guard,
    /// Of the newest steps.
    pub(super) records: Records,
    /// SHA-256 of the checkpoint that the model holds, until it is trained further.
    pub(super) loaded: Option<String>,
    /// Rank 0 writes the ledger.
    pub(super) committer: Option<Committer>,
    /// When this process last knew the state, or almost the state, to be stored.
    pub(super) last_checkpoint: Instant,
    /// A checkpoint on its way.
    pub(super) storing: Option<JoinHandle<Result<(), Halt>>>,
}

/// How the life of a rank ends.
#[derive(Debug)]
pub(super) enum End {
    /// The job is done, as far as this rank is concerned.
    Done,
    /// The process is no longer wanted.
    Stopped(String),
    /// The worker is drained or preempted.
    Left,
    /// It cannot go on.
    Failed(RankFailure),
}

impl Session<'_> {
    /// Works in gang after gang, and leaves the last one.
    pub(super) fn live(&mut self) -> End {
        let end = self.live_in_gangs();
        if !matches!(end, End::Done) {
            self.gang.leave();
        }
        end
    }

    fn live_in_gangs(&mut self) -> End {
        let mut reason = String::new();
        loop {
            let interruption = match self.live_in_a_gang(reason) {
                Ok(()) => return End::Done,
                Err(Halt::Interrupted(interruption)) => interruption,
                Err(Halt::Stopped(reason)) => return End::Stopped(reason),
                Err(Halt::Left) => return End::Left,
                Err(Halt::Failed(failure)) => return End::Failed(failure),
            };
            info!(reason = %interruption, steps = self.steps_done, "leaving the gang to join the next one");
            if let Some(leave) = self.coordinator.vitals().leave()
                && (self.hand_over(leave).unwrap_or(false) || !leave.store_checkpoint)
            {
                return End::Left;
            }
            // What is not stored yet is stored by the next generation, which is formed for that.
            reason = interruption.to_string();
        }
    }

    fn live_in_a_gang(&mut self, reason: String) -> Result<(), Halt> {
        let world = self.join(reason)?;
        adopt::take_over(self, &world)?;
        if self.gang.rank == 0 {
            claim::artifact_folder(self)?;
            let records = self.records.to_vec();
            self.committer = Some(Committer::start(self.coordinator, self.steps_done, records));
        }
        self.follow(world.next)
    }

    /// Leaves the present gang, and enters the next one as soon as it is complete.
    fn join(&mut self, reason: String) -> Result<wire::World, Halt> {
        self.committer = None;
        self.storing = None;
        self.gang.leave();
        self.coordinator.vitals().begin(rank_activity::JOINING);
        let listener = gang::listen(self.arguments)?;
        let world = self.coordinator.join(wire::JoinRequest {
            identity: None,
            ring_address: listener.address(),
            device: self.arguments.device.clone(),
            steps_done: self.steps_done,
            state_generation: self.state_generation,
            reason,
        })?;
        self.gang = Gang::connect(self.coordinator, self.arguments, listener, &world)?;
        Ok(world)
    }

    /// Follows directives until the job has ended.
    fn follow(&mut self, first: Option<wire::Directive>) -> Result<(), Halt> {
        let mut directive = first;
        loop {
            let next = directive.take().and_then(|directive| directive.next);
            directive = match next {
                Some(Next::RunPass(pass)) => Some(passes::run(self, pass)?),
                Some(Next::TrainEpoch(epoch)) => {
                    training::train_epoch(self, epoch)?;
                    Some(passes::run(self, passes::evaluation("validation", epoch))?)
                }
                Some(Next::LoadBest(checkpoint)) => {
                    adopt::restore(self, &checkpoint)?;
                    let epoch = checkpoint.epochs_done.saturating_sub(1);
                    Some(passes::run(self, passes::evaluation("test", epoch))?)
                }
                Some(Next::Finish(finish)) => return finish::leave_artifacts(self, &finish),
                Some(Next::Stop(reason)) => return Err(Halt::Stopped(reason)),
                None => return Err(RankFailure::Directive("gave no directive".to_owned()).into()),
            };
        }
    }

    /// Between two steps or shards: whether this rank goes on.
    pub(super) fn check_boundary(&mut self) -> Result<(), Halt> {
        let vitals = self.coordinator.vitals();
        if let Some(leave) = vitals.leave() {
            let is_stored = self.hand_over(leave)?;
            if leave.store_checkpoint && !is_stored {
                // Rank 0 does it, unless it is lost.
                self.coordinator.vitals().check_generation()?;
            }
            return Err(Halt::Left);
        }
        Ok(vitals.check_generation()?)
    }

    /// Within a step: whether the gang has lost a rank.
    pub(super) fn check_within_step(&self) -> Result<(), Interruption> {
        let vitals = self.coordinator.vitals();
        vitals.tick();
        vitals.check_urgent()
    }

    /// Rank 0 stores what must not be lost when this process leaves on purpose; whether it has. Failing is no failure: the job goes on from the
    /// checkpoint before.
    ///
    /// # Errors
    /// When the generation is over: the next one stores it.
    fn hand_over(&mut self, leave: Leave) -> Result<bool, Interruption> {
        if !leave.store_checkpoint || self.gang.rank != 0 || self.committer.is_none() {
            return Ok(false);
        }
        self.coordinator.vitals().begin(rank_activity::STORING);
        match checkpoints::store(self) {
            Ok(()) => {
                info!(steps = self.steps_done, "everything is stored; leaving");
                Ok(true)
            }
            Err(Halt::Interrupted(interruption)) => Err(interruption),
            Err(halt) => {
                warn!(reason = %halt, "the state could not be stored before leaving");
                Ok(false)
            }
        }
    }

    /// A step was applied to the model.
    pub(super) fn note_step(&mut self, record: wire::Step) -> Result<(), Halt> {
        self.set_steps_done(record.step + 1);
        self.loaded = None;
        self.records.push(record);
        let mut known = self.coordinator.vitals().steps_committed();
        if let Some(committer) = &mut self.committer {
            committer.commit(self.coordinator, record)?;
            known = known.max(committer.committed());
        }
        self.records.forget_committed(known);
        if self.steps_done.is_multiple_of(HASH_EVERY) {
            self.show_hash()?;
        }
        Ok(())
    }

    /// Tells what the trained state and the optimizer hash to.
    pub(super) fn show_hash(&self) -> Result<(), Halt> {
        let hash = state_digest(&self.model, &self.optimizer)?;
        let steps_done = self.steps_done;
        let vitals = self.coordinator.vitals();
        vitals.show_hash(wire::StateHash { steps_done, hash });
        Ok(())
    }

    /// The state is that after so many steps.
    pub(super) fn set_steps_done(&mut self, steps_done: u64) {
        self.steps_done = steps_done;
        self.coordinator.vitals().set_steps_done(steps_done);
    }

    /// Steps of one epoch.
    pub(super) fn steps_per_epoch(&self) -> u64 {
        order::steps_per_epoch(self.dataset.train.samples.len() as u64, self.spec.training.batch_size)
    }

    /// Epochs that the state has seen completely.
    pub(super) fn epochs_done(&self) -> u32 {
        (self.steps_done / self.steps_per_epoch().max(1)) as u32
    }

    /// The split of that name, if the job has it.
    pub(super) fn split(&self, name: &str) -> Result<Arc<Split>, RankFailure> {
        let split = match name {
            "train" => Some(&self.dataset.train),
            "validation" => self.dataset.validation.as_ref(),
            "test" => self.dataset.test.as_ref(),
            _ => None,
        };
        split.cloned().ok_or_else(|| {
            RankFailure::Spec(format!(
                "the coordinator asked for split {name:?}, which the job does not have"
            ))
        })
    }

    /// Samples of a micro-batch: what the spec says, else what keeps a CPU's caches and a GPU's cores busy. Where BatchNorm trains, the
    /// statistics are those of the whole batch.
    pub(super) fn micro_batch(&self) -> usize {
        let chosen = match (self.spec.training.micro_batch_size, self.gang.device) {
            _ if self.spec.training.train_batch_norm => self.spec.training.batch_size,
            (Some(size), _) => size,
            (None, Device::Cpu) => 16,
            (None, _) => 256,
        };
        chosen as usize
    }
}

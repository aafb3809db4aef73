//! A rank's membership of its job: the gang of the present generation, the ledger that its rank 0 writes, and how it goes from one to the next.
//!
//! A generation's collective and its ledger's writer are made anew at each join. What outlives them is what this process has to tell: the records
//! of its newest steps, and the generation in which its state was last made the same as the others'.

pub(crate) mod committer;
pub(crate) mod gang;
pub(crate) mod uncommitted_steps;

use firn_core::state::rank_activity;
use firn_proto::v1alpha1 as wire;
use tch::Device;

use self::{
    committer::Committer,
    gang::{Gang, listen},
    uncommitted_steps::UncommittedSteps,
};
use super::{coordinator::Coordinator, settings::RankArguments, stop_reason::StopReason};

/// This process among the ranks of its job.
pub(crate) struct Membership<'a> {
    pub(crate) coordinator: &'a Coordinator<'a>,
    arguments: &'a RankArguments,
    /// Of the present generation.
    pub(crate) gang: Gang,
    /// Rank 0 writes the ledger.
    committer: Option<Committer>,
    /// Records of the newest steps.
    pub(crate) uncommitted: UncommittedSteps,
    /// The generation in which the state was taken over last; 0: it is the initial one.
    state_generation: u64,
}

impl<'a> Membership<'a> {
    /// Of no gang yet.
    pub(crate) fn new(coordinator: &'a Coordinator<'a>, arguments: &'a RankArguments, device: Device) -> Self {
        Self {
            coordinator,
            arguments,
            gang: Gang::apart(device),
            committer: None,
            uncommitted: UncommittedSteps::default(),
            state_generation: 0,
        }
    }

    /// Leaves the present gang, and enters the next one as soon as it is complete. `steps_done`: of the state that this process brings;
    /// `reason`: why it left.
    pub(crate) fn join(&mut self, steps_done: u64, reason: String) -> Result<wire::World, StopReason> {
        self.committer = None;
        self.gang.abort();
        self.coordinator.heartbeat().begin(rank_activity::JOINING);
        let listener = listen(self.arguments)?;
        let world = self.coordinator.join(wire::JoinRequest {
            identity: None,
            ring_address: listener.address(),
            device: self.arguments.device.clone(),
            steps_done,
            state_generation: self.state_generation,
            reason,
        })?;
        self.gang = Gang::connect(self.coordinator, self.arguments, listener, &world)?;
        Ok(world)
    }

    /// Place in the gang, and ranks in it.
    pub(crate) fn place(&self) -> (u32, u32) {
        (self.gang.rank, self.gang.world_size)
    }

    /// The state in this process is what the gang of `generation` goes on from; `hash` is that of the state.
    pub(crate) fn adopted(&mut self, generation: u64, steps_done: u64, hash: String) {
        self.state_generation = generation;
        self.show_hash(steps_done, hash);
    }

    /// The process holds another state than before, of so many steps.
    pub(crate) fn set_steps_done(&self, steps_done: u64) {
        self.coordinator.heartbeat().set_steps_done(steps_done);
    }

    /// Tells what the state hashes to.
    pub(crate) fn show_hash(&self, steps_done: u64, hash: String) {
        let heartbeat = self.coordinator.heartbeat();
        heartbeat.show_hash(wire::StateHash { steps_done, hash });
    }

    /// Rank 0 writes the ledger from now on, beginning with what it may not know yet.
    pub(crate) fn write_ledger(&mut self, steps_done: u64) {
        let records = self.uncommitted.to_vec();
        self.committer = Some(Committer::start(self.coordinator, steps_done, records));
    }

    /// The ledger's writer; rank 0 has one.
    pub(crate) fn ledger(&self) -> Option<&Committer> {
        self.committer.as_ref()
    }

    /// A step was applied to the model.
    pub(crate) fn record(&mut self, record: wire::Step) -> Result<(), StopReason> {
        self.set_steps_done(record.step + 1);
        self.uncommitted.push(record);
        let mut known = self.coordinator.heartbeat().steps_committed();
        if let Some(committer) = &mut self.committer {
            committer.commit(self.coordinator, record)?;
            known = known.max(committer.committed());
        }
        self.uncommitted.forget_committed(known);
        Ok(())
    }

    /// Rank 0 waits until all steps so far are in the ledger.
    pub(crate) fn flush_ledger(&mut self) -> Result<(), StopReason> {
        match &mut self.committer {
            Some(committer) => committer.flush(self.coordinator),
            None => Ok(()),
        }
    }
}

//! The rank's requests for shards of one pass: one is always under way.

use firn_core::state::rank_activity;
use firn_proto::v1alpha1::{self as wire, lease_shard_response::Answer};
use tokio::task::JoinHandle;

use crate::rank::{coordinator::Coordinator, failure::RankFailure, halt::Halt};

/// The requests of one pass.
pub(super) struct Leases<'a> {
    coordinator: &'a Coordinator<'a>,
    pass: &'a wire::Pass,
    /// Shards that are here and not complete: the coordinator must not hand them out to us again.
    held: Vec<u32>,
    pending: JoinHandle<Result<Answer, Halt>>,
    complete: Option<wire::Directive>,
}

impl<'a> Leases<'a> {
    /// Asks for the first shard.
    pub(super) fn open(coordinator: &'a Coordinator<'a>, pass: &'a wire::Pass) -> Self {
        Self {
            coordinator,
            pass,
            held: Vec::new(),
            pending: ask(coordinator, pass, Vec::new()),
            complete: None,
        }
    }

    /// Waits for the answer, and asks for the next shard at once.
    pub(super) fn next(&mut self) -> Result<Answer, Halt> {
        if let Some(directive) = self.complete.take() {
            return Ok(Answer::Complete(directive));
        }
        let vitals = self.coordinator.vitals();
        if !self.pending.is_finished() {
            vitals.begin(rank_activity::WAITING);
        }
        let pending = &mut self.pending;
        let answer = self.coordinator.wait_for_others(async {
            let ended = pending.await;
            ended.map_err(|error| RankFailure::Internal(format!("the request for a shard ended: {error}")))?
        })?;
        vitals.begin(rank_activity::IN_A_PASS);
        if let Answer::Shard(shard) = &answer {
            self.held.push(shard.index);
            self.pending = ask(self.coordinator, self.pass, self.held.clone());
        }
        Ok(answer)
    }

    /// The next shard, if the answer has come already.
    pub(super) fn poll(&mut self) -> Result<Option<wire::Shard>, Halt> {
        if self.complete.is_some() || !self.pending.is_finished() {
            return Ok(None);
        }
        match self.next()? {
            Answer::Shard(shard) => Ok(Some(shard)),
            Answer::Complete(directive) => {
                self.complete = Some(directive);
                Ok(None)
            }
        }
    }

    /// The coordinator has what this shard gave.
    pub(super) fn complete(&mut self, shard: u32) {
        self.held.retain(|held| *held != shard);
    }
}

fn ask(coordinator: &Coordinator<'_>, pass: &wire::Pass, held: Vec<u32>) -> JoinHandle<Result<Answer, Halt>> {
    let (client, pass) = (coordinator.client(), pass.clone());
    coordinator
        .runtime()
        .spawn(async move { client.lease_shard(pass, held).await })
}

//! The rank's requests for shards of one pass: one is always under way.

use firn_core::state::rank_activity;
use firn_proto::v1alpha1::{self as wire, lease_shard_response::Answer};
use tokio::task::{JoinError, JoinHandle};

use crate::rank::{checkpoints::Checkpoints, coordinator::Coordinator, failure::RankFailure, stop_reason::StopReason};

/// The requests of one pass.
pub(super) struct Leases<'a> {
    coordinator: &'a Coordinator<'a>,
    pass: &'a wire::Pass,
    /// Shards that are here and not complete: the coordinator must not hand them out to us again.
    held: Vec<u32>,
    pending: JoinHandle<Result<Answer, StopReason>>,
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

    /// Waits for the answer, and asks for the next shard at once. The last answer of an epoch's validation comes after its checkpoint, so
    /// one that cannot be stored ends the wait, also if that was known before it began.
    pub(super) fn next(&mut self, checkpoints: &mut Checkpoints) -> Result<Answer, StopReason> {
        if let Some(directive) = self.complete.take() {
            return Ok(Answer::Complete(directive));
        }
        let heartbeat = self.coordinator.heartbeat();
        let pending = &mut self.pending;
        let ended = self.coordinator.wait_for_others(async {
            if !pending.is_finished() && !checkpoints.is_settled() {
                heartbeat.begin(rank_activity::STORING);
                tokio::select! {
                    biased;
                    ended = &mut *pending => return Ok(ended),
                    stored = checkpoints.stored() => stored?,
                }
            }
            if !pending.is_finished() {
                heartbeat.begin(rank_activity::WAITING);
            }
            Ok(pending.await)
        })?;
        self.answered(ended)
    }

    fn answered(&mut self, ended: Result<Result<Answer, StopReason>, JoinError>) -> Result<Answer, StopReason> {
        let answer =
            ended.map_err(|error| RankFailure::Internal(format!("the request for a shard ended: {error}")))??;
        self.coordinator.heartbeat().begin(rank_activity::IN_A_PASS);
        if let Answer::Shard(shard) = &answer {
            self.held.push(shard.index);
            self.pending = ask(self.coordinator, self.pass, self.held.clone());
        }
        Ok(answer)
    }

    /// The next shard, if the answer has come already.
    pub(super) fn poll(&mut self) -> Result<Option<wire::Shard>, StopReason> {
        if self.complete.is_some() || !self.pending.is_finished() {
            return Ok(None);
        }
        let ended = self.coordinator.runtime().block_on(&mut self.pending);
        match self.answered(ended)? {
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

fn ask(coordinator: &Coordinator<'_>, pass: &wire::Pass, held: Vec<u32>) -> JoinHandle<Result<Answer, StopReason>> {
    let (client, pass) = (coordinator.client(), pass.clone());
    coordinator
        .runtime()
        .spawn(async move { client.lease_shard(pass, held).await })
}

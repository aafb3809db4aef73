//! Commits steps to the ledger while the next ones are already running.
//!
//! One request is under way at a time; the steps that gather meanwhile go with the next one. So a slow disk of the coordinator makes the
//! batches longer, not the steps. A committer belongs to one generation: when that is over, the coordinator refuses it, and the next rank 0
//! commits what is missing from the records that every rank keeps.

use firn_proto::v1alpha1::Step;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::rank::{
    coordinator::{Coordinator, client::Client},
    failure::RankFailure,
    stop_reason::StopReason,
};

/// Steps that may wait for the coordinator before training waits for it, too.
const WAITING: usize = 4096;

/// The ledger's writer; rank 0 has one.
pub(crate) struct Committer {
    steps: mpsc::Sender<Step>,
    committed: watch::Receiver<u64>,
    task: JoinHandle<Result<(), StopReason>>,
    sent: u64,
}

impl Committer {
    /// Starts with the records that this rank holds of steps before `steps_done`; the ledger may hold some of them already.
    pub(crate) fn start(coordinator: &Coordinator, steps_done: u64, records: Vec<Step>) -> Self {
        let (steps, incoming) = mpsc::channel(WAITING);
        let known = records.first().map_or(steps_done, |record| record.step);
        let (progress, committed) = watch::channel(known);
        let task = coordinator
            .runtime()
            .spawn(commit(coordinator.client(), records, incoming, progress));
        Self {
            steps,
            committed,
            task,
            sent: steps_done,
        }
    }

    /// Hands a step over. Fails when the ledger refused an earlier one.
    pub(crate) fn commit(&mut self, coordinator: &Coordinator, step: Step) -> Result<(), StopReason> {
        self.sent = step.step + 1;
        match self.steps.try_send(step) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(step)) => match self.steps.blocking_send(step) {
                Ok(()) => Ok(()),
                Err(_) => Err(self.refusal(coordinator)),
            },
            Err(mpsc::error::TrySendError::Closed(_)) => Err(self.refusal(coordinator)),
        }
    }

    /// Steps in the ledger, as far as it has answered.
    pub(crate) fn committed(&self) -> u64 {
        *self.committed.borrow()
    }

    /// For a task that waits until some step is in the ledger.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// Waits until all steps so far are in the ledger.
    pub(crate) fn flush(&mut self, coordinator: &Coordinator) -> Result<(), StopReason> {
        let sent = self.sent;
        let reached = coordinator.wait(async {
            let reached = self.committed.wait_for(|committed| *committed >= sent).await;
            Ok(reached.is_ok())
        })?;
        if reached {
            Ok(())
        } else {
            Err(self.refusal(coordinator))
        }
    }

    /// Why the task ended: it ends early only with an error.
    fn refusal(&mut self, coordinator: &Coordinator) -> StopReason {
        let ended = match coordinator.runtime().block_on(&mut self.task) {
            Ok(Err(reason)) => return reason,
            Ok(Ok(())) => "the ledger's writer ended before its time".to_owned(),
            Err(error) => format!("the ledger's writer ended: {error}"),
        };
        RankFailure::Internal(ended).into()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // What it still holds, the next rank 0 holds as well.
        self.task.abort();
    }
}

async fn commit(
    client: Client,
    records: Vec<Step>,
    mut incoming: mpsc::Receiver<Step>,
    progress: watch::Sender<u64>,
) -> Result<(), StopReason> {
    let mut batch = records;
    while !batch.is_empty() || incoming.recv_many(&mut batch, 1024).await > 0 {
        let committed = client.commit_steps(std::mem::take(&mut batch)).await?;
        progress.send_replace(committed);
    }
    Ok(())
}

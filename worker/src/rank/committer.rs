//! Commits steps to the ledger while the next ones are already running.
//!
//! One request is under way at a time; the steps that gather meanwhile go with the next one. So a slow disk of the coordinator makes the
//! batches longer, not the steps.

use firn_proto::v1alpha1::Step;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    coordinator::{Client, Coordinator},
    failure::RankFailure,
};

/// Steps that may wait for the coordinator before training waits for it, too.
const WAITING: usize = 4096;

/// The ledger's writer; rank 0 has one.
pub(super) struct Committer {
    steps: mpsc::Sender<Step>,
    committed: watch::Receiver<u64>,
    task: JoinHandle<Result<(), RankFailure>>,
    sent: u64,
}

impl Committer {
    /// Starts with `steps_done` steps in the ledger.
    pub(super) fn start(coordinator: &Coordinator, steps_done: u64) -> Self {
        let (steps, incoming) = mpsc::channel(WAITING);
        let (progress, committed) = watch::channel(steps_done);
        let task = coordinator
            .runtime()
            .spawn(commit(coordinator.client(), incoming, progress));
        Self {
            steps,
            committed,
            task,
            sent: steps_done,
        }
    }

    /// Hands a step over. Fails when the ledger refused an earlier one.
    pub(super) fn commit(&mut self, coordinator: &Coordinator, step: Step) -> Result<(), RankFailure> {
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

    /// Waits until all steps so far are in the ledger.
    pub(super) fn flush(&mut self, coordinator: &Coordinator) -> Result<(), RankFailure> {
        let sent = self.sent;
        let reached = coordinator
            .runtime()
            .block_on(async { self.committed.wait_for(|committed| *committed >= sent).await.is_ok() });
        if reached {
            Ok(())
        } else {
            Err(self.refusal(coordinator))
        }
    }

    /// Why the task ended: it ends early only with an error.
    fn refusal(&mut self, coordinator: &Coordinator) -> RankFailure {
        match coordinator.runtime().block_on(&mut self.task) {
            Ok(Err(failure)) => failure,
            Ok(Ok(())) => RankFailure::Stopped("the ledger's writer ended".to_owned()),
            Err(error) => RankFailure::Stopped(format!("the ledger's writer ended: {error}")),
        }
    }
}

async fn commit(
    client: Client,
    mut incoming: mpsc::Receiver<Step>,
    progress: watch::Sender<u64>,
) -> Result<(), RankFailure> {
    let mut batch = Vec::new();
    while incoming.recv_many(&mut batch, 1024).await > 0 {
        let committed = client.commit_steps(std::mem::take(&mut batch)).await?;
        progress.send_replace(committed);
    }
    Ok(())
}

//! What every service reaches.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    refusal::{nothing_yet, stopping},
    refused_agents::RefusedAgents,
};
use crate::{
    artifacts::{ArtifactError, ArtifactStore},
    engine::{Clock, EngineHandle, Outboxes},
    journal::JournalReader,
    logs::{LogStore, Origins},
};

/// The engine, the stores and the order to stop; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Who this coordinator is, for agents; empty: nobody is told.
    pub coordinator_id: Arc<str>,
    /// Decides.
    pub engine: EngineHandle,
    /// Reads the journal: blocks on the disk.
    pub journal: JournalReader,
    /// Files of the jobs.
    pub store: ArtifactStore,
    /// Log lines of the jobs.
    pub logs: Arc<LogStore>,
    /// Which rank a process was.
    pub origins: Origins,
    /// Agents that this coordinator cannot serve.
    pub refused: RefusedAgents,
    /// Streams of the agents.
    pub outboxes: Outboxes,
    /// The engine's clock.
    pub clock: Clock,
    /// The order to stop.
    pub ending: Ending,
    /// How long a call waits for others before it is told to ask again.
    pub longest_wait: Duration,
}

/// How far the shutdown is: first no job is taken in any more, then every stream and every call that waits is ended.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    refusing: Arc<AtomicBool>,
    streams: CancellationToken,
}

impl Ending {
    /// Jobs are refused from now on.
    pub fn refuse_jobs(&self) {
        self.refusing.store(true, Ordering::SeqCst);
    }

    /// Streams and waiting calls end now.
    pub fn end_streams(&self) {
        self.streams.cancel();
    }

    /// Reached when streams are to end.
    pub fn streams(&self) -> &CancellationToken {
        &self.streams
    }

    pub(super) fn takes_jobs(&self) -> Result<(), Status> {
        if self.refusing.load(Ordering::SeqCst) {
            Err(stopping())
        } else {
            Ok(())
        }
    }
}

impl Context {
    /// Waits for an answer, but not beyond the order to stop.
    pub(super) async fn unless_ending<T>(&self, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::select! {
            biased;
            answer = answer => answer,
            () = self.ending.streams().cancelled() => Err(stopping()),
        }
    }

    /// Waits for an answer that depends on others, but not for ever: a caller that still wants it asks again.
    pub(super) async fn wait_for<T>(&self, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let waited = tokio::time::timeout(self.longest_wait, self.unless_ending(answer));
        waited.await.map_err(|_| nothing_yet())?
    }

    /// Work on files, off the threads that serve calls.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ArtifactStore) -> Result<T, ArtifactError> + Send + 'static,
    ) -> Result<T, Status> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store))
            .await
            .expect("work on files does not panic");
        Ok(done?)
    }
}

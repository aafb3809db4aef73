//! What every service reaches.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use firn_core::{
    Reject,
    identifiers::{JobId, RankIdentity, WorkerName},
    state::Scope,
};
use firn_proto::v1alpha1 as proto;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::{
    refusal::{nothing_yet, rejected, stopping},
    refused_agents::RefusedAgents,
    wire::names,
};
use crate::{
    access::Caller,
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

/// Who calls, and with what.
pub(super) fn called<T>(request: Request<T>) -> Result<(Caller, T), Status> {
    let caller = Caller::of(&request)?;
    Ok((caller, request.into_inner()))
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

    /// Whether a job is within the scope of a caller. One that is not does not exist for it.
    pub(super) async fn may_see(&self, caller: &Caller, job: &JobId) -> Result<(), Status> {
        let is_seen = match &caller.scope {
            Scope::All => true,
            Scope::Job(own) => own == job,
            Scope::Namespace(_) => {
                let (caller, asked) = (caller.clone(), job.clone());
                self.engine.ask(move |state| caller.sees_in(state, &asked)).await?
            }
        };
        match is_seen {
            true => Ok(()),
            false => Err(rejected(&Reject::JobNotFound { job: job.clone() })),
        }
    }

    /// Which rank calls. Its job has to be within the scope of the caller.
    pub(super) async fn rank(
        &self,
        caller: &Caller,
        identity: Option<proto::RankIdentity>,
    ) -> Result<RankIdentity, Status> {
        let identity = names::identity(identity)?;
        self.may_see(caller, &identity.job).await?;
        Ok(identity)
    }

    /// Whether an agent may come under a name. One is taken that a worker has which is there for others than the caller's scope holds: whoever came
    /// in its place would cost their jobs its ranks.
    pub(super) async fn may_come_as(&self, caller: &Caller, name: &WorkerName) -> Result<(), Status> {
        if caller.scope == Scope::All {
            return Ok(());
        }
        let (caller, asked) = (caller.clone(), name.clone());
        let taken_on = self.engine.ask(move |state| {
            let known = &state.workers.get(&asked)?.description;
            (!caller.owns(state, &known.serves)).then(|| known.host.clone())
        });
        match taken_on.await? {
            None => Ok(()),
            Some(host) => Err(rejected(&Reject::WorkerNameTaken {
                worker: name.clone(),
                host,
            })),
        }
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

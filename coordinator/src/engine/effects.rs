//! The engine's executor: effects of decisions that are durable.
//!
//! Commands go into the outbox of the agent's present stream; slow work (files, scoring) runs beside the engine, on tasks that are waited for
//! at the end. An effect that is lost with its stream or with the process is asked for again by the core.

use std::sync::Arc;

use firn_core::{
    Effect, Event, Input, JobEvent, Record, StartRank, State,
    identifiers::{JobId, StreamId, WorkerName},
};
use firn_proto::v1alpha1::{self as proto, AgentCommand, agent_command::Command};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::{EngineHandle, Outboxes, scoring};
use crate::{
    artifacts::{ArtifactStore, FileKind},
    fail_point::{self, FailPoint},
    logs::{LogStore, Origins},
};

/// Carries out effects.
pub struct EffectExecutor {
    engine: EngineHandle,
    outboxes: Outboxes,
    store: ArtifactStore,
    logs: Arc<LogStore>,
    origins: Origins,
    tasks: TaskTracker,
    /// One pass is scored at a time: it takes all the memory that its predictions need, and a later walk over a pass comes after an
    /// earlier one.
    scoring: Arc<Mutex<()>>,
}

impl EffectExecutor {
    /// One that reaches the agents through `outboxes` and the files of the jobs in `store` and `logs`, and tells `origins` of new processes.
    pub fn new(
        engine: EngineHandle,
        outboxes: Outboxes,
        (store, logs): (ArtifactStore, Arc<LogStore>),
        origins: Origins,
    ) -> Self {
        Self {
            engine,
            outboxes,
            store,
            logs,
            origins,
            tasks: TaskTracker::new(),
            scoring: Arc::default(),
        }
    }

    /// Notes what is needed of a record that is durable, before its effects are carried out.
    pub(super) fn recorded(&self, record: &Record) {
        self.origins.learn(record);
        let Event::Job { job, event } = &record.event else {
            return;
        };
        match event {
            JobEvent::Deleted { reason } => info!(%job, %reason, "a job is deleted"),
            JobEvent::Erased { bytes } => info!(%job, bytes, "the files of a deleted job are gone"),
            _ => {}
        }
    }

    /// Which rank each process was.
    pub(super) fn origins(&self) -> &Origins {
        &self.origins
    }

    pub(super) fn carry_out(&self, effect: Effect, state: &State) {
        match effect {
            Effect::StartRank(start) => {
                let worker = start.worker.clone();
                self.command(
                    &worker,
                    state,
                    Command::StartRank(start_rank(start, state.coordinator_epoch)),
                );
            }
            Effect::StopRank { worker, process, grace } => {
                let grace_ms = u32::try_from(grace).unwrap_or(u32::MAX);
                let stop = proto::StopRank {
                    process_id: process.to_string(),
                    grace_ms,
                    coordinator_epoch: state.coordinator_epoch,
                };
                self.command(&worker, state, Command::StopRank(stop));
            }
            Effect::DismissAgent { worker, job, end } => {
                info!(%worker, %job, %end, "an agent is told that its job has ended");
                let ended = proto::JobEnded {
                    job: format!("jobs/{job}"),
                    outcome: end.to_string(),
                    coordinator_epoch: state.coordinator_epoch,
                };
                self.command(&worker, state, Command::JobEnded(ended));
            }
            Effect::CloseStream { worker, stream } => {
                debug!(%worker, stream = stream.0, "stream is closed, so that the agent attaches again");
                self.outboxes.close(stream);
            }
            Effect::ScorePass { job, generation, pass } => {
                let scored = scoring::score_pass(self.engine.clone(), self.store.clone(), job, (generation, pass));
                let turn = Arc::clone(&self.scoring);
                self.tasks.spawn(async move {
                    let _turn = turn.lock().await;
                    scored.await;
                });
            }
            Effect::EraseJob { job } => self.erase(job),
            Effect::DeleteCheckpoint { job, sha256 } => {
                let store = self.store.clone();
                self.tasks.spawn_blocking(move || {
                    if let Err(error) = store.remove(job.as_str(), &FileKind::Checkpoint, &sha256) {
                        warn!(%job, %error, "a checkpoint that is no longer needed could not be removed; the next start tries again");
                    }
                });
            }
        }
    }

    /// Another try comes with the next start, if the disk refuses.
    fn erase(&self, job: JobId) {
        let (store, logs, engine) = (self.store.clone(), Arc::clone(&self.logs), self.engine.clone());
        self.tasks.spawn(async move {
            fail_point::pass(FailPoint::EraseBeforeFiles);
            let named = job.clone();
            let erased = tokio::task::spawn_blocking(move || {
                logs.forget(named.as_str());
                store.erase(named.as_str())
            });
            match erased.await.expect("removing files does not panic") {
                Ok(bytes) => {
                    fail_point::pass(FailPoint::EraseAfterFiles);
                    // An engine that has ended hears it from the next start.
                    let _ = engine.tell(Input::JobErased { job, bytes }).await;
                }
                Err(error) => {
                    warn!(%job, %error, "files of a deleted job could not be removed; the next start tries again");
                }
            }
        });
    }

    fn command(&self, worker: &WorkerName, state: &State, command: Command) {
        let stream: Option<StreamId> = state.soft.streams.get(worker).copied();
        let sent = stream.is_some_and(|stream| self.outboxes.send(stream, AgentCommand { command: Some(command) }));
        if !sent {
            debug!(%worker, "command dropped: the agent's stream is gone, the core asks again when it is back");
        }
    }

    /// Waits for what is still being done.
    pub(super) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn start_rank(start: StartRank, coordinator_epoch: u64) -> proto::StartRank {
    proto::StartRank {
        process_id: start.process.to_string(),
        job: format!("jobs/{}", start.job),
        generation: start.generation.0,
        rank: start.rank,
        world_size: start.world_size,
        local_rank: start.local_rank,
        local_world_size: start.local_world_size,
        slot: start.slot,
        coordinator_epoch,
    }
}

//! `firn serve`: the coordinator as a process.
//!
//! [`Coordinator::open`] locks the data folder, replays the journal and binds the address; [`Coordinator::run`] serves until it is told to
//! stop. Binding is apart from running, so that tests know the port. Three tasks live under one root token: the engine, the server and the
//! stop order. One that ends early takes the others down, and its error becomes the exit status.
//!
//! A journal that cannot be written is no end: health says NOT_SERVING, and questions are still answered until the coordinator is told to
//! stop (see [`crate::engine::Standing`]).
//!
//! A stop is ordered: health says NOT_SERVING, jobs are refused, streams and waiting calls end, calls that are under way are finished, the
//! engine answers what is in its mailbox, and the process ends, all under one deadline. Jobs run on: agents and ranks come back to the
//! next coordinator on this folder.

mod deadlines;
mod health;
mod incoming;
pub mod limits;
mod listener;
mod ready;
mod retention;
pub mod security;
pub mod settings;

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use firn_core::Input;
use firn_probes::{ProbePort, Readiness};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    access::{Directory, Gate},
    api::{Context, Ending, RefusedAgents},
    artifacts::ArtifactStore,
    engine::{Clock, EffectExecutor, Engine, EngineError, EngineHandle, Outboxes, Refusal, recover},
    journal::{FolderLock, Journal, JournalError},
    logs::{LogStore, Origins},
    metrics::Metrics,
};

use settings::ServeSettings;

/// Why the coordinator did not start, or ended by itself.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The engine could not start or has failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used, or the server broke.
    #[error("the server failed: {reason}")]
    Server {
        /// The chain of errors.
        reason: String,
    },
    /// The ready file cannot be written.
    #[error("cannot write the ready file {}: {source}", path.display())]
    Ready {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// A coordinator that is ready to serve: its state is recovered and its address is bound.
pub struct Coordinator {
    settings: ServeSettings,
    address: SocketAddr,
    listener: TcpListener,
    engine: Engine,
    context: Context,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    health_port: Option<ProbePort>,
    /// Held until everything else has ended.
    lock: FolderLock,
}

impl Coordinator {
    /// Recovers the state from the data folder and binds the address. Blocks while the journal is replayed.
    ///
    /// # Errors
    /// When the folder is held by another coordinator, the journal is damaged, or the address is taken.
    pub fn open(settings: ServeSettings) -> Result<Self, ServeError> {
        let lock = FolderLock::acquire(&settings.data_dir)?;
        let metrics = Arc::new(Metrics::default());
        let readiness = health::not_yet();
        let health_port = settings.health_listen.map(|address| {
            ProbePort::open(address, &readiness, Arc::clone(&metrics) as _)
                .map_err(|source| ServeError::Bind { address, source })
        });
        let health_port = health_port.transpose()?;
        let coordinator_id = lock.coordinator_id()?;
        let jobs = settings.data_dir.join("jobs");
        let store = ArtifactStore::new(jobs.clone());
        let journal = Journal::open(&settings.data_dir)?;
        let origins = Origins::default();
        let recovered = recover(&journal, &store, settings.core.clone(), &origins)?;
        let reader = journal.reader();

        let clock = Clock::start();
        let outboxes = Outboxes::default();
        let logs = Arc::new(LogStore::new(jobs));
        let executor = |engine: &EngineHandle| {
            EffectExecutor::new(
                engine.clone(),
                outboxes.clone(),
                (store.clone(), Arc::clone(&logs)),
                origins.clone(),
            )
        };
        let (engine, handle) = Engine::new(recovered, journal, clock, executor);
        let engine = engine.measured_by(Arc::clone(&metrics));
        metrics.ask(handle.clone());
        let context = Context {
            coordinator_id: coordinator_id.into(),
            engine: handle,
            journal: reader,
            store,
            logs,
            origins,
            refused: RefusedAgents::default(),
            outboxes,
            clock,
            ending: Ending::default(),
            longest_wait: settings.limits.longest_wait,
        };
        let failed = |source| ServeError::Bind {
            address: settings.listen,
            source,
        };
        let listener = incoming::bind(settings.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            settings,
            address,
            listener,
            engine,
            context,
            readiness,
            metrics,
            health_port,
            lock,
        })
    }

    /// The bound address of the health port, if there is one.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_port.as_ref().map(ProbePort::address)
    }

    /// The bound address, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled or something breaks.
    ///
    /// # Errors
    /// When the journal or the server fails.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServeError> {
        let Self {
            settings,
            address,
            listener,
            engine,
            context,
            readiness,
            metrics,
            health_port,
            lock,
        } = self;
        let root = CancellationToken::new();
        let mut parts = Parts::default();
        parts.spawn(&root, async { engine.run().await.map_err(ServeError::from) });
        // Nobody is let in before the core has looked at what the journal left it.
        match context.engine.tell(Input::CoordinatorStarted).await {
            // Without a word to the journal it can still answer questions.
            Ok(_) | Err(Refusal::NotWritten(_)) => {}
            Err(refusal) => {
                warn!(%refusal, "the engine did not start");
                parts.all_ended().await;
                return parts.outcome;
            }
        }

        let directory = Directory::new(settings.security.tokens(), context.engine.tokens(), context.clock);
        let router = listener::router(
            &settings,
            &context,
            (readiness.service(), metrics),
            &Gate::new(directory),
        )?;
        readiness.set(Ok(())).await;
        let limits = &settings.limits;
        let incoming = incoming::connections(
            listener,
            settings.security.tls(),
            limits.connections_within_files(),
            limits.handshake,
        );
        let served = router.serve_with_incoming_shutdown(incoming, context.ending.streams().clone().cancelled_owned());
        let server = parts.spawn(&root, async {
            served
                .await
                .map_err(|error| ServeError::Server { reason: chain(&error) })
        });

        retention::announce(settings.core.retention);
        ready::announce(address, health_port.as_ref().map(ProbePort::address), &settings)?;
        tokio::select! {
            () = stop.cancelled() => info!("told to stop"),
            () = root.cancelled() => warn!("a part of the coordinator has ended by itself"),
            never = health::follow(&readiness, &context.engine) => match never {},
            () = settings.security.follow() => {}
        }
        shut_down(&context, &readiness, &mut parts, &server, settings.shutdown_grace).await;
        drop(lock);
        parts.outcome
    }
}

/// In the order of the module's description. What is not finished when half of `grace` is left is cut off, so that the engine can
/// still answer what is in its mailbox.
async fn shut_down(context: &Context, readiness: &Readiness, parts: &mut Parts, server: &AbortHandle, grace: Duration) {
    readiness.set(Err("the coordinator was told to stop".to_owned())).await;
    context.ending.refuse_jobs();
    context.ending.end_streams();
    if tokio::time::timeout(grace / 2, parts.one_ended()).await.is_err() {
        warn!(?grace, "calls are still under way and are cut off");
        server.abort();
    }
    context.engine.close().await;
    if tokio::time::timeout(grace / 2, parts.all_ended()).await.is_err() {
        warn!(
            ?grace,
            "the engine has not answered everything in time; what is on disk is whole"
        );
    }
}

/// The parts of a running coordinator; each that ends takes the others down.
struct Parts {
    tasks: JoinSet<Result<(), ServeError>>,
    /// The first error of a part that has ended.
    outcome: Result<(), ServeError>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            outcome: Ok(()),
        }
    }
}

impl Parts {
    fn spawn(
        &mut self,
        root: &CancellationToken,
        part: impl Future<Output = Result<(), ServeError>> + Send + 'static,
    ) -> AbortHandle {
        let ends_all = root.clone().drop_guard();
        self.tasks.spawn(async move {
            let _ends_all = ends_all;
            part.await
        })
    }

    async fn one_ended(&mut self) {
        let result = match self.tasks.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) if error.is_cancelled() => Ok(()),
            Some(Err(error)) => Err(ServeError::Server {
                reason: error.to_string(),
            }),
            None => Ok(()),
        };
        if self.outcome.is_ok() {
            self.outcome = result;
        }
    }

    async fn all_ended(&mut self) {
        while !self.tasks.is_empty() {
            self.one_ended().await;
        }
    }
}

/// An error with what caused it, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

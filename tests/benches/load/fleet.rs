//! Simulated agents: each is one task with one `Attach` stream, as the real agent's, and comes back as that one does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::ensure;
use firn_proto::v1alpha1::{
    AgentCommand, AgentHeartbeat, AgentHello, AgentMessage, Slot, Welcome, agent_command::Command,
    agent_message::Message, worker_service_client::WorkerServiceClient,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const WELCOME_DEADLINE: Duration = Duration::from_secs(10);

/// How many, and how they reach the server.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Size {
    /// Simulated agents
    #[arg(long, default_value_t = 10_000)]
    pub(crate) agents: usize,
    /// Streams that share one connection; real agents have one each
    #[arg(long, default_value_t = 32)]
    pub(crate) per_connection: usize,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) heartbeats: AtomicU64,
    /// Streams that ended after their welcome.
    pub(crate) broken: AtomicU64,
    /// Attempts to attach that failed.
    pub(crate) failed: AtomicU64,
}

/// Agents that run until it is dropped.
pub(crate) struct Fleet {
    size: Size,
    pub(crate) counts: Arc<Counts>,
    attached: watch::Receiver<usize>,
    _agents: JoinSet<()>,
}

/// As many files as this process may have.
pub(crate) fn raise_file_limit() -> anyhow::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

impl Fleet {
    /// Starts them all; they attach by themselves.
    pub(crate) fn start(size: Size, address: &str) -> anyhow::Result<Self> {
        let files = raise_file_limit()?;
        let connections = size.agents.div_ceil(size.per_connection);
        ensure!(
            files as usize > connections + 100,
            "{connections} connections need more files than the {files} that this process may have: raise `ulimit -Hn`"
        );
        let counts = Arc::new(Counts::default());
        let (sender, attached) = watch::channel(0);
        let sender = Arc::new(sender);
        let mut agents = JoinSet::new();
        for connection in 0..connections {
            let channel = endpoint(address)?.connect_lazy();
            let first = connection * size.per_connection;
            for number in first..size.agents.min(first + size.per_connection) {
                let agent = Agent {
                    number,
                    channel: channel.clone(),
                    counts: Arc::clone(&counts),
                    attached: Arc::clone(&sender),
                };
                agents.spawn(agent.live());
            }
        }
        Ok(Self {
            size,
            counts,
            attached,
            _agents: agents,
        })
    }

    /// Waits until all are attached at once.
    pub(crate) async fn all_attached(&mut self, limit: Duration) -> anyhow::Result<()> {
        let all = self.size.agents;
        let reached = timeout(limit, self.attached.wait_for(|attached| *attached == all))
            .await
            .is_ok();
        ensure!(
            reached,
            "{} of {all} agents are attached after {limit:?}",
            self.attached()
        );
        Ok(())
    }

    /// Waits until none is.
    pub(crate) async fn none_attached(&mut self) {
        // The agents hold the sender for as long as the fleet lives.
        let _ = self.attached.wait_for(|attached| *attached == 0).await;
    }

    /// How many are attached now.
    pub(crate) fn attached(&self) -> usize {
        *self.attached.borrow()
    }
}

fn endpoint(address: &str) -> anyhow::Result<Endpoint> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true))
}

struct Agent {
    number: usize,
    channel: Channel,
    counts: Arc<Counts>,
    attached: Arc<watch::Sender<usize>>,
}

/// A stream, and one more agent that is attached for as long as this lives.
struct Stream {
    outgoing: mpsc::Sender<AgentMessage>,
    incoming: Streaming<AgentCommand>,
    welcome: Welcome,
    attached: Arc<watch::Sender<usize>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.attached.send_modify(|attached| *attached -= 1);
    }
}

impl Agent {
    async fn live(self) {
        let mut attempts = 0;
        loop {
            match self.attach().await {
                Ok(stream) => {
                    attempts = 0;
                    self.beat(stream).await;
                    self.counts.broken.fetch_add(1, Relaxed);
                }
                Err(_) => {
                    self.counts.failed.fetch_add(1, Relaxed);
                }
            }
            sleep(full_jitter(attempts)).await;
            attempts += 1;
        }
    }

    async fn attach(&self) -> Result<Stream, Status> {
        let (outgoing, messages) = mpsc::channel(8);
        let hello = AgentMessage {
            message: Some(Message::Hello(self.hello())),
        };
        // The channel is new, so there is room.
        let _ = outgoing.try_send(hello);
        let mut client = WorkerServiceClient::new(self.channel.clone());
        let welcome = async {
            let mut incoming = client.attach(ReceiverStream::new(messages)).await?.into_inner();
            match incoming.message().await?.and_then(|command| command.command) {
                Some(Command::Welcome(welcome)) => Ok((welcome, incoming)),
                other => Err(Status::internal(format!("expected a welcome, found {other:?}"))),
            }
        };
        let welcomed = timeout(WELCOME_DEADLINE, welcome).await;
        let (welcome, incoming) = welcomed.map_err(|_| Status::deadline_exceeded("no welcome"))??;
        self.attached.send_modify(|attached| *attached += 1);
        Ok(Stream {
            outgoing,
            incoming,
            welcome,
            attached: Arc::clone(&self.attached),
        })
    }

    /// Until the stream ends.
    async fn beat(&self, mut stream: Stream) {
        let mut heartbeat = interval(Duration::from_millis(u64::from(
            stream.welcome.heartbeat_interval_ms.max(1),
        )));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sequence = 0;
        loop {
            tokio::select! {
                received = stream.incoming.message() => match received {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return,
                },
                _ = heartbeat.tick() => {
                    let message = AgentMessage { message: Some(Message::Heartbeat(AgentHeartbeat { sequence })) };
                    if stream.outgoing.send(message).await.is_err() {
                        return;
                    }
                    sequence += 1;
                    self.counts.heartbeats.fetch_add(1, Relaxed);
                }
            }
        }
    }

    fn hello(&self) -> AgentHello {
        let slot = |index| Slot {
            index,
            device: "cpu".to_owned(),
            description: "1 thread".to_owned(),
            memory_bytes: 1 << 30,
            job: String::new(),
        };
        let name = format!("agent-{:05}", self.number);
        AgentHello {
            host: format!("{name}.example"),
            instance_id: format!("{name}-instance"),
            worker: name,
            address: "127.0.0.1".to_owned(),
            slots: vec![slot(0), slot(1)],
            version: env!("CARGO_PKG_VERSION").to_owned(),
            processes: Vec::new(),
            // None is announced: what these agents are given asks for no revision.
            protocol: 0,
            ..AgentHello::default()
        }
    }
}

/// As the real agent's (`worker/src/agent/link.rs`).
fn full_jitter(attempts: u32) -> Duration {
    let limit = FIRST_PAUSE.saturating_mul(1 << attempts.min(16)).min(LONGEST_PAUSE);
    let nanoseconds = uuid::Uuid::new_v4().as_u128() % limit.as_nanos();
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

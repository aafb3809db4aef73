//! A coordinator in the test's own hands: it says what the test says, and tells what it hears.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use firn_proto::v1alpha1::{
    AgentCommand, AgentHello, AgentMessage, ExitAck, JobEnded, LogAck, LogBatch, RankExited, StartRank, StopRank,
    Welcome,
    agent_command::Command,
    agent_message::Message,
    worker_service_server::{WorkerService, WorkerServiceServer},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    sync::mpsc as async_mpsc,
};
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{TcpListenerStream, UnboundedReceiverStream},
};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, ServerTlsConfig},
};

/// A test that waits this long for an event has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The coordinator. Dropping it cuts every connection, as kill -9 would.
pub(crate) struct Coordinator {
    runtime: Option<Runtime>,
    port: Port,
    pub(crate) address: SocketAddr,
    sessions: Receiver<Session>,
}

/// A loopback port that no other process is given, served or not. It lets nobody in by itself.
#[derive(Clone)]
pub(crate) struct Port(Arc<TcpSocket>);

impl Port {
    fn reserve() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(Arc::new(socket))
    }
}

/// One stream of an agent.
pub(crate) struct Session {
    pub(crate) hello: AgentHello,
    messages: Receiver<Message>,
    commands: async_mpsc::UnboundedSender<Result<AgentCommand, Status>>,
}

/// What it does when an agent attaches.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    pub(crate) epoch: u64,
    /// Who it is; empty: it does not say, as earlier builds.
    pub(crate) id: String,
    pub(crate) unwanted: Vec<String>,
    /// The job of the agent, if nobody has submitted it yet.
    pub(crate) awaited_job: String,
    pub(crate) refusal: Option<Status>,
    pub(crate) tls: Option<ServerTlsConfig>,
}

struct Service {
    sessions: Sender<Session>,
    manner: Manner,
}

impl Coordinator {
    pub(crate) fn start() -> Self {
        Self::start_with(Manner::default())
    }

    pub(crate) fn start_with(manner: Manner) -> Self {
        Self::start_at(Port::reserve(), manner)
    }

    pub(crate) fn start_at(port: Port, manner: Manner) -> Self {
        let runtime = Runtime::new().unwrap();
        let (sessions, received) = mpsc::channel();
        let address = port.0.local_addr().unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let mut server = Server::builder();
        if let Some(tls) = manner.tls.clone() {
            server = server.tls_config(tls).unwrap();
        }
        let server = server.add_service(WorkerServiceServer::new(Service { sessions, manner }));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            runtime: Some(runtime),
            port,
            address,
            sessions: received,
        }
    }

    /// The next stream that an agent opens.
    pub(crate) fn session(&self) -> Session {
        self.sessions.recv_timeout(PATIENCE).expect("an agent attaches")
    }

    /// Cuts every connection; another coordinator can serve at the port afterwards.
    pub(crate) fn stop(mut self) -> Port {
        self.stop_runtime();
        self.port.clone()
    }

    fn stop_runtime(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.stop_runtime();
    }
}

impl Session {
    pub(crate) fn send(&self, command: Command) {
        self.commands
            .send(Ok(AgentCommand { command: Some(command) }))
            .expect("the stream is open");
    }

    pub(crate) fn start_rank(&self, process_id: &str) {
        self.start_rank_of_epoch(process_id, 0);
    }

    pub(crate) fn start_rank_of_epoch(&self, process_id: &str, coordinator_epoch: u64) {
        self.send(Command::StartRank(StartRank {
            process_id: process_id.to_owned(),
            job: "jobs/reviews".to_owned(),
            generation: 3,
            rank: 1,
            world_size: 2,
            local_world_size: 1,
            coordinator_epoch,
            ..StartRank::default()
        }));
    }

    pub(crate) fn stop_rank(&self, process_id: &str, grace_ms: u32) {
        self.stop_rank_of_epoch(process_id, grace_ms, 0);
    }

    pub(crate) fn stop_rank_of_epoch(&self, process_id: &str, grace_ms: u32, coordinator_epoch: u64) {
        self.send(Command::StopRank(StopRank {
            process_id: process_id.to_owned(),
            grace_ms,
            coordinator_epoch,
        }));
    }

    pub(crate) fn job_ended(&self, job: &str, outcome: &str) {
        self.send(Command::JobEnded(JobEnded {
            job: job.to_owned(),
            outcome: outcome.to_owned(),
            coordinator_epoch: 0,
        }));
    }

    pub(crate) fn acknowledge_lines(&self, process_id: &str, next_sequence: u64) {
        self.send(Command::LogAck(LogAck {
            process_id: process_id.to_owned(),
            next_sequence,
        }));
    }

    pub(crate) fn acknowledge_exit(&self, process_id: &str) {
        self.send(Command::ExitAck(ExitAck {
            process_id: process_id.to_owned(),
        }));
    }

    /// The next message, heartbeats included; `None` when the stream has ended.
    pub(crate) fn next(&self) -> Option<Message> {
        match self.messages.recv_timeout(PATIENCE) {
            Ok(message) => Some(message),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the agent is silent"),
        }
    }

    /// The first message that `pick` takes; others are passed over.
    pub(crate) fn wait_for<T>(&self, pick: impl Fn(Message) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().expect("the stream is open")) {
                return found;
            }
        }
    }

    pub(crate) fn wait_for_start(&self) -> u32 {
        self.wait_for(|message| match message {
            Message::RankStarted(started) => Some(started.pid),
            _ => None,
        })
    }

    pub(crate) fn wait_for_exit(&self) -> RankExited {
        self.wait_for(|message| match message {
            Message::RankExited(exit) => Some(exit),
            _ => None,
        })
    }

    /// Waits for a line of a rank.
    pub(crate) fn wait_for_line(&self, text: &str) {
        self.wait_for(|message| match message {
            Message::Logs(batch) => batch.lines.iter().any(|line| line.text == text).then_some(()),
            _ => None,
        });
    }

    /// Collects the log of one process, and how it ended, until both are complete: `lines` lines and an exit.
    pub(crate) fn collect(&self, lines: usize) -> (Vec<String>, RankExited) {
        let mut texts = Vec::new();
        let mut exit = None;
        while texts.len() < lines || exit.is_none() {
            match self.next().expect("the stream is open") {
                Message::Logs(batch) => {
                    assert_eq!(
                        batch.first_sequence,
                        texts.len() as u64,
                        "lines are numbered without a gap"
                    );
                    let LogBatch { process_id, lines, .. } = batch;
                    texts.extend(lines.into_iter().map(|line| line.text));
                    self.acknowledge_lines(&process_id, texts.len() as u64);
                }
                Message::RankExited(found) => exit = Some(found),
                _ => {}
            }
        }
        (texts, exit.unwrap())
    }
}

#[tonic::async_trait]
impl WorkerService for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<AgentCommand, Status>> + Send>>;

    async fn attach(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::AttachStream>, Status> {
        if let Some(refusal) = &self.manner.refusal {
            return Err(refusal.clone());
        }
        let mut incoming = request.into_inner();
        let Some(AgentMessage {
            message: Some(Message::Hello(hello)),
        }) = incoming.message().await?
        else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (commands, outgoing) = async_mpsc::unbounded_channel();
        let welcome = Welcome {
            heartbeat_interval_ms: 50,
            lease_ms: 1000,
            coordinator_epoch: self.manner.epoch,
            unwanted_processes: self.manner.unwanted.clone(),
            coordinator_id: self.manner.id.clone(),
            awaited_job: self.manner.awaited_job.clone(),
        };
        let _ = commands.send(Ok(AgentCommand {
            command: Some(Command::Welcome(welcome)),
        }));
        let (messages, heard) = mpsc::channel();
        let _ = self.sessions.send(Session {
            hello,
            messages: heard,
            commands,
        });
        tokio::spawn(async move {
            while let Some(Ok(AgentMessage { message: Some(message) })) = incoming.next().await {
                if messages.send(message).is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outgoing))))
    }
}

//! A bare tonic server for the same messages: what the transport alone takes.
//!
//! It greets every agent, reads its heartbeats and keeps nothing. With `--answers` it also answers each one, as an echo; the coordinator does
//! not.

use std::{path::PathBuf, pin::Pin, time::Duration};

use firn_proto::v1alpha1::{
    AgentCommand, AgentMessage, LogAck, Welcome,
    agent_command::Command,
    agent_message::Message,
    worker_service_server::{WorkerService, WorkerServiceServer},
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    ready_file: PathBuf,
    /// Answer every heartbeat.
    #[arg(long)]
    answers: bool,
}

struct Bare {
    answers: bool,
}

#[tonic::async_trait]
impl WorkerService for Bare {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<AgentCommand, Status>> + Send>>;

    async fn attach(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::AttachStream>, Status> {
        let mut messages = request.into_inner();
        let answers = self.answers;
        let (outgoing, commands) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                let answer = match message.message {
                    Some(Message::Hello(_)) => Command::Welcome(Welcome {
                        heartbeat_interval_ms: 2_000,
                        lease_ms: 10_000,
                        coordinator_epoch: 1,
                        unwanted_processes: Vec::new(),
                        ..Welcome::default()
                    }),
                    Some(Message::Heartbeat(heartbeat)) if answers => Command::LogAck(LogAck {
                        process_id: String::new(),
                        next_sequence: heartbeat.sequence,
                    }),
                    _ => continue,
                };
                let command = AgentCommand { command: Some(answer) };
                if outgoing.send(Ok(command)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(commands))))
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    crate::fleet::raise_file_limit()?;
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    let address = incoming.local_addr()?;
    let partial = arguments.ready_file.with_extension("partial");
    std::fs::write(&partial, address.to_string())?;
    std::fs::rename(partial, &arguments.ready_file)?;
    // As the coordinator does.
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_concurrent_streams(Some(32))
        .add_service(WorkerServiceServer::new(Bare {
            answers: arguments.answers,
        }))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

//! An agent, played by the test.

use std::collections::VecDeque;

use firn_core::compatibility::Revision;
use firn_proto::v1alpha1::{
    self as proto, AgentCommand, AgentMessage, agent_command::Command, agent_message::Message,
    worker_service_client::WorkerServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use crate::server::Server;

pub(crate) struct Agent {
    outgoing: mpsc::Sender<AgentMessage>,
    incoming: Streaming<AgentCommand>,
    /// Commands that came while something else was waited for.
    early: VecDeque<Command>,
    pub(crate) welcome: proto::Welcome,
}

pub(crate) fn hello(worker: &str, instance: &str) -> proto::AgentHello {
    let slot = |index| proto::Slot {
        index,
        device: "cpu".to_owned(),
        description: "1 thread".to_owned(),
        memory_bytes: 1 << 30,
        job: String::new(),
    };
    proto::AgentHello {
        worker: worker.to_owned(),
        host: format!("{worker}.example"),
        address: "127.0.0.1".to_owned(),
        slots: vec![slot(0), slot(1)],
        version: "test".to_owned(),
        processes: Vec::new(),
        protocol: Revision::CURRENT.0,
        instance_id: instance.to_owned(),
        ..proto::AgentHello::default()
    }
}

impl Agent {
    pub(crate) async fn attach(server: &Server, hello: proto::AgentHello) -> Result<Self, Status> {
        Self::attach_with(server.workers(), hello).await
    }

    pub(crate) async fn attach_with(
        mut client: WorkerServiceClient<Channel>,
        hello: proto::AgentHello,
    ) -> Result<Self, Status> {
        let (outgoing, messages) = mpsc::channel(16);
        let first = AgentMessage {
            message: Some(Message::Hello(hello)),
        };
        outgoing.send(first).await.unwrap();
        let mut incoming = client.attach(ReceiverStream::new(messages)).await?.into_inner();
        match incoming.message().await?.and_then(|command| command.command) {
            Some(Command::Welcome(welcome)) => Ok(Self {
                outgoing,
                incoming,
                early: VecDeque::new(),
                welcome,
            }),
            other => panic!("expected a welcome, found {other:?}"),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Command>, Status> {
        if let Some(early) = self.early.pop_front() {
            return Ok(Some(early));
        }
        Ok(self.incoming.message().await?.and_then(|command| command.command))
    }

    pub(crate) async fn send(&self, message: Message) {
        self.outgoing
            .send(AgentMessage { message: Some(message) })
            .await
            .unwrap();
    }

    /// Sends a heartbeat, if the stream still takes one.
    pub(crate) async fn beat(&self) {
        let message = Message::Heartbeat(proto::AgentHeartbeat { sequence: 0 });
        // That the stream has ended is seen by who reads from it.
        let _ = self.outgoing.send(AgentMessage { message: Some(message) }).await;
    }

    /// The next rank that is to be started, confirmed.
    pub(crate) async fn start_rank(&mut self) -> proto::StartRank {
        match self.next().await.unwrap() {
            Some(Command::StartRank(start)) => {
                let process_id = start.process_id.clone();
                self.send(Message::RankStarted(proto::RankStarted {
                    process_id,
                    pid: 4000 + start.rank,
                }))
                .await;
                start
            }
            other => panic!("expected StartRank, found {other:?}"),
        }
    }

    /// The next process that is to be stopped.
    pub(crate) async fn stop_rank(&mut self) -> proto::StopRank {
        match self.next().await.unwrap() {
            Some(Command::StopRank(stop)) => stop,
            other => panic!("expected StopRank, found {other:?}"),
        }
    }

    /// Reports an exit, and returns once the coordinator has recorded it.
    pub(crate) async fn exited(&mut self, process_id: &str, exit_code: i32) {
        let exited = proto::RankExited {
            process_id: process_id.to_owned(),
            exit_code: Some(exit_code),
            ..Default::default()
        };
        self.send(Message::RankExited(exited)).await;
        loop {
            match self
                .incoming
                .message()
                .await
                .unwrap()
                .and_then(|command| command.command)
            {
                Some(Command::ExitAck(ack)) if ack.process_id == process_id => return,
                // What follows from the exit may come before its confirmation.
                Some(other) => self.early.push_back(other),
                None => panic!("expected ExitAck, found the end of the stream"),
            }
        }
    }

    /// Sends lines and gives the number that the coordinator wants next.
    pub(crate) async fn lines(&mut self, process_id: &str, first_sequence: u64, lines: &[&str]) -> u64 {
        self.send_lines(process_id, first_sequence, lines).await;
        match self.next().await.unwrap() {
            Some(Command::LogAck(ack)) if ack.process_id == process_id => ack.next_sequence,
            other => panic!("expected LogAck, found {other:?}"),
        }
    }

    pub(crate) async fn send_lines(&self, process_id: &str, first_sequence: u64, lines: &[&str]) {
        let line = |text: &&str| proto::AgentLogLine {
            stream: "stderr".to_owned(),
            text: (*text).to_owned(),
            time: None,
        };
        let batch = proto::LogBatch {
            process_id: process_id.to_owned(),
            first_sequence,
            lines: lines.iter().map(line).collect(),
        };
        self.send(Message::Logs(batch)).await;
    }
}

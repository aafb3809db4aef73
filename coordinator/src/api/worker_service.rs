//! `WorkerService`: one stream an agent.
//!
//! The stream is answered at once and greeted when its first message, the hello, has come. Every message is passed on in order
//! (see [`AgentInbox`] for the one exception), and the commands that wait in the stream's outbox go out in between. However the stream
//! ends, the core learns of it.

use std::{pin::Pin, time::Duration};

use async_stream::try_stream;
use firn_core::{
    Input, Reject, Reply,
    identifiers::{ProcessId, StreamId, WorkerName},
};
use firn_proto::v1alpha1::{
    self as proto, AgentCommand, AgentMessage, agent_command::Command, agent_message::Message,
    worker_service_server::WorkerService,
};
use futures::Stream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use super::{
    agent_inbox::{AgentInbox, Said},
    context::{Context, called},
    refusal::{invalid, stopping, unexpected},
    wire::worker::{exit_from_wire, hello_from_wire, welcome_to_wire},
};
use crate::engine::{EngineHandle, Outbox, Refusal};

/// An agent that opens a stream and then says nothing is let go after this long.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// For agents.
#[derive(Clone)]
pub struct Workers {
    context: Context,
}

impl Workers {
    /// Over the engine and the stores.
    pub fn new(context: Context) -> Self {
        Self { context }
    }
}

/// Tells the core that the stream has ended, whenever and however it is dropped.
struct Attached {
    engine: EngineHandle,
    worker: WorkerName,
    stream: StreamId,
}

impl Drop for Attached {
    fn drop(&mut self) {
        info!(worker = %self.worker, stream = self.stream.0, "an agent's stream has ended");
        self.engine.tell_later(Input::AgentDetached {
            worker: self.worker.clone(),
            stream: self.stream,
        });
    }
}

/// What a message leads to.
enum Next {
    Nothing,
    Send(Command),
    /// The agent leaves.
    End,
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<AgentCommand, Status>> + Send>>;

    async fn attach(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::AttachStream>, Status> {
        let context = self.context.clone();
        let (caller, mut messages) = called(request)?;
        Ok(Response::new(Box::pin(try_stream! {
            let hello = hello(&mut messages).await?;
            let (mut description, processes) = hello_from_wire(hello)?;
            description.serves = caller.let_serve(description.serves)?;
            context.may_come_as(&caller, &description.name).await?;
            context.refused.check(&description)?;
            let worker = description.name.clone();
            let mut outbox = context.outboxes.open();
            let stream = outbox.stream();
            let greeted = context.engine.tell(Input::AgentAttached { description, processes, stream });
            let welcome = match greeted.await? {
                Reply::Welcome(welcome) => {
                    if let Some(job) = &welcome.awaited_job {
                        info!(%worker, %job, "an agent is there for a job that nobody has submitted yet");
                    }
                    welcome_to_wire(&welcome, &context.coordinator_id)
                }
                other => Err(unexpected(&other))?,
            };
            let attached = Attached { engine: context.engine.clone(), worker: worker.clone(), stream };
            info!(%worker, stream = stream.0, "an agent has attached");
            yield command(Command::Welcome(welcome));
            let mut inbox = AgentInbox::new(caller, messages);
            loop {
                match next_event(&context, &mut outbox, &mut inbox).await? {
                    Event::Command(waiting) => yield waiting,
                    Event::Message(message) => match take(&context, &attached, message).await? {
                        Next::Nothing => {}
                        Next::Send(answer) => yield command(answer),
                        Next::End => break,
                    },
                    Event::End => break,
                }
            }
        })))
    }
}

/// What comes next on a stream.
enum Event {
    /// To the agent.
    Command(AgentCommand),
    /// From the agent.
    Message(AgentMessage),
    /// The agent has closed its side.
    End,
}

async fn next_event(context: &Context, outbox: &mut Outbox, inbox: &mut AgentInbox) -> Result<Event, Status> {
    tokio::select! {
        () = context.ending.streams().cancelled() => Err(stopping()),
        waiting = outbox.next() => {
            let closed = || Status::aborted("the coordinator has closed this stream: attach again");
            waiting.map(Event::Command).ok_or_else(closed)
        }
        said = inbox.next(context) => Ok(match said? {
            Said::Message(message) => Event::Message(message),
            Said::Stored(ack) => Event::Command(command(Command::LogAck(ack))),
            Said::End => Event::End,
        }),
    }
}

fn command(command: Command) -> AgentCommand {
    AgentCommand { command: Some(command) }
}

async fn hello(messages: &mut Streaming<AgentMessage>) -> Result<proto::AgentHello, Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, messages.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("expected AgentHello within ten seconds"))??;
    match first.and_then(|message| message.message) {
        Some(Message::Hello(hello)) => Ok(hello),
        _ => Err(invalid("hello", "expected AgentHello as the first message")),
    }
}

/// Passes one message on. An error ends the stream, so that the agent attaches again.
async fn take(context: &Context, attached: &Attached, message: AgentMessage) -> Result<Next, Status> {
    let (worker, stream) = (attached.worker.clone(), attached.stream);
    let mut done = Next::Nothing;
    let input = match message.message {
        Some(Message::Heartbeat(_)) => Input::AgentHeartbeat { worker, stream },
        Some(Message::RankStarted(started)) => Input::RankStarted {
            worker,
            process: started.process_id.into(),
            pid: started.pid,
        },
        Some(Message::RankExited(exited)) => {
            let process = ProcessId::from(exited.process_id.as_str());
            // Recorded by then, or of no interest: either way the agent need not say it again.
            done = Next::Send(Command::ExitAck(proto::ExitAck {
                process_id: exited.process_id.clone(),
            }));
            Input::RankExited {
                worker,
                process,
                exit: exit_from_wire(exited),
            }
        }
        Some(Message::Draining(_)) => Input::AgentDraining { worker, stream },
        Some(Message::Leaving(_)) => {
            context.engine.tell(Input::AgentLeaving { worker, stream }).await?;
            return Ok(Next::End);
        }
        Some(Message::Hello(_)) => return Err(invalid("hello", "expected AgentHello only as the first message")),
        // The inbox stores lines; and a newer agent may say things that this program does not know.
        Some(Message::Logs(_)) | None => return Ok(Next::Nothing),
    };
    match context.engine.tell(input).await {
        Ok(_) => Ok(done),
        Err(
            refusal @ (Refusal::Stopped(_)
            | Refusal::NotWritten(_)
            | Refusal::Unrecordable { .. }
            | Refusal::Reject(Reject::WorkerLost { .. } | Reject::StaleStream { .. })),
        ) => Err(refusal.into()),
        Err(Refusal::Reject(reject)) => {
            debug!(worker = %attached.worker, %reject, "an agent's message has no effect");
            Ok(done)
        }
    }
}

//! The agent's stream to the coordinator: one at a time, made again for ever.
//!
//! [`Link::next`] is the only place that waits; it keeps all state in the link, so that the agent may drop the wait at any moment to look
//! at something else. Between attempts it pauses for a random part of a growing limit ("full jitter"), so that a thousand agents do not return
//! to a restarted coordinator in the same instant.

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};

use firn_proto::v1alpha1::{
    AgentCommand, AgentHeartbeat, AgentHello, AgentLeaving, AgentMessage, Welcome, agent_command::Command,
    agent_message::Message, worker_service_client::WorkerServiceClient,
};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{attach_error::AttachError, epochs::Epochs};
use crate::connection::{self, ConnectionArguments, MESSAGE_LIMIT};

/// Messages on their way to the transport; each is at most a batch of lines.
const OUTGOING: usize = 8;
const WELCOME_DEADLINE: Duration = Duration::from_secs(10);
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// For how long a first attach may be refused because the name is taken: the lease of an agent that was killed runs out meanwhile.
const NAME_PATIENCE: Duration = Duration::from_secs(60);

/// What happened on the stream.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// A new stream is open.
    Attached(Welcome),
    /// The coordinator wants something.
    Command(Command),
    /// There is room for a message.
    Ready,
    /// The stream ended, or could not be made; the next call tries again.
    Down(String),
    /// Trying again cannot help.
    Refused(AttachError),
}

type Attaching = Pin<Box<dyn Future<Output = Result<Attached, AttachError>> + Send>>;

enum State {
    Waiting { until: Instant },
    Attaching(Attaching),
    Up(Box<Attached>),
}

struct Attached {
    outgoing: mpsc::Sender<AgentMessage>,
    incoming: Streaming<AgentCommand>,
    heartbeat: Interval,
    heartbeat_due: bool,
    /// Of the coordinator at the other end.
    epoch: u64,
    /// Handed out once.
    welcome: Option<Welcome>,
}

/// The stream, in whatever state it is.
pub(crate) struct Link {
    settings: ConnectionArguments,
    epochs: Epochs,
    state: State,
    /// Attempts without success.
    attempts: u32,
    /// Since the start of the agent, not of the stream.
    heartbeats: u64,
    was_attached: bool,
    first_try: Instant,
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Link")
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Nothing is connected before the first wait.
    pub(crate) fn new(settings: ConnectionArguments, epochs: Epochs) -> Self {
        let now = Instant::now();
        Self {
            settings,
            epochs,
            state: State::Waiting { until: now },
            attempts: 0,
            heartbeats: 0,
            was_attached: false,
            first_try: now,
        }
    }

    /// The coordinators that this agent has met.
    pub(crate) fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// True while a stream is open.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Waits for the next thing to happen. `hello` is asked when a stream is opened; `wants_to_send` asks for [`LinkEvent::Ready`].
    pub(crate) async fn next(&mut self, hello: impl Fn() -> AgentHello, wants_to_send: bool) -> LinkEvent {
        loop {
            match &mut self.state {
                State::Waiting { until } => {
                    sleep_until(*until).await;
                    self.state = State::Attaching(Box::pin(attach(self.settings.clone(), hello())));
                }
                State::Attaching(attaching) => match attaching.await {
                    Ok(attached) if self.epochs.is_outdated(attached.epoch) => {
                        return self.attach_failed(AttachError::Outdated {
                            found: attached.epoch,
                            newest: self.epochs.newest(),
                            file: self.epochs.file().to_owned(),
                        });
                    }
                    Ok(attached) => {
                        self.epochs.meet(attached.epoch);
                        self.state = State::Up(Box::new(attached));
                        self.attempts = 0;
                        self.was_attached = true;
                    }
                    Err(error) => return self.attach_failed(error),
                },
                State::Up(attached) => {
                    if let Some(event) = attached.next(&mut self.heartbeats, wants_to_send).await {
                        if let LinkEvent::Down(_) = event {
                            self.pause();
                        }
                        return event;
                    }
                }
            }
        }
    }

    /// Sends a message for which [`LinkEvent::Ready`] found room.
    pub(crate) fn send(&mut self, message: Message) {
        if let State::Up(attached) = &mut self.state {
            // A stream that closed in between is noticed at the next wait, and everything unacknowledged is sent again.
            let _ = attached.outgoing.try_send(AgentMessage { message: Some(message) });
        }
    }

    /// Says farewell and waits until the coordinator has read all that was sent. Gives what it answered meanwhile.
    pub(crate) async fn leave(&mut self) -> Vec<Command> {
        let mut answers = Vec::new();
        let until = Instant::now();
        let State::Up(attached) = std::mem::replace(&mut self.state, State::Waiting { until }) else {
            return answers;
        };
        let Attached {
            outgoing, mut incoming, ..
        } = *attached;
        let farewell = async {
            let _ = outgoing
                .send(AgentMessage {
                    message: Some(Message::Leaving(AgentLeaving {})),
                })
                .await;
            drop(outgoing);
            while let Ok(Some(answer)) = incoming.message().await {
                answers.extend(answer.command);
            }
        };
        let _ = timeout(CLOSE_DEADLINE, farewell).await;
        answers
    }

    /// Ends the stream, to open another one later.
    pub(crate) fn disconnect(&mut self) {
        self.pause();
    }

    fn attach_failed(&mut self, error: AttachError) -> LinkEvent {
        let name_stays_taken = error.is_name_taken() && self.first_try.elapsed() > NAME_PATIENCE;
        if error.is_replaced() || (!self.was_attached && (error.is_final() || name_stays_taken)) {
            return LinkEvent::Refused(error);
        }
        self.pause();
        LinkEvent::Down(error.to_string())
    }

    fn pause(&mut self) {
        let until = Instant::now() + full_jitter(self.attempts, uuid::Uuid::new_v4().as_u128());
        self.attempts = self.attempts.saturating_add(1);
        self.state = State::Waiting { until };
    }
}

impl Attached {
    async fn next(&mut self, heartbeats: &mut u64, wants_to_send: bool) -> Option<LinkEvent> {
        if let Some(welcome) = self.welcome.take() {
            return Some(LinkEvent::Attached(welcome));
        }
        let room = async {
            if wants_to_send || self.heartbeat_due {
                self.outgoing.reserve().await
            } else {
                pending().await
            }
        };
        tokio::select! {
            biased;
            received = self.incoming.message() => Some(match received {
                Ok(Some(AgentCommand { command: Some(command) })) => LinkEvent::Command(command),
                // A command of a newer coordinator: it knows this agent's version and must not rely on it.
                Ok(Some(AgentCommand { command: None })) => return None,
                Ok(None) => LinkEvent::Down("the coordinator closed the stream".to_owned()),
                Err(status) => LinkEvent::Down(connection::broken::reason(&status)),
            }),
            _ = self.heartbeat.tick(), if !self.heartbeat_due => {
                self.heartbeat_due = true;
                None
            }
            permit = room => match permit {
                Err(_) => Some(LinkEvent::Down("the transport gave the stream up".to_owned())),
                Ok(permit) if self.heartbeat_due => {
                    permit.send(AgentMessage { message: Some(Message::Heartbeat(AgentHeartbeat { sequence: *heartbeats })) });
                    *heartbeats += 1;
                    self.heartbeat_due = false;
                    None
                }
                Ok(_) => Some(LinkEvent::Ready),
            },
        }
    }
}

async fn attach(settings: ConnectionArguments, hello: AgentHello) -> Result<Attached, AttachError> {
    let channel = connection::connect(&settings).await?;
    let mut client = WorkerServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
    let (outgoing, stream) = mpsc::channel(OUTGOING);
    outgoing
        .try_send(AgentMessage {
            message: Some(Message::Hello(hello)),
        })
        .expect("a new channel has room");
    let welcome = async {
        let mut incoming = client
            .attach(ReceiverStream::new(stream))
            .await
            .map_err(|status| AttachError::from_status(&status))?
            .into_inner();
        match incoming
            .message()
            .await
            .map_err(|status| AttachError::from_status(&status))?
        {
            Some(AgentCommand {
                command: Some(Command::Welcome(welcome)),
            }) => Ok((welcome, incoming)),
            Some(_) => Err(AttachError::Protocol {
                found: "another command",
            }),
            None => Err(AttachError::Protocol {
                found: "the end of the stream",
            }),
        }
    };
    let (welcome, incoming) = timeout(WELCOME_DEADLINE, welcome)
        .await
        .map_err(|_| AttachError::Protocol {
            found: "nothing for ten seconds",
        })??;
    let mut heartbeat = interval(Duration::from_millis(u64::from(welcome.heartbeat_interval_ms.max(1))));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok(Attached {
        outgoing,
        incoming,
        heartbeat,
        heartbeat_due: false,
        epoch: welcome.coordinator_epoch,
        welcome: Some(welcome),
    })
}

/// A random pause below a limit that doubles with each attempt: "full jitter" of the AWS architecture blog, "Exponential Backoff And Jitter".
fn full_jitter(attempts: u32, random: u128) -> Duration {
    let limit = FIRST_PAUSE.saturating_mul(1 << attempts.min(16)).min(LONGEST_PAUSE);
    let nanoseconds = random % limit.as_nanos();
    Duration::from_nanos(u64::try_from(nanoseconds).expect("the longest pause is a few seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_fill_the_whole_range() {
        let below =
            |attempts, limit: Duration| (0..1000u128).all(|seed| full_jitter(attempts, seed * 7_919_000_003) < limit);
        assert!(below(0, FIRST_PAUSE));
        assert!(below(3, FIRST_PAUSE * 8));
        assert!(below(u32::MAX, LONGEST_PAUSE));
        let longest = (0..1000u128)
            .map(|seed| full_jitter(20, seed * 7_919_000_003))
            .max()
            .unwrap();
        assert!(longest > LONGEST_PAUSE / 2);
    }
}

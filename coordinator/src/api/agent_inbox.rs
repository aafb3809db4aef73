//! What an agent has said, in order, but for heartbeats: they overtake log lines that wait for the disk, so that a sync that takes longer
//! than a lease costs no worker.

use std::collections::VecDeque;

use firn_core::identifiers::ProcessId;
use firn_proto::v1alpha1::{AgentMessage, LogAck, LogBatch, agent_message::Message};
use futures::future::BoxFuture;
use prost::Message as _;
use tonic::{Status, Streaming};
use tracing::warn;

use super::{context::Context, refusal::invalid};
use crate::{access::Caller, logs::StoredLine};

/// Bytes of messages that wait behind log lines. Beyond that the stream is read on when there is room.
const MOST_WAITING: usize = 4 << 20;

/// The agent's side of one stream.
pub(super) struct AgentInbox {
    caller: Caller,
    messages: Streaming<AgentMessage>,
    waiting: VecDeque<AgentMessage>,
    /// Encoded size of `waiting`.
    bytes: usize,
    /// How the stream ended.
    end: Option<Result<(), Status>>,
    storing: Option<BoxFuture<'static, Result<LogAck, Status>>>,
}

/// What comes next from an agent.
#[allow(clippy::large_enum_variant, reason = "it is handed on at once")]
pub(super) enum Said {
    /// A message other than log lines.
    Message(AgentMessage),
    /// Its lines are on disk.
    Stored(LogAck),
    /// It has closed its side, and nothing that it said waits.
    End,
}

impl AgentInbox {
    /// Of a stream whose hello was read.
    pub(super) fn new(caller: Caller, messages: Streaming<AgentMessage>) -> Self {
        Self {
            caller,
            messages,
            waiting: VecDeque::new(),
            bytes: 0,
            end: None,
            storing: None,
        }
    }

    /// Waits for what comes next. Nothing is lost if the wait is dropped.
    ///
    /// # Errors
    /// When lines could not be stored, and when the stream broke; the agent has to say again what was not acknowledged.
    pub(super) async fn next(&mut self, context: &Context) -> Result<Said, Status> {
        loop {
            if self.storing.is_none() {
                match self.take_if(|_| true) {
                    Some(AgentMessage {
                        message: Some(Message::Logs(batch)),
                    }) => {
                        self.storing = Some(Box::pin(store(
                            context.clone(),
                            self.caller.clone(),
                            self.joined(batch),
                        )))
                    }
                    Some(message) => return Ok(Said::Message(message)),
                    None => {
                        if let Some(end) = self.end.take() {
                            return end.map(|()| Said::End);
                        }
                    }
                }
            }
            let may_read = self.end.is_none() && self.bytes < MOST_WAITING;
            let storing = self.storing.as_mut();
            let is_storing = storing.is_some();
            let stored = async {
                match storing {
                    Some(storing) => storing.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                stored = stored, if is_storing => {
                    self.storing = None;
                    return stored.map(Said::Stored);
                }
                read = self.messages.message(), if may_read => match read {
                    Ok(Some(message)) if matches!(message.message, Some(Message::Heartbeat(_))) => return Ok(Said::Message(message)),
                    Ok(Some(message)) => {
                        self.bytes += message.encoded_len();
                        self.waiting.push_back(message);
                    }
                    Ok(None) => self.end = Some(Ok(())),
                    Err(status) => self.end = Some(Err(status)),
                },
            }
        }
    }

    /// The message that waits longest, if it is wanted.
    fn take_if(&mut self, is_wanted: impl FnOnce(&mut AgentMessage) -> bool) -> Option<AgentMessage> {
        let message = self.waiting.pop_front_if(is_wanted)?;
        self.bytes -= message.encoded_len();
        Some(message)
    }

    /// The batch and those that go on where it ends: they share one sync.
    fn joined(&mut self, mut batch: LogBatch) -> LogBatch {
        loop {
            let end = batch.first_sequence.checked_add(batch.lines.len() as u64);
            let goes_on = |next: &LogBatch| next.process_id == batch.process_id && Some(next.first_sequence) == end;
            let next = self.take_if(|waiting| matches!(&waiting.message, Some(Message::Logs(next)) if goes_on(next)));
            let Some(AgentMessage {
                message: Some(Message::Logs(next)),
            }) = next
            else {
                return batch;
            };
            batch.lines.extend(next.lines);
        }
    }
}

async fn store(context: Context, caller: Caller, batch: LogBatch) -> Result<LogAck, Status> {
    let Some(end) = batch.first_sequence.checked_add(batch.lines.len() as u64) else {
        return Err(invalid(
            "logs.first_sequence",
            format!("expected a number of a line, found {}", batch.first_sequence),
        ));
    };
    let process_id = batch.process_id;
    let mut origin = context.origins.of(&ProcessId::from(process_id.as_str()));
    if let Some(found) = &origin
        && context.may_see(&caller, &found.job).await.is_err()
    {
        origin = None;
    }
    let Some(origin) = origin else {
        warn!(process = %process_id, lines = batch.lines.len(), "lines of a process that no job within the agent's reach had are dropped");
        return Ok(LogAck {
            process_id,
            next_sequence: end,
        });
    };
    let lines: Vec<StoredLine> = (batch.first_sequence..end)
        .zip(batch.lines)
        .map(|(sequence, line)| {
            let time = line.time.unwrap_or_default();
            StoredLine {
                process: process_id.clone(),
                rank: origin.rank,
                generation: origin.generation.0,
                sequence,
                stream: line.stream,
                text: line.text,
                seconds: time.seconds,
                nanos: time.nanos,
            }
        })
        .collect();
    let (logs, process) = (context.logs.clone(), process_id.clone());
    let stored = tokio::task::spawn_blocking(move || logs.append(origin.job.as_str(), &process, &lines)).await;
    let next_sequence = stored.expect("storing lines does not panic")?;
    Ok(LogAck {
        process_id,
        next_sequence,
    })
}

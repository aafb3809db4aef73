//! The open streams of the agents, and what waits to be sent on each.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use firn_core::identifiers::StreamId;
use firn_proto::v1alpha1::AgentCommand;
use tokio::sync::mpsc;

/// Commands that can wait for one agent. One that is so far behind is cut off: when it attaches again it is told everything anew.
const OUTBOX: usize = 512;

/// All outboxes, by stream.
#[derive(Debug, Clone, Default)]
pub struct Outboxes {
    open: Arc<Mutex<BTreeMap<StreamId, mpsc::Sender<AgentCommand>>>>,
    next: Arc<AtomicU64>,
}

/// The receiving end of one stream's outbox. It is taken off the list when it is dropped.
#[derive(Debug)]
pub struct Outbox {
    stream: StreamId,
    commands: mpsc::Receiver<AgentCommand>,
    outboxes: Outboxes,
}

impl Outboxes {
    /// An outbox for a stream that gets the next number.
    pub fn open(&self) -> Outbox {
        let stream = StreamId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, commands) = mpsc::channel(OUTBOX);
        self.lock().insert(stream, sender);
        Outbox {
            stream,
            commands,
            outboxes: self.clone(),
        }
    }

    /// Puts a command into the outbox of a stream; closes the stream if it is full. `false`: the stream is gone.
    pub fn send(&self, stream: StreamId, command: AgentCommand) -> bool {
        let mut open = self.lock();
        let Some(sender) = open.get(&stream) else { return false };
        if sender.try_send(command).is_err() {
            open.remove(&stream);
            return false;
        }
        true
    }

    /// Closes a stream once its outbox is empty.
    pub fn close(&self, stream: StreamId) {
        self.lock().remove(&stream);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<StreamId, mpsc::Sender<AgentCommand>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Its number.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The next command; `None` once the stream is to end.
    pub async fn next(&mut self) -> Option<AgentCommand> {
        self.commands.recv().await
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.outboxes.close(self.stream);
    }
}

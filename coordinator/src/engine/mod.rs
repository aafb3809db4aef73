//! The engine: one task owns the state, and nothing happens that is not on disk.
//!
//! Everyone else holds an [`EngineHandle`] and puts messages into its bounded mailbox. The engine takes what waits there as one batch,
//! lets the core decide on each message in order, appends all records to the journal in one commit, and only then carries out effects,
//! answers, and wakes those who wait for a change. So many callers share one fsync, and no answer ever runs ahead of the disk. Messages
//! without records (heartbeats, leases of shards, questions) cost no fsync at all.
//!
//! Two states are kept, which share what is old: decisions are made on one that runs ahead with the batch at hand, and readers see one that
//! is carried along behind each commit. If the journal fails, the one that ran ahead is thrown away; the engine then takes nothing more in
//! and answers questions from what is durable (see [`Standing`]).

mod batch;
mod changes;
mod clock;
mod compaction;
mod effects;
mod handle;
mod open_questions;
mod outboxes;
mod recovery;
mod scoring;
mod standing;
#[cfg(test)]
mod tests;
mod upkeep;
mod watch;

use std::{sync::Arc, time::Instant};

use firn_core::{Event, Input, JobEvent, Now, Record, State, state::Tokens};
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use crate::{
    artifacts::ArtifactError,
    fail_point::{self, FailPoint},
    journal::{Encoded, Journal, JournalError, Room},
    metrics::Metrics,
};

pub use changes::Changes;
pub use clock::Clock;
pub use effects::EffectExecutor;
pub use handle::{EngineHandle, Refusal, Stopped};
pub use outboxes::{Outbox, Outboxes};
pub use recovery::{Recovered, recover};
pub use standing::{NotWritten, Standing};

use batch::Batch;
use compaction::Prunable;
use handle::{Message, Outcome};
use open_questions::OpenQuestions;
use upkeep::Upkeep;
use watch::Watch;

/// Messages that can wait. A caller beyond that waits at the door: nothing is ever dropped.
const MAILBOX: usize = 1024;
/// Most messages that share one commit, so that the first of them does not wait for ever.
const BATCH: usize = 128;

/// Why the engine ended by itself.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The files of the jobs cannot be brought in line with the journal.
    #[error("the files of the jobs cannot be checked: {0}")]
    Artifacts(#[from] ArtifactError),
}

/// Owns the state.
pub struct Engine {
    /// As it is on disk: what readers see.
    durable: State,
    /// `durable` and what the batch at hand has led to: what the next message is decided on.
    ahead: State,
    /// `None` only while a commit is running on another thread.
    journal: Option<Journal>,
    standing: tokio::sync::watch::Sender<Standing>,
    /// Those of `durable`.
    tokens: tokio::sync::watch::Sender<Arc<Tokens>>,
    /// Why the standing is read-only.
    failure: Option<JournalError>,
    /// Whether records before a snapshot have not been looked at yet.
    unread: bool,
    /// Whether the journal may hold texts of jobs that are gone.
    has_remains: bool,
    upkeep: Upkeep,
    metrics: Arc<Metrics>,
    clock: Clock,
    mailbox: mpsc::Receiver<Message>,
    executor: EffectExecutor,
    changes: Changes,
    open: OpenQuestions,
}

impl Engine {
    /// An engine over a recovered state, and the handle to its mailbox.
    pub fn new(
        recovered: Recovered,
        journal: Journal,
        clock: Clock,
        executor: impl FnOnce(&EngineHandle) -> EffectExecutor,
    ) -> (Self, EngineHandle) {
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let changes = Changes::default();
        let (standing, seen) = tokio::sync::watch::channel(Standing::Writing);
        let (tokens, taken) = tokio::sync::watch::channel(Arc::clone(&recovered.state.tokens));
        let handle = EngineHandle::new(sender, changes.clone(), (seen, taken));
        let executor = executor(&handle);
        let engine = Self {
            durable: recovered.state.clone(),
            ahead: recovered.state,
            unread: recovered.is_from_snapshot,
            has_remains: journal.has_remains().unwrap_or(true),
            upkeep: recovered.upkeep,
            metrics: Arc::default(),
            journal: Some(journal),
            standing,
            tokens,
            failure: None,
            clock,
            mailbox,
            executor,
            changes,
            open: OpenQuestions::default(),
        };
        (engine, handle)
    }

    /// The same, and what it does is measured.
    #[must_use]
    pub fn measured_by(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Runs until the mailbox is closed by [`EngineHandle::close`] and empty.
    ///
    /// # Errors
    /// When the journal could not be written. Nothing that was not durable has been answered.
    pub async fn run(mut self) -> Result<(), EngineError> {
        let mut messages = Vec::with_capacity(BATCH);
        let mut watch = Watch::begin(self.durable.settings.lease, self.clock.now());
        if let Some(journal) = self.journal.as_ref().filter(|_| self.unread) {
            upkeep::read_everything(journal.reader());
        }
        loop {
            if self.mailbox.is_empty() {
                self.remove_texts().await;
            }
            // What is due when nothing can be written is due after the restart.
            let due = firn_core::deadline(&self.durable).filter(|_| self.failure.is_none());
            let look = watch.next_look();
            tokio::select! {
                biased;
                () = self.clock.reached(Some(due.map_or(look, |due| due.min(look)))) => {
                    messages.extend(due.filter(|due| *due <= self.clock.now()).map(|_| Message::from(Input::Tick)));
                }
                found = self.upkeep.done() => self.compact(found).await,
                received = self.mailbox.recv_many(&mut messages, BATCH) => {
                    if received == 0 {
                        break;
                    }
                }
            }
            if let Some(slept) = watch.look(self.clock.now()) {
                warn!(
                    slept,
                    "the engine could not take anything in for so many milliseconds, which count against nobody"
                );
                messages.insert(0, Message::from(Input::Woken { slept }));
            }
            if messages.iter().any(|message| matches!(message, Message::Close)) {
                // What is in the mailbox already is still answered; nobody can add to it.
                self.mailbox.close();
            }
            let batch = self.decide_all(messages.drain(..));
            self.commit(batch).await;
        }
        self.executor.finish().await;
        self.upkeep.finish().await;
        info!(
            records = self.journal.as_ref().map(Journal::len),
            "the engine has stopped"
        );
        self.failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn decide_all(&mut self, messages: impl ExactSizeIterator<Item = Message>) -> Batch {
        let mut batch = Batch::default();
        let mut has_looked = false;
        for message in messages {
            let now = self.clock.now();
            match message {
                Message::Input { input, answer } => {
                    if !has_looked && !input.is_vital() {
                        self.look_at_room();
                        has_looked = true;
                    }
                    let sender = input.sender();
                    let outcome = self.decide(now, *input, &mut batch);
                    if let Some(answer) = answer {
                        batch.answer_later(answer, sender, outcome);
                    }
                }
                Message::Question(question) => batch.ask_later(question),
                Message::OpenQuestion { job, question } => batch.ask_until_answered(job, question),
                Message::Close => {}
            }
        }
        batch
    }

    /// Decides on one input and changes the state that runs ahead. Nobody outside sees the change before it is durable.
    fn decide(&mut self, now: Now, input: Input, batch: &mut Batch) -> Outcome {
        self.standing.borrow().admit(&input)?;
        let began = Instant::now();
        let decision = firn_core::decide(&self.ahead, now, input).inspect_err(|reject| debug!(%reject, "refused"));
        self.metrics.decided(began.elapsed());
        let decision = decision?;
        let taken = batch.add(decision, &mut self.ahead);
        if let Err(refusal) = &taken {
            error!(%refusal, "a decision cannot be recorded");
        }
        taken
    }

    /// Nearly full, or no longer?
    fn look_at_room(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|_| self.failure.is_none()) else {
            return;
        };
        let standing = match journal.room() {
            Room::Ample => Standing::Writing,
            Room::Short { free, wanted } => Standing::Sparing {
                folder: journal.folder().to_owned(),
                free,
                wanted,
            },
        };
        let was_writing = *self.standing.borrow() == Standing::Writing;
        match &standing {
            Standing::Sparing { folder, free, wanted } if was_writing => {
                warn!(folder = %folder.display(), free, wanted, "the disk is nearly full: only what ends something is recorded until there is room");
            }
            Standing::Writing if !was_writing => info!("there is room on the disk again: everything is taken in"),
            _ => {}
        }
        self.standing.send_replace(standing);
    }

    async fn commit(&mut self, mut batch: Batch) {
        if !batch.records.is_empty() {
            let encoded = std::mem::take(&mut batch.encoded);
            let bytes = encoded.iter().map(Encoded::bytes).sum();
            let began = Instant::now();
            let written = self.write(move |journal| journal.append(&encoded)).await;
            self.metrics.appended(began.elapsed());
            if let Err(failure) = written {
                self.fall_back(failure);
                batch.refuse(&self.standing.borrow(), &self.durable, &mut self.open);
                return;
            }
            fail_point::pass(FailPoint::CommitBeforeEffects);
            for record in &batch.records {
                self.executor.recorded(record);
                self.metrics.recorded(record);
            }
            self.has_remains |= batch.records.iter().any(ends_strand);
            self.upkeep.recorded(&batch.records, bytes);
        }
        batch.enact(&mut self.durable);
        // Before anybody is answered: a token that was taken back is refused by then.
        if !Arc::ptr_eq(&self.tokens.borrow(), &self.durable.tokens) {
            self.tokens.send_replace(Arc::clone(&self.durable.tokens));
        }
        for effect in batch.effects.drain(..) {
            self.executor.carry_out(effect, &self.durable);
        }
        let has_records = !batch.records.is_empty();
        let touched = std::mem::take(&mut batch.touched);
        if has_records {
            fail_point::pass(FailPoint::CommitBeforeReply);
        }
        // Before those that come with this batch, which see what it has led to anyway.
        self.open.ask(&touched, &self.durable);
        batch.release(&self.durable, &mut self.open);
        if has_records {
            fail_point::pass(FailPoint::CommitAfterReply);
        }
        self.changes.notify(&touched, &self.durable);
        self.begin_upkeep();
    }

    /// Takes a snapshot, if one is due and there is room for it.
    fn begin_upkeep(&mut self) {
        let is_writing = *self.standing.borrow() == Standing::Writing;
        if let Some(journal) = self.journal.as_ref().filter(|_| is_writing) {
            self.upkeep
                .begin_if_due(journal, &self.durable, self.executor.origins());
        }
    }

    /// Drops the text of records that are not needed.
    async fn compact(&mut self, found: Prunable) {
        let is_writing = *self.standing.borrow() == Standing::Writing;
        for part in found.parts().take_while(|_| is_writing) {
            if let Err(failure) = self.write(move |journal| journal.compact(&part)).await {
                self.fall_back(failure);
                return;
            }
        }
    }

    /// Removes texts of jobs that are gone, a part at a time: in between, whoever waits is heard.
    async fn remove_texts(&mut self) {
        let is_writing = *self.standing.borrow() == Standing::Writing;
        while self.has_remains && is_writing && self.mailbox.is_empty() {
            match self.write(Journal::remove_texts).await {
                Ok(has_more) => self.has_remains = has_more,
                Err(failure) => return self.fall_back(failure),
            }
        }
    }

    /// fsync blocks, so it runs beside the other tasks.
    async fn write<T: Send + 'static>(
        &mut self,
        write: impl FnOnce(&mut Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let mut journal = self
            .journal
            .take()
            .expect("no other commit is running: the engine is one task");
        let write = move || {
            let written = write(&mut journal);
            (journal, written)
        };
        let (journal, written) = tokio::task::spawn_blocking(write)
            .await
            .expect("writing the journal does not panic");
        self.journal = Some(journal);
        written
    }

    /// Nothing is written any more: back to the state that is on disk.
    fn fall_back(&mut self, failure: JournalError) {
        error!(%failure, "the journal failed: the coordinator only answers questions until it is restarted, so that nothing is acknowledged that is not on disk");
        self.ahead = self.durable.clone();
        self.standing.send_replace(Standing::read_only(&failure));
        self.failure = Some(failure);
        // Ranks that wait for something ask again, and are told to wait for another coordinator.
        self.changes.notify_all();
    }
}

/// Whether it is the last record of a job that was deleted.
fn ends_strand(record: &Record) -> bool {
    matches!(
        &record.event,
        Event::Job {
            event: JobEvent::Erased { .. },
            ..
        }
    )
}

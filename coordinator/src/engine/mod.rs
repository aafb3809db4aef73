//! The engine: one task owns the state, and nothing happens that is not on disk.
//!
//! Everyone else holds an [`EngineHandle`] and puts letters into its bounded mailbox. The engine takes what waits there as one batch,
//! lets the core decide on each letter in order, appends all records to the journal in one commit, and only then carries out effects,
//! answers, and wakes those who wait for a change. So many callers share one fsync, and no answer ever runs ahead of the disk. Letters
//! without records (heartbeats, leases of shards, questions) cost no fsync at all.
//!
//! If the journal fails, what is on disk is unknown. The engine then answers nobody, ends, and takes the whole coordinator down with it: a
//! restart finds the truth in the journal.

mod batch;
mod changes;
mod clock;
mod effects;
mod handle;
mod outboxes;
mod recovery;
mod scoring;
#[cfg(test)]
mod tests;
mod watch;

use firn_core::{Input, Now, Record, State};
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use crate::{
    artifacts::ArtifactError,
    journal::{Journal, JournalError},
};

pub use changes::Changes;
pub use clock::Clock;
pub use effects::Hands;
pub use handle::{EngineHandle, Refusal, Stopped};
pub use outboxes::{Outbox, Outboxes};
pub use recovery::recover;

use batch::{Batch, Outcome};
use handle::Letter;
use watch::Watch;

/// Letters that can wait. A caller beyond that waits at the door: nothing is ever dropped.
const MAILBOX: usize = 1024;
/// Most letters that share one commit, so that the first of them does not wait for ever.
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
    state: State,
    /// `None` only while a commit is running on another thread.
    journal: Option<Journal>,
    clock: Clock,
    mailbox: mpsc::Receiver<Letter>,
    hands: Hands,
    changes: Changes,
}

impl Engine {
    /// An engine over a recovered state, and the handle to its mailbox.
    pub fn new(
        state: State,
        journal: Journal,
        clock: Clock,
        hands: impl FnOnce(&EngineHandle) -> Hands,
    ) -> (Self, EngineHandle) {
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let changes = Changes::default();
        let handle = EngineHandle::new(sender, changes.clone());
        let hands = hands(&handle);
        (
            Self {
                state,
                journal: Some(journal),
                clock,
                mailbox,
                hands,
                changes,
            },
            handle,
        )
    }

    /// Runs until the mailbox is closed by [`EngineHandle::close`] and empty, or the journal fails.
    ///
    /// # Errors
    /// When the journal cannot be written. Nothing that was not durable has been answered.
    pub async fn run(mut self) -> Result<(), EngineError> {
        let mut letters = Vec::with_capacity(BATCH);
        let mut watch = Watch::begin(self.state.settings.lease, self.clock.now());
        loop {
            let due = firn_core::deadline(&self.state);
            let look = watch.next_look();
            tokio::select! {
                biased;
                () = self.clock.reached(Some(due.map_or(look, |due| due.min(look)))) => {
                    letters.extend(due.filter(|due| *due <= self.clock.now()).map(|_| Letter::from(Input::Tick)));
                }
                received = self.mailbox.recv_many(&mut letters, BATCH) => {
                    if received == 0 {
                        break;
                    }
                }
            }
            if watch.look(self.clock.now()) {
                warn!("the engine could not take anything in for a while; silence counts from now");
                letters.insert(0, Letter::from(Input::Woken));
            }
            if letters.iter().any(|letter| matches!(letter, Letter::Close)) {
                // What is in the mailbox already is still answered; nobody can add to it.
                self.mailbox.close();
            }
            let batch = self.decide_all(letters.drain(..));
            self.commit(batch).await?;
        }
        self.hands.finish().await;
        info!(
            records = self.journal.as_ref().map(Journal::len),
            "the engine has stopped"
        );
        Ok(())
    }

    fn decide_all(&mut self, letters: impl Iterator<Item = Letter>) -> Batch {
        let mut batch = Batch::default();
        for letter in letters {
            let now = self.clock.now();
            match letter {
                Letter::Input { input, answer } => {
                    let outcome = self.decide(now, *input, &mut batch);
                    batch.answer(answer, outcome);
                }
                Letter::Question(question) => batch.release_later(question(&self.state)),
                Letter::Close => {}
            }
        }
        batch
    }

    /// Decides on one input and changes the state. Nobody outside sees the change before it is durable.
    fn decide(&mut self, now: Now, input: Input, batch: &mut Batch) -> Outcome {
        let decision = match firn_core::decide(&self.state, now, input) {
            Ok(decision) => decision,
            Err(reject) => {
                debug!(%reject, "refused");
                return Err(Refusal::Reject(reject));
            }
        };
        firn_core::enact(&mut self.state, &decision);
        batch.add(decision)
    }

    async fn commit(&mut self, batch: Batch) -> Result<(), EngineError> {
        let Batch {
            records,
            effects,
            releases,
            touched,
        } = batch;
        if !records.is_empty() {
            self.append(records).await?;
        }
        for effect in effects {
            self.hands.carry_out(effect, &self.state);
        }
        for release in releases {
            release();
        }
        self.changes.notify(&touched);
        Ok(())
    }

    /// fsync blocks, so it runs beside the other tasks.
    async fn append(&mut self, records: Vec<Record>) -> Result<(), EngineError> {
        let mut journal = self
            .journal
            .take()
            .expect("no other commit is running: the engine is one task");
        let append = move || {
            let appended = journal.append(&records);
            (journal, records, appended)
        };
        let (journal, records, appended) = tokio::task::spawn_blocking(append)
            .await
            .expect("appending does not panic");
        self.journal = Some(journal);
        appended.map_err(|failure| {
            error!(%failure, "the journal failed: the coordinator stops, so that nothing is acknowledged that is not on disk");
            EngineError::Journal(failure)
        })?;
        records.iter().for_each(|record| self.hands.recorded(record));
        Ok(())
    }
}

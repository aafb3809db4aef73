//! The way to the engine.

use std::sync::Arc;

use firn_core::{Input, Reject, Reply, State, identifiers::JobId, state::Tokens};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    changes::Changes,
    open_questions::{Asked, OpenQuestion},
    standing::{NotWritten, Standing},
};

/// What an input came to.
pub(super) type Outcome = Result<Reply, Refusal>;

/// Reads the state and sends the answer.
pub(super) type Question = Box<dyn FnOnce(&State) + Send>;

/// Takes what an input came to, and may look at what is durable by then.
pub(super) type Answer = Box<dyn FnOnce(Outcome, &State) + Send>;

/// What can lie in the mailbox.
pub(super) enum Message {
    /// Something happened; who is told what it came to.
    Input { input: Box<Input>, answer: Option<Answer> },
    /// Somebody wants to know what is durable.
    Question(Question),
    /// Somebody wants to know something of a job, as soon as that has an answer.
    OpenQuestion {
        job: JobId,
        question: Box<dyn OpenQuestion>,
    },
    /// Take nothing more in.
    Close,
}

/// One that nobody waits for.
impl From<Input> for Message {
    fn from(input: Input) -> Self {
        Self::Input {
            input: Box::new(input),
            answer: None,
        }
    }
}

/// Why an input came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The core refused it.
    #[error(transparent)]
    Reject(#[from] Reject),
    /// Nothing is written just now, or the write failed.
    #[error(transparent)]
    NotWritten(#[from] NotWritten),
    /// What would have to be recorded cannot be read back.
    #[error("what this call leads to cannot be recorded: {reason}")]
    Unrecordable {
        /// What its JSON lacks.
        reason: String,
    },
    /// The engine has ended; whether the input took effect is only known after a restart.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The engine has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the coordinator is stopping")]
pub struct Stopped;

/// Puts messages into the engine's mailbox.
#[derive(Clone)]
pub struct EngineHandle {
    mailbox: mpsc::Sender<Message>,
    changes: Changes,
    standing: watch::Receiver<Standing>,
    tokens: watch::Receiver<Arc<Tokens>>,
}

impl EngineHandle {
    pub(super) fn new(
        mailbox: mpsc::Sender<Message>,
        changes: Changes,
        (standing, tokens): (watch::Receiver<Standing>, watch::Receiver<Arc<Tokens>>),
    ) -> Self {
        Self {
            mailbox,
            changes,
            standing,
            tokens,
        }
    }

    /// Messages that wait in the mailbox.
    pub fn waiting(&self) -> usize {
        self.mailbox.max_capacity() - self.mailbox.capacity()
    }

    /// Whether everything is taken in at the moment.
    pub fn is_writing(&self) -> bool {
        *self.standing.borrow() == Standing::Writing
    }

    /// The tokens that are taken, now and from now on.
    pub fn tokens(&self) -> watch::Receiver<Arc<Tokens>> {
        self.tokens.clone()
    }

    /// Whether the engine can write, now and from now on.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Tells the core that something happened; answers once it is durable.
    ///
    /// # Errors
    /// When the core refuses, or the engine has ended.
    pub async fn tell(&self, input: Input) -> Outcome {
        self.tell_and_look(input, |reply, _| reply).await
    }

    /// Like [`Self::tell`], and looks at the state that the input has led to: one wait for the disk instead of two.
    ///
    /// # Errors
    /// When the core refuses, or the engine has ended.
    pub async fn tell_and_look<T: Send + 'static>(
        &self,
        input: Input,
        look: impl FnOnce(Reply, &State) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        // A caller that has gone away needs no answer.
        let answer = move |outcome: Outcome, state: &State| {
            drop(answer.send(outcome.map(|reply| look(reply, state))));
        };
        let message = Message::Input {
            input: Box::new(input),
            answer: Some(Box::new(answer)),
        };
        self.mailbox.send(message).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Refusal::from(Stopped))?
    }

    /// Like [`Self::tell`], from where one cannot wait. Only for inputs that the core asks for again if they get lost.
    pub fn tell_later(&self, input: Input) {
        // A full mailbox is one that holds plenty of work to do first.
        let _ = self.mailbox.try_send(Message::Input {
            input: Box::new(input),
            answer: None,
        });
    }

    /// Repeats an input after every change of the job for as long as the core answers [`Reply::Wait`].
    ///
    /// # Errors
    /// When the core refuses, or the engine has ended.
    pub async fn tell_until_ready(&self, job: &JobId, input: impl Fn() -> Input) -> Outcome {
        let mut changes = self.changes.of(job);
        loop {
            changes.borrow_and_update();
            match self.tell(input()).await? {
                Reply::Wait => changed(&mut changes).await?,
                reply => return Ok(reply),
            }
        }
    }

    /// Tells the core once; while the answer is [`Reply::Wait`], the engine asks the question after every change of the job.
    ///
    /// # Errors
    /// When the core refuses, or the engine has ended.
    pub async fn tell_then_ask<Q>(&self, job: &JobId, input: Input, question: Q) -> Outcome
    where
        Q: Fn(&State) -> Result<Reply, Reject> + Send + 'static,
    {
        match self.tell(input).await? {
            Reply::Wait => {}
            reply => return Ok(reply),
        }
        let (answer, answered) = oneshot::channel();
        let message = Message::OpenQuestion {
            job: job.clone(),
            question: Box::new(Asked::new(question, answer)),
        };
        self.mailbox.send(message).await.map_err(|_| Stopped)?;
        Ok(answered.await.map_err(|_| Stopped)??)
    }

    /// Reads the state, as it is on disk.
    ///
    /// # Errors
    /// When the engine has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        // A caller that has gone away needs no answer.
        let question = move |state: &State| drop(answer.send(question(state)));
        self.mailbox
            .send(Message::Question(Box::new(question)))
            .await
            .map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// Sees every change of the job from now on.
    pub fn changes(&self, job: &JobId) -> watch::Receiver<u64> {
        self.changes.of(job)
    }

    /// Lets the engine answer what is in its mailbox, and then end.
    pub async fn close(&self) {
        // An engine that has ended already is closed.
        let _ = self.mailbox.send(Message::Close).await;
    }
}

async fn changed(changes: &mut watch::Receiver<u64>) -> Result<(), Stopped> {
    changes.changed().await.map_err(|_| Stopped)
}

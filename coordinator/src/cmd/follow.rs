//! Follows a job through snapshots until it has ended, through restarts of the coordinator.
//!
//! A connection that was never made is reported at once: the address is probably wrong. One that was made and broke is
//! made again with growing pauses, for as long as the patience lasts, because jobs run on while their coordinator is
//! away.
//!
//! [`Follower::next`] can be dropped and called again at any await: it keeps its place in `self`.

use std::time::Duration;

use firn_proto::v1alpha1::{FineTuneJob, WatchJobRequest};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Code, Request, Status, Streaming};

use super::{
    connection::{Connection, resource_name},
    error::{CommandError, is_transport},
    outcome::Outcome,
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a coordinator may be away before following it is given up, if no `--timeout` says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// What happened to a job that is followed.
#[derive(Debug)]
pub(crate) enum Event {
    /// The job as it is now.
    Snapshot(Box<FineTuneJob>),
    /// The coordinator went away, and why; said once for each break.
    Lost(String),
    /// The coordinator is back.
    Back,
    /// The time limit passed.
    TimeLimit,
}

/// Follows one job.
pub(crate) struct Follower {
    connection: Connection,
    job: String,
    deadline: Option<Instant>,
    stream: Option<Streaming<FineTuneJob>>,
    /// Set once the coordinator has answered.
    reached: bool,
    back: bool,
    lost: Option<Lost>,
}

struct Lost {
    since: Instant,
    reason: String,
    pause: Duration,
    retry_at: Instant,
}

impl Follower {
    /// Follows `job` (an id or a resource name) for at most `limit`.
    pub(crate) fn new(connection: &Connection, job: &str, limit: Option<Duration>) -> Self {
        Self {
            connection: connection.clone(),
            job: resource_name(job),
            deadline: limit.map(|limit| Instant::now() + limit),
            stream: None,
            reached: false,
            back: false,
            lost: None,
        }
    }

    /// Waits for what happens next. After a snapshot of a job that has ended there is nothing to wait for.
    pub(crate) async fn next(&mut self) -> Result<Event, CommandError> {
        let Some(deadline) = self.deadline else {
            return self.next_event().await;
        };
        match timeout_at(deadline, self.next_event()).await {
            Ok(event) => event,
            Err(_) => match &self.lost {
                Some(lost) => Err(self.unreachable(lost.reason.clone())),
                None if !self.reached => Err(self.unreachable("no answer within the time limit".to_owned())),
                None => Ok(Event::TimeLimit),
            },
        }
    }

    /// Waits until the job has ended, without a word. `None`: the time limit passed first.
    pub(crate) async fn until_ended(&mut self) -> Result<Option<(FineTuneJob, Outcome)>, CommandError> {
        loop {
            match self.next().await? {
                Event::Snapshot(job) => {
                    if let Some(outcome) = Outcome::of_job(&job) {
                        return Ok(Some((*job, outcome)));
                    }
                }
                Event::Lost(_) | Event::Back => {}
                Event::TimeLimit => return Ok(None),
            }
        }
    }

    async fn next_event(&mut self) -> Result<Event, CommandError> {
        loop {
            if std::mem::take(&mut self.back) {
                return Ok(Event::Back);
            }
            let broken = match self.stream.as_mut() {
                None => self.open().await?,
                Some(stream) => match stream.message().await {
                    Ok(Some(job)) => return Ok(Event::Snapshot(Box::new(job))),
                    // The last snapshot of a stream that ends well shows a job that has ended, and nobody asks for
                    // more.
                    Ok(None) => Some(Status::unavailable("the coordinator ended the stream")),
                    Err(status) => Some(status),
                },
            };
            if let Some(status) = broken
                && let Some(event) = self.broke(&status)?
            {
                return Ok(event);
            }
        }
    }

    /// Opens the stream; the status with which that failed, if it did.
    async fn open(&mut self) -> Result<Option<Status>, CommandError> {
        if let Some(lost) = &self.lost {
            sleep_until(lost.retry_at).await;
        }
        let request = Request::new(WatchJobRequest { name: self.job.clone() });
        let mut jobs = self.connection.jobs();
        match self.connection.opened(jobs.watch_job(request)).await {
            Ok(stream) => {
                self.stream = Some(stream);
                self.reached = true;
                self.back = self.lost.take().is_some();
                Ok(None)
            }
            Err(status) => Ok(Some(status)),
        }
    }

    fn broke(&mut self, status: &Status) -> Result<Option<Event>, CommandError> {
        self.stream = None;
        if !can_pass(status) || !self.reached {
            return Err(self.connection.refusal(status));
        }
        let now = Instant::now();
        let Some(lost) = &mut self.lost else {
            let reason = status.message().to_owned();
            self.lost = Some(Lost {
                since: now,
                reason: reason.clone(),
                pause: FIRST_PAUSE,
                retry_at: now + FIRST_PAUSE,
            });
            return Ok(Some(Event::Lost(reason)));
        };
        if self.deadline.is_none() && now.duration_since(lost.since) >= PATIENCE {
            let reason = lost.reason.clone();
            return Err(self.unreachable(reason));
        }
        lost.pause = (lost.pause * 2).min(LONGEST_PAUSE);
        lost.retry_at = now + lost.pause;
        Ok(None)
    }

    fn unreachable(&self, reason: String) -> CommandError {
        CommandError::Unreachable {
            address: self.connection.address.clone(),
            reason,
        }
    }
}

/// Whether a coordinator that restarts can be the cause.
fn can_pass(status: &Status) -> bool {
    is_transport(status) || matches!(status.code(), Code::Aborted | Code::Cancelled)
}

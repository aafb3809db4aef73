//! One operation's name, deadline and abort: everything that waiting needs to know, and that an error must say.

use std::io;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{AbortHandle, Announcement, CollectiveError};

/// An operation under way.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) rank: u32,
    pub(super) announcement: Announcement,
    within: Duration,
    started: Instant,
    abort: &'a AbortHandle,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(rank: u32, announcement: Announcement, within: Duration, abort: &'a AbortHandle) -> Self {
        Self {
            rank,
            announcement,
            within,
            started: Instant::now(),
            abort,
        }
    }

    /// Fails when the operation was aborted or has run out of time.
    pub(super) fn check(&self, waiting_for: impl FnOnce() -> String) -> Result<(), CollectiveError> {
        if self.abort.is_aborted() {
            return Err(self.aborted());
        }
        if self.started.elapsed() >= self.within {
            return Err(self.expired(waiting_for()));
        }
        Ok(())
    }

    /// Waits until one of the descriptors is ready, at most `at_most`; an abort wakes it. The first descriptor of `descriptors` must be
    /// the one of [`Attempt::wake`].
    pub(super) fn wait(
        &self,
        descriptors: &mut [PollFd<'_>],
        at_most: Duration,
        waiting_for: impl FnOnce() -> String,
    ) -> Result<(), CollectiveError> {
        let left = self.within.saturating_sub(self.started.elapsed()).min(at_most);
        // Rounded up, so that a wait never ends just before its deadline and spins.
        let milliseconds = left.as_micros().div_ceil(1000).min(i32::MAX as u128);
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        match poll(descriptors, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => self.check(waiting_for),
            Err(errno) => Err(self.socket("wait for its neighbours", errno.into())),
        }
    }

    /// The descriptor that an abort makes readable.
    pub(super) fn wake(&self) -> PollFd<'a> {
        PollFd::new(
            self.abort
                .wake()
                .expect("a ring's abort handle is made with a wake descriptor"),
            PollFlags::POLLIN,
        )
    }

    pub(super) fn aborted(&self) -> CollectiveError {
        CollectiveError::Aborted {
            rank: self.rank,
            operation: self.announcement.operation,
            sequence: self.announcement.sequence,
        }
    }

    fn expired(&self, waiting_for: String) -> CollectiveError {
        CollectiveError::DeadlineExpired {
            rank: self.rank,
            operation: self.announcement.operation,
            sequence: self.announcement.sequence,
            within: self.within,
            waiting_for,
        }
    }

    /// A connection ended. If an abort ended it, that is the error.
    pub(super) fn lost(&self, peer: u32, reason: impl ToString) -> CollectiveError {
        if self.abort.is_aborted() {
            return self.aborted();
        }
        CollectiveError::PeerLost {
            rank: self.rank,
            lost: peer,
            operation: self.announcement.operation,
            sequence: self.announcement.sequence,
            reason: reason.to_string(),
        }
    }

    pub(super) fn socket(&self, what: &'static str, source: io::Error) -> CollectiveError {
        CollectiveError::Socket {
            rank: self.rank,
            what,
            source,
        }
    }
}

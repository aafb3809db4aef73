//! Waiting for NCCL, which offers nothing to wait on: look again and again, with a deadline and an ear for the abort.

use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{AbortHandle, CollectiveError, Operation};

/// Time of yielding before a wait starts to doze. A small all-reduce is over by then.
const ATTENTIVE: Duration = Duration::from_millis(2);

/// One wait: what for, since when, how long.
pub(super) struct Wait<'a> {
    pub(super) rank: u32,
    pub(super) operation: Operation,
    pub(super) sequence: u64,
    pub(super) within: Duration,
    pub(super) started: Instant,
    pub(super) abort: &'a AbortHandle,
}

impl Wait<'_> {
    /// Fails when aborted or out of time; else lets a little time pass.
    pub(super) fn pass(&self, waiting_for: &str) -> Result<(), CollectiveError> {
        let Self {
            rank,
            operation,
            sequence,
            within,
            ..
        } = *self;
        if self.abort.is_aborted() {
            return Err(CollectiveError::Aborted {
                rank,
                operation,
                sequence,
            });
        }
        let elapsed = self.started.elapsed();
        if elapsed >= within {
            let waiting_for = waiting_for.to_owned();
            return Err(CollectiveError::DeadlineExpired {
                rank,
                operation,
                sequence,
                within,
                waiting_for,
            });
        }
        match self.abort.wake() {
            // NCCL offers no descriptor to wait on; the abort does, and ends the doze.
            Some(wake) if elapsed > ATTENTIVE => {
                let _ = poll(&mut [PollFd::new(wake, PollFlags::POLLIN)], PollTimeout::from(1u8));
            }
            _ => std::thread::yield_now(),
        }
        Ok(())
    }
}

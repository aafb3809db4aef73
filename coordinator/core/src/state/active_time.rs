//! For how long a job has been active: from its first formation on, without the time in which it was suspended.

use serde::{Deserialize, Serialize};

use crate::now::Now;

/// The clock of a job. It stands before the first formation and while the job is suspended; nothing else stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ActiveTime {
    has_started: bool,
    /// Milliseconds until it was stopped last.
    spent: u64,
    /// Since when it runs.
    since: Option<Now>,
}

impl ActiveTime {
    /// A gang was formed; only the first one starts the clock.
    pub(crate) fn start(&mut self, at: Now) {
        if !self.has_started {
            self.has_started = true;
            self.since = Some(at);
        }
    }

    /// The job was suspended.
    pub(crate) fn stop(&mut self, at: Now) {
        if let Some(since) = self.since.take() {
            self.spent += at.since(since);
        }
    }

    /// The job was resumed.
    pub(crate) fn go_on(&mut self, at: Now) {
        if self.has_started {
            self.since.get_or_insert(at);
        }
    }

    /// When the job will have been active for `limit` milliseconds; `None`: the clock stands.
    pub fn end_of(&self, limit: u64) -> Option<Now> {
        Some(self.since? + limit.saturating_sub(self.spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_a_job_is_suspended_does_not_count() {
        let mut active = ActiveTime::default();
        active.go_on(Now(5));
        assert_eq!(active.end_of(100), None, "nothing has started");
        active.start(Now(10));
        active.start(Now(20));
        assert_eq!(active.end_of(100), Some(Now(110)));
        active.stop(Now(40));
        assert_eq!(active.end_of(100), None);
        active.start(Now(900));
        active.go_on(Now(1_000));
        assert_eq!(active.end_of(100), Some(Now(1_070)));
    }
}

//! Whether the engine has been awake.
//!
//! A slow disk, a busy machine or SIGSTOP can keep it from its mailbox for longer than a lease. When it goes on, every lease has ended, and
//! the heartbeats that would have renewed them lie in the mailbox and in the sockets. So the engine looks at the clock several times in
//! each lease; a gap between two looks tells the core that silence proves nothing.

use firn_core::Now;

/// Looks in the time of one lease.
const LOOKS: u64 = 10;
/// A gap of more than this many looks is a stall. With heartbeats every fifth of a lease, what is not noticed breaks none.
const LONGEST_GAP: u64 = 2;

/// The last look at the clock.
#[derive(Debug)]
pub(super) struct Watch {
    interval: u64,
    last: Now,
}

impl Watch {
    /// For leases of so many milliseconds.
    pub(super) fn begin(lease: u64, now: Now) -> Self {
        Self {
            interval: (lease / LOOKS).max(1),
            last: now,
        }
    }

    /// When to look again, at the latest.
    pub(super) fn next_look(&self) -> Now {
        self.last + self.interval
    }

    /// Looks; if the engine has slept, for how many milliseconds.
    pub(super) fn look(&mut self, now: Now) -> Option<u64> {
        let gap = now.since(self.last);
        self.last = now;
        (gap > LONGEST_GAP * self.interval).then_some(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_two_looks_is_noticed_once() {
        let mut watch = Watch::begin(10_000, Now(500));
        assert_eq!(watch.next_look(), Now(1_500));
        assert_eq!(watch.look(Now(1_500)), None);
        assert_eq!(watch.look(Now(3_500)), None, "a look may be late");
        assert_eq!(watch.look(Now(5_501)), Some(2_001));
        assert_eq!(watch.look(Now(5_502)), None);
    }
}

//! How an agent leaves: announced, in order, and within its grace.
//!
//! A machine that is taken away says so with SIGTERM. The coordinator hears it first ([`AgentDraining`]), so that it neither puts anything new
//! here nor takes what follows for a failure; then the ranks get their SIGTERM, hand over at their next step and end by themselves; whoever
//! is left when the grace ends is killed. A coordinator that cannot be told holds nothing up. When all have ended, what they said last is
//! delivered, and the agent says farewell.

use std::time::{Duration, Instant};

use firn_proto::v1alpha1::{AgentDraining, agent_message::Message};

use super::exit_status::ExitStatus;

/// How long the ranks wait for the announcement to go out.
const ANNOUNCEMENT_DEADLINE: Duration = Duration::from_millis(500);

/// The agent was told to stop.
#[derive(Debug)]
pub(super) struct Departure {
    grace: Duration,
    /// Ranks that this agent had killed before.
    kills_before: u64,
    /// The end of the grace.
    pub(super) kill_at: Instant,
    /// The coordinator knows, on the present stream.
    announced: bool,
    /// When the ranks are told without an announcement; none once they have been.
    tell_ranks_at: Option<Instant>,
}

impl Departure {
    /// Begins now. Without a stream nobody can be told, and the ranks need not wait for it.
    pub(super) fn begin(grace: Duration, now: Instant, is_attached: bool, kills_before: u64) -> Self {
        let wait = if is_attached {
            ANNOUNCEMENT_DEADLINE.min(grace / 2)
        } else {
            Duration::ZERO
        };
        Self {
            grace,
            kills_before,
            kill_at: now + grace,
            announced: false,
            tell_ranks_at: Some(now + wait),
        }
    }

    /// A new stream, on which nothing was said yet.
    pub(super) fn begin_stream(&mut self) {
        self.announced = false;
    }

    /// True if the next message is the announcement.
    pub(super) fn must_announce(&self) -> bool {
        !self.announced
    }

    /// The announcement, to be sent before anything else; the ranks may be told then.
    pub(super) fn announce(&mut self, now: Instant) -> Message {
        self.announced = true;
        if self.tell_ranks_at.is_some() {
            self.tell_ranks_at = Some(now);
        }
        Message::Draining(AgentDraining {
            grace_ms: u32::try_from(self.grace.as_millis()).unwrap_or(u32::MAX),
        })
    }

    /// The next moment at which something is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.tell_ranks_at
    }

    /// True once: the ranks are to be told now.
    pub(super) fn tell_ranks(&mut self, now: Instant) -> bool {
        self.tell_ranks_at.take_if(|at| *at <= now).is_some()
    }

    /// The agent's own exit status, given all the ranks that it has killed.
    pub(super) fn exit_status(&self, kills: u64) -> ExitStatus {
        if kills > self.kills_before {
            ExitStatus::KilledRanks
        } else {
            ExitStatus::Done
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    #[test]
    fn ranks_are_told_once_the_coordinator_has_been() {
        let now = Instant::now();
        let mut departure = Departure::begin(GRACE, now, true, 0);
        assert!(departure.must_announce() && !departure.tell_ranks(now));
        assert_eq!(
            departure.announce(now),
            Message::Draining(AgentDraining { grace_ms: 30_000 })
        );
        assert!(!departure.must_announce());
        assert!(departure.tell_ranks(now) && !departure.tell_ranks(now + GRACE));
        assert_eq!(departure.kill_at, now + GRACE);
    }

    #[test]
    fn a_coordinator_that_cannot_be_told_holds_nothing_up() {
        let now = Instant::now();
        assert!(Departure::begin(GRACE, now, false, 0).tell_ranks(now));
        let mut silent = Departure::begin(GRACE, now, true, 0);
        assert!(silent.tell_ranks(silent.next_deadline().unwrap()));
        let mut hurried = Departure::begin(Duration::from_millis(200), now, true, 0);
        assert!(hurried.tell_ranks(now + Duration::from_millis(100)));
    }

    #[test]
    fn every_new_stream_is_told_again() {
        let now = Instant::now();
        let mut departure = Departure::begin(GRACE, now, true, 0);
        let _ = departure.announce(now);
        departure.begin_stream();
        assert!(departure.must_announce());
        assert!(departure.tell_ranks(now));
        let _ = departure.announce(now);
        assert!(!departure.tell_ranks(now), "the ranks have been told");
    }
}

//! The only clock: wall time at the start, then counted on with the monotonic clock, so that it never goes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firn_core::Now;
use tokio::time::Instant;

/// Milliseconds since 1970 that never go back while this process runs.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    wall: u64,
}

impl Clock {
    /// Reads the wall clock, once.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            started: Instant::now(),
            wall: milliseconds(wall),
        }
    }

    /// The present.
    pub fn now(&self) -> Now {
        Now(self.wall.saturating_add(milliseconds(self.started.elapsed())))
    }

    /// Waits until `deadline`; for ever without one.
    pub async fn reached(&self, deadline: Option<Now>) {
        match deadline {
            None => std::future::pending().await,
            Some(deadline) => {
                // Elapsed time is cut to whole milliseconds, so waiting one more makes sure that `now()` has reached the deadline.
                let wait = deadline.0.saturating_sub(self.wall);
                tokio::time::sleep_until(self.started + Duration::from_millis(wait)).await;
            }
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

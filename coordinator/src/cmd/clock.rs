//! The time of day, for ages. The one place where verbs read it.

use std::time::SystemTime;

use prost_types::Timestamp;

/// Now, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

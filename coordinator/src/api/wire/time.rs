//! Time on the wire.

use firn_core::Now;
use prost_types::Timestamp;

pub(crate) fn timestamp(now: Now) -> Timestamp {
    let seconds = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(now.0 % 1000).expect("less than 1000") * 1_000_000;
    Timestamp { seconds, nanos }
}

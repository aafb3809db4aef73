//! Time on the wire.

use firn_core::Now;
use prost_types::{Duration, Timestamp};
use tonic::Status;

use crate::api::refusal::invalid;

pub(crate) fn timestamp(now: Now) -> Timestamp {
    let seconds = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(now.0 % 1000).expect("less than 1000") * 1_000_000;
    Timestamp { seconds, nanos }
}

/// Milliseconds of a span of time that does not go back.
pub(crate) fn milliseconds(field: &str, span: &Duration) -> Result<u64, Status> {
    let whole = u64::try_from(span.seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1000));
    let part = u64::try_from(span.nanos / 1_000_000).ok();
    let both = whole.zip(part).and_then(|(whole, part)| whole.checked_add(part));
    both.ok_or_else(|| invalid(field, format!("expected a span of time from now on, found {span}")))
}

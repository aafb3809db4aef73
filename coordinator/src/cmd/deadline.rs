//! How long a call may take, and what is said of one that took longer.

use std::{error::Error as _, time::Duration};

use tonic::{Code, Status, TimeoutExpired};

/// The deadline of a call, unless `--call-timeout` says otherwise.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// What is said of a deadline that passed.
pub(crate) const LATE: &str = "no answer within the time for one call (--call-timeout)";

/// The status of one that took longer.
pub(super) fn late() -> Status {
    Status::deadline_exceeded(LATE)
}

/// Whether the status stands for a deadline that passed on this side.
pub(crate) fn is_late(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded || causes(status).any(|cause| cause.is::<TimeoutExpired>())
}

/// What led to a status, outermost first.
pub(super) fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let mut next = status.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

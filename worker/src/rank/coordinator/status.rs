//! What the status of a call says: whether it is a refusal, and which.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// `google.rpc.ErrorInfo.reason` of a refusal.
pub(crate) fn reason_of(status: &Status) -> String {
    let details = status.get_details_error_info();
    details.map(|details| details.reason).unwrap_or_default()
}

/// Whether the coordinator is there, and what the call waits for is not: DEADLINE_EXCEEDED that it said itself.
pub(super) fn is_nothing_yet(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded && std::error::Error::source(status).is_none()
}

/// Whether the coordinator was not there, or cannot write at the moment, rather than saying no. Nor is it a no when it does not know the token: it
/// may be replaced at any moment, and what this process has learned is worth more than a quick end.
pub(super) fn is_passing(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Unauthenticated => true,
        // What tonic makes of a connection that broke in the middle of an answer.
        Code::Unknown | Code::Internal => std::error::Error::source(status).is_some(),
        // A full disk; too many of something will not pass.
        Code::ResourceExhausted => reason_of(status) != "LIMIT_REACHED",
        _ => reason_of(status) == "STALE_COORDINATOR",
    }
}

/// A refusal with that reason, as the coordinator words it.
#[cfg(test)]
pub(super) fn refusal(code: Code, reason: &str) -> Status {
    let no_metadata = std::collections::HashMap::new();
    let details = tonic_types::ErrorDetails::with_error_info(reason, "firn.dev", no_metadata);
    Status::with_error_details(code, "the coordinator's words", details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_coordinator_is_waited_for_and_a_refusal_is_final() {
        assert!(is_passing(&Status::unavailable("connection refused")));
        assert!(is_nothing_yet(&Status::deadline_exceeded("ask again")));
        assert!(!is_nothing_yet(&Status::unavailable("connection refused")));
        assert!(is_passing(&Status::resource_exhausted("the disk is full")));
        assert!(is_passing(&Status::unauthenticated("the token is not known")));
        assert!(is_passing(&refusal(Code::FailedPrecondition, "STALE_COORDINATOR")));
        assert!(!is_passing(&refusal(Code::ResourceExhausted, "LIMIT_REACHED")));
        assert!(!is_passing(&Status::aborted("generation 2 is over")));
        assert!(!is_passing(&Status::failed_precondition("limit reached")));
        assert!(!is_passing(&Status::internal("a bug")));
    }
}

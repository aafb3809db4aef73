//! Refusals on the wire: which gRPC code, and details that a program can read.
//!
//! Ranks rely on four of them: ABORTED, they belong to a gang that is over and must end; FAILED_PRECONDITION, the call came at the wrong
//! time or the job has failed; UNAVAILABLE, the coordinator goes away and the call is to be repeated until it is back;
//! DEADLINE_EXCEEDED, what the call waits for has not come yet and the call is to be repeated at once.

use std::{collections::HashMap, io::ErrorKind};

use firn_core::{Reject, Reply, Sender};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::{error, warn};

use super::wire::invalid_job;
use crate::{
    artifacts::ArtifactError,
    engine::{NotWritten, Refusal, Stopped},
    journal::JournalError,
    logs::LogError,
};

/// `google.rpc.ErrorInfo.domain` of all refusals.
pub(super) const DOMAIN: &str = "firn.dev";

/// One field is wrong.
pub(crate) fn invalid(field: impl Into<String>, description: impl Into<String>) -> Status {
    let (field, description) = (field.into(), description.into());
    let message = format!("{field}: {description}");
    let details = ErrorDetails::with_bad_request_violation(field, description);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Records of a job cannot be read, or are not those that were chained.
pub(crate) fn unreadable(failure: &JournalError) -> Status {
    error!(%failure, "records of a job cannot be used");
    Status::data_loss(failure.to_string())
}

/// The coordinator goes away; the caller repeats the call until it is back.
pub(crate) fn stopping() -> Status {
    Status::unavailable(Stopped.to_string())
}

/// What a call waits for has not come in its time; the caller asks again.
pub(crate) fn nothing_yet() -> Status {
    Status::deadline_exceeded("what this call waits for has not come yet: ask again")
}

impl From<Stopped> for Status {
    fn from(_: Stopped) -> Self {
        stopping()
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Reject(reject) => rejected(&reject),
            Refusal::NotWritten(refusal) => not_written(&refusal),
            refusal @ Refusal::Unrecordable { .. } => {
                let details = ErrorDetails::with_error_info("UNRECORDABLE", DOMAIN, HashMap::new());
                Self::with_error_details(Code::InvalidArgument, refusal.to_string(), details)
            }
            Refusal::Stopped(stopped) => stopped.into(),
        }
    }
}

/// The journal takes nothing, or not this. People are told why; agents and ranks wait, as for a coordinator that is away.
fn not_written(refusal: &NotWritten) -> Status {
    let (code, reason) = match (refusal.sender, refusal.is_full) {
        (Sender::Machine, true) => (Code::Unavailable, "DISK_FULL"),
        (Sender::Machine, false) => (Code::Unavailable, "JOURNAL_FAILED"),
        (Sender::Person | Sender::Coordinator, true) => (Code::ResourceExhausted, "DISK_FULL"),
        (Sender::Person | Sender::Coordinator, false) => (Code::Internal, "JOURNAL_FAILED"),
    };
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, refusal.message.clone(), details)
}

/// A refusal of the core. `ErrorInfo.reason` is its name in upper snake case.
pub(crate) fn rejected(reject: &Reject) -> Status {
    if let Reject::InvalidJob { violations } = reject {
        return invalid_job(violations);
    }
    let (code, reason) = match reject {
        Reject::JobNotFound { .. } => (Code::NotFound, "JOB_NOT_FOUND"),
        Reject::TokenNotFound { .. } => (Code::NotFound, "TOKEN_NOT_FOUND"),
        Reject::JobEnded { .. } | Reject::JobOver { .. } => (Code::FailedPrecondition, "JOB_ENDED"),
        Reject::JobNotEnded { .. } => (Code::FailedPrecondition, "JOB_NOT_ENDED"),
        Reject::StaleGeneration { .. } => (Code::Aborted, "STALE_GENERATION"),
        Reject::NotAMember { .. } => (Code::Aborted, "NOT_A_MEMBER"),
        Reject::Unwanted { .. } => (Code::FailedPrecondition, "UNWANTED"),
        Reject::StaleCoordinator { .. } => (Code::Unavailable, "STALE_COORDINATOR"),
        Reject::WorkerNotFound { .. } => (Code::NotFound, "WORKER_NOT_FOUND"),
        Reject::GangIncomplete { .. } => (Code::FailedPrecondition, "GANG_INCOMPLETE"),
        Reject::NotRankZero { .. } => (Code::FailedPrecondition, "NOT_RANK_ZERO"),
        Reject::OutOfOrder { .. } => (Code::FailedPrecondition, "OUT_OF_ORDER"),
        Reject::StepGap { .. } => (Code::FailedPrecondition, "STEP_GAP"),
        Reject::StepBeyondEpoch { .. } => (Code::FailedPrecondition, "STEP_BEYOND_EPOCH"),
        Reject::NoSuchShard { .. } => (Code::InvalidArgument, "NO_SUCH_SHARD"),
        Reject::NoSuchSample { .. } => (Code::InvalidArgument, "NO_SUCH_SAMPLE"),
        Reject::Invalid { .. } | Reject::InvalidJob { .. } => (Code::InvalidArgument, "INVALID"),
        Reject::LimitReached { .. } => (Code::ResourceExhausted, "LIMIT_REACHED"),
        Reject::WorkerNameTaken { .. } => (Code::AlreadyExists, "WORKER_NAME_TAKEN"),
        Reject::WorkerReplaced { .. } => (Code::AlreadyExists, "WORKER_REPLACED"),
        Reject::RequestReused { .. } => (Code::AlreadyExists, "REQUEST_ID_REUSED"),
        Reject::WorkerLost { .. } => (Code::Aborted, "WORKER_LOST"),
        Reject::StaleStream { .. } => (Code::Aborted, "STALE_STREAM"),
    };
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    if let Reject::Invalid { field, reason } = reject {
        details.add_bad_request_violation(*field, reason);
    }
    Status::with_error_details(code, reject.to_string(), details)
}

/// The answer to a call that got something else than it can get.
pub(crate) fn unexpected(reply: &Reply) -> Status {
    match reply {
        Reply::JobFailed(failure) => {
            let details = ErrorDetails::with_error_info("JOB_FAILED", DOMAIN, HashMap::new());
            Status::with_error_details(
                Code::FailedPrecondition,
                format!("the job has failed: {}", failure.message),
                details,
            )
        }
        reply => {
            error!(?reply, "the core answered with something that this call cannot pass on");
            Status::internal("the coordinator answered with something unexpected; its log says more")
        }
    }
}

impl From<ArtifactError> for Status {
    fn from(failure: ArtifactError) -> Self {
        match &failure {
            ArtifactError::Name { .. } | ArtifactError::Digest { .. } | ArtifactError::TooLarge { .. } => {
                Self::invalid_argument(failure.to_string())
            }
            ArtifactError::Size { .. } | ArtifactError::Content { .. } => Self::data_loss(failure.to_string()),
            ArtifactError::Missing { .. } => Self::not_found(failure.to_string()),
            // Only agents and ranks write files, and they wait until there is room.
            ArtifactError::Io { source, .. } if is_full_disk(source) => {
                warn!(%failure, "a file of a job cannot be stored: the disk is full");
                let details = ErrorDetails::with_error_info("DISK_FULL", DOMAIN, HashMap::new());
                Self::with_error_details(Code::Unavailable, failure.to_string(), details)
            }
            ArtifactError::Report { .. }
            | ArtifactError::PredictionsFile(_)
            | ArtifactError::Predictions { .. }
            | ArtifactError::Io { .. } => {
                error!(%failure, "a file of a job cannot be used");
                Self::internal(failure.to_string())
            }
        }
    }
}

fn is_full_disk(source: &std::io::Error) -> bool {
    matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl From<LogError> for Status {
    fn from(failure: LogError) -> Self {
        if matches!(&failure, LogError::Io { source, .. } if is_full_disk(source)) {
            warn!(%failure, "log lines cannot be stored: the disk is full");
            return Self::unavailable(failure.to_string());
        }
        error!(%failure, "a log cannot be used");
        Self::internal(failure.to_string())
    }
}

#[cfg(test)]
mod tests {
    use firn_core::identifiers::Generation;

    use super::*;

    #[test]
    fn a_stale_generation_is_aborted_with_a_reason_for_programs() {
        let reject = Reject::StaleGeneration {
            job: "j".into(),
            expected: Generation(3),
            found: Generation(2),
        };
        let status = rejected(&reject);
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(status.message(), "expected generation 3 of jobs/j, found 2");
        assert_eq!(status.get_details_error_info().unwrap().reason, "STALE_GENERATION");
    }

    #[test]
    fn a_wrong_field_is_named_for_programs() {
        let status = invalid("page_token", "expected a token of an earlier answer");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.get_details_bad_request().unwrap().field_violations[0].field,
            "page_token"
        );
    }
}

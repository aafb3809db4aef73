//! Why a command could not do what it was asked, and the exit code for it.
//!
//! A status from the coordinator is told apart from a broken connection by its source: tonic gives one to every status
//! that it made itself from a transport error, and none to a status that a server sent.

use std::{error::Error as _, io, path::PathBuf};

use firn_core::trust::with_advice;
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::deadline::{LATE, is_late};
use crate::spec_file::SpecFileError;

/// Why a command could not do what it was asked.
#[derive(Debug, Error)]
pub enum CommandError {
    /// Flags, settings or names that cannot be right.
    #[error("{0}")]
    Usage(String),
    /// The spec file cannot be read or does not hold a valid job.
    #[error(transparent)]
    Spec(#[from] SpecFileError),
    /// No coordinator answers.
    #[error("coordinator {address} cannot be reached: {reason}")]
    Unreachable {
        /// Where it was expected.
        address: String,
        /// The chain of transport errors.
        reason: String,
    },
    /// The coordinator answered with a refusal.
    #[error("{}", tell_refusal(message, violations))]
    Refused {
        /// The gRPC status code.
        code: Code,
        /// What the coordinator says.
        message: String,
        /// Fields that are wrong, with what is wrong with each.
        violations: Vec<(String, String)>,
    },
    /// A file or folder on this machine.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    File {
        /// What was tried, for example `create`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What arrived is not what the coordinator announced.
    #[error("artifact {name} is damaged: expected {expected}, found {found}")]
    Damaged {
        /// Of the artifact.
        name: String,
        /// SHA-256 and size as listed.
        expected: String,
        /// SHA-256 and size of what arrived.
        found: String,
    },
    /// Processes that `firn run` starts.
    #[error("{0}")]
    Local(String),
    /// Standard output or standard error.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// The exit code of the process, as in [`crate::cmd::Outcome`].
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Spec(_) => 2,
            Self::Unreachable { .. } => 4,
            Self::Refused { code, .. } if is_the_callers_fault(*code) => 2,
            // `firn list | head` is no failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Refused { .. } | Self::File { .. } | Self::Damaged { .. } | Self::Local(_) | Self::Output(_) => 1,
        }
    }

    /// Whether there is nobody left to read a message.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What a call to the coordinator at `address` ended with.
    pub(crate) fn from_status(address: &str, status: &Status) -> Self {
        if is_transport(status) {
            return Self::Unreachable {
                address: address.to_owned(),
                reason: advised(address, innermost_reason(status)),
            };
        }
        let violations = status
            .get_details_bad_request()
            .map(|bad| {
                bad.field_violations
                    .into_iter()
                    .map(|violation| (violation.field, violation.description))
                    .collect()
            })
            .unwrap_or_default();
        let message = if status.message().is_empty() {
            format!("the coordinator refused the request: {}", status.code().description())
        } else {
            status.message().to_owned()
        };
        Self::Refused {
            code: status.code(),
            message,
            violations,
        }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

/// Whom one of both sides does not take for what it says to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The coordinator, by whoever calls.
    OfCoordinator,
    /// Who calls, by the coordinator.
    OfCaller,
}

/// Whether no connection was made because a certificate was not taken, or is missing.
pub fn broken_trust(status: &Status) -> Option<Trust> {
    /// What the other side says of a certificate, as TLS calls it.
    const ALERTS: [&str; 8] = [
        "BadCertificate",
        "UnsupportedCertificate",
        "CertificateRevoked",
        "CertificateExpired",
        "CertificateUnknown",
        "CertificateRequired",
        "UnknownCA",
        "AccessDenied",
    ];
    let reason = innermost_reason(status);
    if reason.contains("invalid peer certificate") {
        return Some(Trust::OfCoordinator);
    }
    let alert = reason.split_once("fatal alert: ").map(|(_, alert)| alert.trim());
    alert.filter(|alert| ALERTS.contains(alert)).map(|_| Trust::OfCaller)
}

/// What a call ended with, in one sentence: the coordinator's own words, or why there are none.
pub fn told(status: &Status) -> String {
    match is_transport(status) && (status.source().is_some() || is_late(status)) {
        true => with_advice(innermost_reason(status)),
        false => status.message().to_owned(),
    }
}

/// Whether the connection broke or nothing came in time, rather than the coordinator having answered.
pub(crate) fn is_transport(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) || status.source().is_some()
}

fn is_the_callers_fault(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::PermissionDenied
            | Code::Unauthenticated
    )
}

/// The last link of the chain says what happened ("Connection refused"), the ones before only where in the library.
fn innermost_reason(status: &Status) -> String {
    if is_late(status) {
        return LATE.to_owned();
    }
    let mut reason = status.message().to_owned();
    let mut next = status.source();
    while let Some(source) = next {
        reason = source.to_string();
        next = source.source();
    }
    reason
}

/// The coordinator names one violation in its message, and of several only the first.
fn tell_refusal(message: &str, violations: &[(String, String)]) -> String {
    match violations {
        [] => message.to_owned(),
        [(_, description)] if message.contains(description) => message.to_owned(),
        _ => {
            let list = violations.iter().map(|(field, description)| {
                format!(
                    "
  {field}: {description}"
                )
            });
            format!("the request is not valid:{}", list.collect::<String>())
        }
    }
}

/// In TLS 1.3 a caller has said all before the coordinator looks for a certificate: it may close the connection before its words are read.
fn advised(address: &str, reason: String) -> String {
    match address.starts_with("https:") && reason.ends_with("connection closed") {
        true => format!("{reason}; if the coordinator asks for a certificate of whoever calls, give --cert and --key"),
        false => with_advice(reason),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn a_closed_connection_may_mean_that_a_certificate_is_asked_for() {
        let told = |address: &str| advised(address, "connection closed".to_owned());
        assert_eq!(
            told("https://coordinator:7070"),
            "connection closed; if the coordinator asks for a certificate of whoever calls, give --cert and --key"
        );
        assert_eq!(told("http://coordinator:7070"), "connection closed");
        let words = advised("https://a", "received fatal alert: CertificateRequired".to_owned());
        assert!(words.ends_with("give --cert and --key"), "{words}");
    }

    #[test]
    fn the_violations_of_a_bad_request_are_listed_field_by_field() {
        let details = ErrorDetails::with_bad_request(vec![
            FieldViolation::new("spec.training.epochs", "must be at least 1, found 0"),
            FieldViolation::new(
                "spec.model.architecture",
                "unknown `resnet19`, did you mean `resnet18`?",
            ),
        ]);
        let status = Status::with_error_details(Code::InvalidArgument, "the job is invalid", details);

        let error = CommandError::from_status("http://127.0.0.1:7070", &status);

        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.to_string(),
            "the request is not valid:\n  spec.training.epochs: must be at least 1, found 0\n  \
             spec.model.architecture: unknown `resnet19`, did you mean `resnet18`?"
        );
    }

    #[test]
    fn a_violation_that_the_message_tells_is_not_told_twice() {
        let details = ErrorDetails::with_bad_request_violation("page_token", "expected one of this coordinator's");
        let message = "page_token: expected one of this coordinator's";
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        assert_eq!(CommandError::from_status("http://h:1", &status).to_string(), message);
    }

    #[test]
    fn every_status_code_has_its_exit_code() {
        let table = [
            (Code::InvalidArgument, 2),
            (Code::NotFound, 2),
            (Code::FailedPrecondition, 2),
            (Code::Unauthenticated, 2),
            (Code::PermissionDenied, 2),
            (Code::Unavailable, 4),
            (Code::DeadlineExceeded, 4),
            (Code::Internal, 1),
            (Code::ResourceExhausted, 1),
        ];
        for (code, exit) in table {
            let error = CommandError::from_status("http://h:1", &Status::new(code, "no"));
            assert_eq!(error.exit_code(), exit, "{code:?}");
        }
    }

    #[test]
    fn who_is_not_trusted_is_told_apart_from_a_coordinator_that_is_away() {
        let of = |reason: &str| {
            let mut status = Status::unavailable("transport error");
            status.set_source(std::sync::Arc::new(io::Error::other(reason.to_owned())));
            (broken_trust(&status), told(&status))
        };
        let (trust, told) = of("invalid peer certificate: UnknownIssuer");
        assert_eq!(trust, Some(Trust::OfCoordinator));
        assert!(told.ends_with("has not signed the coordinator's certificate"), "{told}");
        assert_eq!(of("received fatal alert: CertificateRequired").0, Some(Trust::OfCaller));
        assert_eq!(of("received fatal alert: UnknownCA").0, Some(Trust::OfCaller));
        for other in [
            "received fatal alert: HandshakeFailure",
            "Connection refused (os error 111)",
        ] {
            assert_eq!(of(other), (None, other.to_owned()));
        }
        let answered = Status::unauthenticated("the token is not known");
        assert_eq!(
            (broken_trust(&answered), super::told(&answered)),
            (None, "the token is not known".to_owned())
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let error = CommandError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(error.exit_code(), 0);
        assert!(error.is_closed_pipe());
    }
}

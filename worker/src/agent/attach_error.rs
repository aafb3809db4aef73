//! Why an agent has no stream to its coordinator, and whether trying again can help.

use std::{error::Error as _, path::PathBuf};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::connection::{ConnectionError, broken};

/// `ErrorInfo.reason` of a refusal because another agent has this one's place.
const REPLACED: &str = "WORKER_REPLACED";

/// Why no stream could be made.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The settings are wrong, or nobody answers.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The coordinator said no.
    #[error("the coordinator refused this worker: {message} ({code:?})")]
    Refused {
        /// Its status code.
        code: Code,
        /// Its words.
        message: String,
    },
    /// The connection was made, and broke before the coordinator had answered: a certificate is refused then, too.
    #[error("the connection to the coordinator broke: {reason}")]
    Broken {
        /// The chain of causes.
        reason: String,
    },
    /// Another agent has come in place of this one.
    #[error("this agent is not needed any more: {message}")]
    Replaced {
        /// The coordinator's words.
        message: String,
    },
    /// Another coordinator has taken over from this one.
    #[error(
        "the coordinator has epoch {found}, but this agent has met epoch {newest}: another one has taken over. If its data folder was \
         replaced on purpose, delete {} and start the agent again", file.display()
    )]
    Outdated {
        /// What it said.
        found: u64,
        /// The highest that was met.
        newest: u64,
        /// Where the agent remembers that.
        file: PathBuf,
    },
    /// The coordinator does not follow the protocol.
    #[error("the coordinator should open with a welcome, found {found}")]
    Protocol {
        /// What came.
        found: &'static str,
    },
}

impl AttachError {
    pub(super) fn from_status(status: &Status) -> Self {
        // A status that came from the coordinator has no source.
        if let Some(source) = status.source() {
            return Self::Broken {
                reason: broken::reason(source),
            };
        }
        let message = status.message().to_owned();
        let info = status.get_details_error_info();
        if info.is_some_and(|info| info.reason == REPLACED) {
            return Self::Replaced { message };
        }
        Self::Refused {
            code: status.code(),
            message,
        }
    }

    /// True if this agent has no place any more, attached before or not.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self, Self::Replaced { .. })
    }

    /// True if a person has to change something first.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Connection(ConnectionError::Unreachable { .. })
            | Self::Broken { .. }
            | Self::Protocol { .. }
            | Self::Outdated { .. } => false,
            Self::Connection(_) | Self::Replaced { .. } => true,
            Self::Refused { code, .. } => matches!(
                code,
                Code::Unauthenticated
                    | Code::PermissionDenied
                    | Code::InvalidArgument
                    | Code::Unimplemented
                    | Code::FailedPrecondition
            ),
        }
    }

    pub(super) fn is_name_taken(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::AlreadyExists,
                ..
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_person_must_change_is_final() {
        let refused = |code| AttachError::Refused {
            code,
            message: String::new(),
        };
        assert!(refused(Code::Unauthenticated).is_final());
        assert!(!refused(Code::Unavailable).is_final());
        assert!(!refused(Code::AlreadyExists).is_final());
        assert!(
            !AttachError::from(ConnectionError::Unreachable {
                url: String::new(),
                reason: String::new()
            })
            .is_final()
        );
        assert!(AttachError::from(ConnectionError::Token).is_final());
    }
}

//! Why a rank stops what it is doing, told apart by what comes next.
//!
//! A failure ends the process and, perhaps, the job. An interruption ends nothing: the gang has changed, and the rank joins again with all that
//! it has. The two are types of their own, so that no lost peer can be reported as a failure and no broken spec is tried for ever.

use firn_collective::CollectiveError;
use firn_data::DataError;
use firn_models::ModelError;
use tch::TchError;
use thiserror::Error;

use super::failure::RankFailure;

/// Why the main thread does not go on with its directive.
#[derive(Debug, Error)]
pub(crate) enum StopReason {
    /// The gang has changed: join again.
    #[error(transparent)]
    Interrupted(#[from] Interruption),
    /// This process is no longer wanted: exit with status 12.
    #[error("stopped: {0}")]
    Unwanted(String),
    /// The worker is drained or preempted: exit with status 13.
    #[error("told to leave")]
    Left,
    /// Joining again would not help: report it and exit.
    #[error(transparent)]
    Failed(#[from] RankFailure),
}

/// Why a rank leaves its generation. The text is what it tells the coordinator when it joins again.
#[derive(Debug, Error)]
pub(crate) enum Interruption {
    /// Another rank is lost, or the collective was aborted because one is.
    #[error("{0}")]
    Collective(Box<CollectiveError>),
    /// A pulse was answered with a newer generation.
    #[error("generation {0} takes over")]
    NewGeneration(u64),
    /// A call was answered with ABORTED: it came from a generation that is over.
    #[error("the coordinator answered {call} with ABORTED: {message}")]
    Refused {
        /// Name of the call.
        call: &'static str,
        /// The coordinator's words.
        message: String,
    },
    /// The checkpoint to go on from is unusable, and the coordinator knows.
    #[error("the checkpoint after step {steps_done} was rejected: {reason}")]
    CheckpointRejected {
        /// Steps that it would have had.
        steps_done: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The gang goes back to its newest checkpoint.
    #[error("rolled back: {0}")]
    RolledBack(String),
}

impl From<CollectiveError> for StopReason {
    fn from(error: CollectiveError) -> Self {
        match error {
            // Of this machine or of this program: the next gang would meet them again.
            CollectiveError::Bind { .. }
            | CollectiveError::InvalidWorld { .. }
            | CollectiveError::InvalidRoot { .. }
            | CollectiveError::WrongBuffer { .. }
            | CollectiveError::NcclMissing { .. } => Self::Failed(RankFailure::Collective(Box::new(error))),
            CollectiveError::Aborted { .. }
            | CollectiveError::DeadlineExpired { .. }
            | CollectiveError::PeerLost { .. }
            | CollectiveError::Desync { .. }
            | CollectiveError::Refused { .. }
            | CollectiveError::ForeignProtocol { .. }
            | CollectiveError::Broken { .. }
            | CollectiveError::Socket { .. }
            | CollectiveError::Nccl { .. } => Self::Interrupted(Interruption::Collective(Box::new(error))),
        }
    }
}

impl From<DataError> for StopReason {
    fn from(error: DataError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<ModelError> for StopReason {
    fn from(error: ModelError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<TchError> for StopReason {
    fn from(error: TchError) -> Self {
        Self::Failed(error.into())
    }
}

#[cfg(test)]
mod tests {
    use firn_collective::Operation;

    use super::*;

    #[test]
    fn a_lost_peer_interrupts_and_a_missing_library_fails() {
        let lost = CollectiveError::PeerLost {
            rank: 1,
            lost: 0,
            operation: Operation::AllReduceSum,
            sequence: 57,
            reason: "it closed the connection".to_owned(),
        };
        let reason = StopReason::from(lost);
        assert!(matches!(&reason, StopReason::Interrupted(_)), "{reason:?}");
        assert_eq!(
            reason.to_string(),
            "rank 1 lost rank 0 in all-reduce #57: it closed the connection"
        );
        let missing = CollectiveError::NcclMissing {
            reason: "no CUDA driver".to_owned(),
        };
        assert!(matches!(
            StopReason::from(missing),
            StopReason::Failed(RankFailure::Collective(_))
        ));
    }
}

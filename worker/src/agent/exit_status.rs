//! With which status an agent ends. A supervisor decides by it whether the agent's work is done, so each has one meaning.

use std::process::ExitCode;

use firn_core::exit_status::TOLD_TO_GO;

/// How an agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExitStatus {
    /// There for one job: the coordinator has said that it is over, however that ended. There for all: told to stop, and every rank ended by itself.
    Done,
    /// Told to stop, and a rank had to be killed.
    KilledRanks,
    /// There for one job, and told to stop before it was over: another agent is needed in its place.
    Interrupted,
}

impl ExitStatus {
    /// The number. 1 is any error ([`ExitCode::FAILURE`]: settings that are wrong, a refusal of the coordinator, a state folder that is in use),
    /// and 2 arguments that cannot be read.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::KilledRanks => 3,
            Self::Interrupted => TOLD_TO_GO,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

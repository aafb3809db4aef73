//! Whether the engine can write, and what callers are told when it cannot.
//!
//! There are three standings. While everything is well, everything is taken in. While the disk is **nearly full**, nothing has failed yet:
//! what ends something is still recorded, all else is refused, and once there is room again the engine goes on by itself. After an append
//! that **failed** nobody knows what is on the disk: the engine takes nothing more in, and answers questions from the state as it was after
//! the last commit that succeeded. It stays so until the coordinator is restarted, even if there is room again: only a restart reads from
//! the disk what is there. It does not end by itself, because whoever looks for the cause needs its answers, and a supervisor that starts
//! it again and again would hide the trouble; health says NOT_SERVING, and its exit status is a failure when it is told to stop.
//!
//! People and their programs are told RESOURCE_EXHAUSTED or INTERNAL. Agents and ranks are told UNAVAILABLE: they wait and ask again, as
//! if the coordinator were away, so jobs lose nothing.

use std::path::{Path, PathBuf};

use firn_core::{Input, Sender};
use thiserror::Error;

use crate::journal::JournalError;

/// Whether the engine can write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Everything is taken in.
    Writing,
    /// Only what ends something is taken in, until there is room.
    Sparing {
        /// The data folder, whose disk it is.
        folder: PathBuf,
        /// Free bytes.
        free: u64,
        /// Bytes that are wanted.
        wanted: u64,
    },
    /// Nothing is taken in until a restart.
    ReadOnly {
        /// Whether there was no room on the disk.
        is_full: bool,
        /// What failed.
        reason: String,
    },
}

/// An input that is not taken in, or whose records may not have reached the disk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct NotWritten {
    /// Who is told.
    pub sender: Sender,
    /// Whether it is for want of room on the disk.
    pub is_full: bool,
    /// What happened and what to do.
    pub message: String,
}

impl Standing {
    pub(super) fn read_only(failure: &JournalError) -> Self {
        Self::ReadOnly {
            is_full: failure.is_full_disk(),
            reason: failure.to_string(),
        }
    }

    /// Whether only a restart helps.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly { .. })
    }

    /// Whether an input is taken in.
    pub(super) fn admit(&self, input: &Input) -> Result<(), NotWritten> {
        match self {
            Self::Writing => Ok(()),
            Self::Sparing { .. } if input.is_vital() => Ok(()),
            Self::Sparing { .. } | Self::ReadOnly { .. } => Err(self.refusal(input.sender())),
        }
    }

    pub(super) fn refusal(&self, sender: Sender) -> NotWritten {
        let (is_full, message) = match self {
            Self::Writing => (false, "this call was not recorded: repeat it".to_owned()),
            Self::Sparing { folder, free, wanted } => (true, nearly_full(folder, *free, *wanted)),
            Self::ReadOnly { is_full: true, reason } => (
                true,
                format!(
                    "the disk is full and the coordinator only answers questions ({reason}): make room, then restart it"
                ),
            ),
            Self::ReadOnly { is_full: false, reason } => (
                false,
                format!(
                    "the disk has failed and the coordinator only answers questions ({reason}): see to the disk, then restart it"
                ),
            ),
        };
        NotWritten {
            sender,
            is_full,
            message,
        }
    }
}

fn nearly_full(folder: &Path, free: u64, wanted: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    format!(
        "the disk of {} is nearly full: {:.1} MiB are free, {:.1} MiB are wanted; make room and repeat the call (jobs can still be cancelled)",
        folder.display(),
        free as f64 / MIB as f64,
        wanted as f64 / MIB as f64,
    )
}

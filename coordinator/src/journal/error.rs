//! What can go wrong with the data folder and its journal.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why the journal cannot be opened, read or written.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Another coordinator runs on the same folder.
    #[error(
        "the data folder {} is held by another coordinator{}: stop that one, or give this one its own --data-dir",
        folder.display(), process.map(|process| format!(" (process {process})")).unwrap_or_default()
    )]
    Held {
        /// The data folder.
        folder: PathBuf,
        /// Process id the holder wrote into its lock file.
        process: Option<u32>,
    },
    /// The folder or a file in it cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file was written by a program with another layout.
    #[error(
        "{}: the journal has schema version {found}, written by firn {}; this is firn {}, which reads up to schema version {expected}",
        path.display(), build.as_deref().unwrap_or("of an unknown build"), env!("CARGO_PKG_VERSION")
    )]
    Schema {
        /// The journal file.
        path: PathBuf,
        /// Version in the file.
        found: u64,
        /// The build that wrote it, if the file says so.
        build: Option<String>,
        /// Version this program knows.
        expected: u64,
    },
    /// The chain is broken.
    #[error("{}: the journal is damaged at record {sequence}: {reason}", path.display())]
    Damaged {
        /// The journal file.
        path: PathBuf,
        /// First record that is not as it was written.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is not a journal, or its pages are damaged.
    #[error("{}: the journal cannot be read, it is damaged or no journal: {reason}", path.display())]
    Unreadable {
        /// The journal file.
        path: PathBuf,
        /// redb's words.
        reason: String,
    },
    /// A record does not fit this program.
    #[error("{}: record {sequence} cannot be understood: {source}", path.display())]
    Record {
        /// The journal file.
        path: PathBuf,
        /// The record's number.
        sequence: u64,
        /// What the JSON lacks.
        source: serde_json::Error,
    },
    /// The disk refused a read or a write.
    #[error("{}: the journal's storage failed: {source}", path.display())]
    Storage {
        /// The journal file.
        path: PathBuf,
        /// redb's error.
        source: Box<redb::Error>,
    },
    /// An earlier write failed.
    #[error("{}: an earlier write to the journal failed, so no more is written until a restart", path.display())]
    Broken {
        /// The journal file.
        path: PathBuf,
    },
}

impl JournalError {
    pub(super) fn damaged(path: &Path, sequence: u64, reason: &str) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            sequence,
            reason: reason.to_owned(),
        }
    }

    /// Whether there was no room on the disk.
    pub fn is_full_disk(&self) -> bool {
        let kind = match self {
            Self::Io { source, .. } => source.kind(),
            Self::Storage { source, .. } => match &**source {
                redb::Error::Io(source) => source.kind(),
                _ => return false,
            },
            _ => return false,
        };
        matches!(
            kind,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        )
    }

    /// An entry near `sequence` cannot be read.
    pub(super) fn from_reading(path: &Path, sequence: u64, source: redb::StorageError) -> Self {
        match source {
            redb::StorageError::Corrupted(reason) => Self::damaged(path, sequence, &reason),
            source => Self::from_storage(path, source.into()),
        }
    }

    pub(super) fn from_open(path: &Path, source: redb::DatabaseError) -> Self {
        match source {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::Held {
                folder: path.parent().unwrap_or(path).to_owned(),
                process: None,
            },
            redb::DatabaseError::Storage(redb::StorageError::Io(source))
                if source.kind() != std::io::ErrorKind::InvalidData =>
            {
                Self::Io {
                    path: path.to_owned(),
                    source,
                }
            }
            other => Self::Unreadable {
                path: path.to_owned(),
                reason: other.to_string(),
            },
        }
    }

    pub(super) fn from_storage(path: &Path, source: redb::Error) -> Self {
        match source {
            redb::Error::Corrupted(reason) => Self::Unreadable {
                path: path.to_owned(),
                reason,
            },
            source => Self::Storage {
                path: path.to_owned(),
                source: Box::new(source),
            },
        }
    }
}

//! What can go wrong with a job's files.

use std::path::PathBuf;

use thiserror::Error;

/// Why a file cannot be stored or read.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// The name could leave the folder or cannot be a file name.
    #[error(
        "`{found}` cannot be a file name here: use letters, digits, `.`, `_` and `-`, at most 128, not starting with `.` or `-`"
    )]
    Name {
        /// The name.
        found: String,
    },
    /// Not a SHA-256.
    #[error("`{found}` is no SHA-256: expected 64 lower-case hexadecimal digits")]
    Digest {
        /// What came.
        found: String,
    },
    /// Above the limit.
    #[error(
        "a file of {size} bytes is above the limit of {limit}: give the job an artifacts folder that all workers can write"
    )]
    TooLarge {
        /// Announced bytes.
        size: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// More or fewer bytes than announced.
    #[error("expected {expected} bytes, found {found}")]
    Size {
        /// Announced bytes.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The content is not what was announced.
    #[error("the content has SHA-256 {found}, expected {expected}")]
    Content {
        /// Announced digest.
        expected: String,
        /// Digest of what came.
        found: String,
    },
    /// No such file.
    #[error("there is no file {}", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A spooled report cannot be understood.
    #[error("{}: the report is damaged: {reason}", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The predictions cannot be written out, or read back.
    #[error("the predictions: {0}")]
    PredictionsFile(#[from] csv::Error),
    /// A line that is not one of a prediction of this job.
    #[error("line {line} of the predictions: expected a prediction over the classes of the job, found another line")]
    Predictions {
        /// From 1.
        line: u64,
    },
    /// The disk refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

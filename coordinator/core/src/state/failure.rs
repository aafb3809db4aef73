//! Why things fail: what a rank reports, how a process ended, and the cause that a job keeps.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identifiers::{Generation, ProcessId};
use crate::now::Now;

/// The class of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureReason {
    /// The spec cannot be run.
    Misconfigured,
    /// The data are not what the spec says.
    BadData,
    /// A rank ran out of memory.
    OutOfMemory,
    /// Ranks or workers were lost, more often than the spec allows. Reported by a rank: its peers are gone.
    NodeFailures,
    /// A worker was drained, or told to end.
    Preempted,
    /// A machine computes something else than the others.
    HardwareSuspected,
    /// NaN or infinity in loss or gradient.
    NumericalError,
    /// It was active for longer than its spec allows.
    DeadlineExceeded,
    /// A person ended the job.
    Cancelled,
    /// A defect of Firn.
    InternalError,
}

impl FailureReason {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Misconfigured => "Misconfigured",
            Self::BadData => "BadData",
            Self::OutOfMemory => "OutOfMemory",
            Self::NodeFailures => "NodeFailures",
            Self::Preempted => "Preempted",
            Self::HardwareSuspected => "HardwareSuspected",
            Self::NumericalError => "NumericalError",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Cancelled => "Cancelled",
            Self::InternalError => "InternalError",
        }
    }
}

/// A failure and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub reason: FailureReason,
    /// The error chain, outermost first.
    pub message: String,
    /// The rank that failed first, if a rank did.
    pub rank: Option<u32>,
    /// The host of that rank; empty if unknown.
    pub host: String,
    /// What that rank wrote last.
    pub last_log_lines: Vec<String>,
}

impl Failure {
    /// One that no rank is to blame for.
    pub(crate) fn of_no_rank(reason: FailureReason, message: String) -> Self {
        Self {
            reason,
            message,
            rank: None,
            host: String::new(),
            last_log_lines: Vec::new(),
        }
    }
}

/// How a rank process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankExit {
    /// The end itself.
    pub ending: Ending,
    /// What it wrote last, at most 40 lines.
    pub last_log_lines: Vec<String>,
    /// The kernel killed it because the memory of its machine, or of its cgroup, ran out.
    pub out_of_memory: bool,
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It could not be started; why.
    NotStarted(String),
    /// Its agent came back without it.
    Vanished,
}

/// One reason why a gang came down. The first primary one is what people are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Whether it explains the others.
    #[serde(rename = "standing")]
    pub gravity: Gravity,
    /// What happened, to whom.
    pub failure: Failure,
    /// When it was learned.
    pub at: Now,
}

/// How much a cause explains; the smallest wins, then the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Gravity {
    /// No restart helps: the user's input or the numbers are at fault.
    Fatal,
    /// A process or a worker was lost by itself.
    Primary,
}

/// What a rank of a gang said before it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankReport {
    /// Its rank then.
    pub rank: u32,
    /// Who; `None` in journals of earlier programs.
    #[serde(default)]
    pub process: Option<ProcessId>,
    /// Reason, message and place.
    pub failure: Failure,
    /// Time, by the engine's clock.
    pub at: Now,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// All artifacts are stored.
    Succeeded,
    /// With its first cause.
    Failed(Failure),
    /// By a person, or because it was a range test, which leaves nothing.
    Cancelled,
}

/// How a job ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobEnd {
    /// All artifacts are stored.
    Succeeded,
    /// It could not go on.
    Failed,
    /// By a person.
    Cancelled,
    /// It is over and nothing is kept of it.
    Deleted,
}

impl Outcome {
    /// The same without details.
    pub fn end(&self) -> JobEnd {
        match self {
            Self::Succeeded => JobEnd::Succeeded,
            Self::Failed(_) => JobEnd::Failed,
            Self::Cancelled => JobEnd::Cancelled,
        }
    }
}

impl fmt::Display for JobEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Deleted => "Deleted",
        })
    }
}

/// Ranks that were lost, for the history of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The formation that they were lost from.
    pub generation: Generation,
    /// What explains the loss.
    pub cause: Cause,
    /// Whether it counts against the limit of the spec. One of several at a time does.
    pub counts: bool,
}

//! Conditions: what has been decided about a job, each with a reason for programs and a sentence for people.

use serde::{Deserialize, Serialize};

use crate::now::Now;

/// One thing that has been decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What about.
    pub kind: ConditionKind,
    /// The answer.
    pub status: ConditionStatus,
    /// CamelCase, for programs.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When `status` changed last.
    pub last_transition: Now,
}

/// What a condition is about, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionKind {
    /// It waits for slots.
    Queued,
    /// A person wants it to hold no slots.
    Suspended,
    /// It has its slots.
    Admitted,
    /// Its gang works together.
    Running,
    /// It ended well.
    Succeeded,
    /// It did not.
    Failed,
}

impl ConditionKind {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::Suspended => "Suspended",
            Self::Admitted => "Admitted",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// Yes.
    True,
    /// No.
    False,
    /// Not known.
    Unknown,
}

impl ConditionStatus {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// One word for tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Summary {
    /// Waits for its first gang.
    Queued,
    /// Its ranks start, or start again.
    Starting,
    /// Its ranks work.
    Running,
    /// Its ranks hand over and leave, because a person suspended it.
    Suspending,
    /// It holds no slots until a person resumes it.
    Suspended,
    /// Rank 0 writes the artifacts.
    Finishing,
    /// Ended well.
    Succeeded,
    /// Ended with a failure.
    Failed,
    /// Ended by a person.
    Cancelled,
}

impl Summary {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Starting,
        Self::Running,
        Self::Suspending,
        Self::Suspended,
        Self::Finishing,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Suspending => "Suspending",
            Self::Suspended => "Suspended",
            Self::Finishing => "Finishing",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }
}

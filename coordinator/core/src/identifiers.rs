//! Names of things: one type each, so that a worker's name can never be taken for a job's.
//!
//! They are cheap to copy around (`Arc<str>`), because every record, effect and key holds some.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }
    };
}

name! {
    /// A job, without the `jobs/` of its resource name.
    JobId
}
name! {
    /// What a job belongs to: quotas and the fair order go by it.
    Namespace
}
name! {
    /// One node's agent, over all its restarts.
    WorkerName
}
name! {
    /// One start of an agent: new at every start.
    InstanceId
}
name! {
    /// One rank process. Chosen by the core; never used twice.
    ProcessId
}
name! {
    /// Chosen by a client, so that a repeated call acts once.
    RequestId
}
name! {
    /// A token, as people call it; never used twice.
    TokenId
}
name! {
    /// BLAKE3, hex, of the secret of a token; made by the shell.
    SecretHash
}
name! {
    /// BLAKE3, hex, of what a call says beside its request id; made by the shell.
    BodyDigest
}

/// So that a namespace is found by its text.
impl Borrow<str> for Namespace {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Number of a gang's formation, counted for each job from 1; 0: never formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one of the next formation.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One connection of an agent, numbered by the shell: tells a late end of an old stream from the end of the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(pub u64);

/// Who a rank says it is; every call of a rank carries it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RankIdentity {
    /// Its job.
    pub job: JobId,
    /// Its process.
    pub process: ProcessId,
    /// The formation that it belongs to.
    pub generation: Generation,
    /// The newest coordinator that it has met; 0: none.
    pub coordinator_epoch: u64,
}

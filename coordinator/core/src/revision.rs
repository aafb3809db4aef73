//! Revisions of the protocol.

use serde::{Deserialize, Serialize};

/// Revision of what agents, ranks and the coordinator say to each other. Raised when a worker of the revision before would ignore, or not
/// understand, something that changes what is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision(pub u32);

impl Revision {
    /// Of builds that announce none: 0.1.0 at `da01602` and before.
    pub const OLDEST: Self = Self(1);
    /// Of everything in the spec that says nothing of its revision: what is newer is marked.
    pub const UNMARKED: Self = Self(2);
    /// Of this build. Revision 3 knows regression; revision 4 namespaces, priorities, workers that serve one job only, and jobs that are suspended;
    /// revision 5 more architectures, the bicubic resize, models of the Hub, statistics of BatchNorm that ranks share, and all else that is marked.
    pub const CURRENT: Self = Self(5);

    /// As announced on the wire; 0 is what is said by those that know no revisions.
    pub fn announced(number: u32) -> Self {
        Self(number.max(Self::OLDEST.0))
    }
}

impl Default for Revision {
    fn default() -> Self {
        Self::OLDEST
    }
}

//! Time is a number that is passed in.

use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
///
/// The shell takes the wall clock once, at its start, and counts on with the monotonic clock, so that `Now` never goes back while one
/// coordinator runs. Nor between two runs: it starts at the later of the wall clock and [`crate::State::latest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Now(pub u64);

impl Now {
    /// Milliseconds since `earlier`; 0 if that lies in the future.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Later by so many milliseconds.
impl Add<u64> for Now {
    type Output = Self;

    fn add(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

impl fmt::Display for Now {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ms", self.0)
    }
}

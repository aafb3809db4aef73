//! How much a peer may ask of the coordinator, and for how long it is waited for. All limits of the server are here.
//!
//! tonic's own are open: any number of connections and streams, no keepalive, no handshake deadline, 4 MiB a message.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Bytes of the headers of one call.
pub(super) const LARGEST_HEADERS: u32 = 16 * 1024;
/// Bytes of one message, for most calls.
pub(super) const LARGEST_MESSAGE: usize = 1024 * 1024;
/// Bytes of one message of a rank: predictions of one shard.
pub(super) const LARGEST_RANK_MESSAGE: usize = 16 * 1024 * 1024;
/// Connections that wait to be accepted. The system has a limit of its own (`net.core.somaxconn`).
pub(super) const BACKLOG: u32 = 4096;
/// Connections that are served at once, if the system lets this process have as many files.
const MOST_CONNECTIONS: usize = 16_384;
/// Files that are left for everything but connections.
const RESERVED_FILES: usize = 256;

/// Limits of the server that do not depend on the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A peer that connects and then does not speak is let go after this long; TLS is part of it.
    pub handshake: Duration,
    /// A peer that says nothing for so long is pinged.
    pub keepalive_interval: Duration,
    /// A peer that does not answer a ping for so long is gone.
    pub keepalive_deadline: Duration,
    /// Connections that are served at once; those beyond are closed at once. The system's limit of files can lower it.
    pub connections: usize,
    /// Calls that one connection can have under way. A client that wants more waits, or uses a second connection.
    pub streams: u32,
    /// A call that waits for others is answered with DEADLINE_EXCEEDED after this long, and asks again.
    pub longest_wait: Duration,
    /// No call is worked on for longer before it is answered; streams are not bounded once they have begun to answer. Longer than
    /// `longest_wait`, and enough for the largest upload over a slow line.
    pub longest_handling: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(20),
            keepalive_deadline: Duration::from_secs(10),
            connections: MOST_CONNECTIONS,
            streams: 32,
            longest_wait: Duration::from_secs(30),
            longest_handling: Duration::from_secs(120),
        }
    }
}

impl Limits {
    /// Asks the system for as many files as this process may have, and says how many connections can be served.
    pub(super) fn connections_within_files(&self) -> usize {
        let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
            if soft < hard {
                setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            }
            Ok(hard)
        });
        let files = raised.unwrap_or_else(|error| {
            warn!(%error, "the system does not say how many files this process may have: expecting the usual 1024");
            1024
        });
        self.connections
            .min(connections(usize::try_from(files).unwrap_or(usize::MAX)))
    }
}

/// Connections under a limit of so many files: at most half of a small one.
fn connections(files: usize) -> usize {
    files.saturating_sub(RESERVED_FILES).max(files / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        assert_eq!(connections(1024), 768);
        assert_eq!(connections(100), 50);
        assert_eq!(connections(0), 1);
    }
}

//! Times and limits of the coordinator, in milliseconds.

/// Chosen at the start of the coordinator; not journaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Between two heartbeats of an agent.
    pub heartbeat_interval: u64,
    /// Without a heartbeat for this long a worker counts as lost.
    pub lease: u64,
    /// A rank that has not joined this long after its gang was formed counts as failed.
    pub start_timeout: u64,
    /// Between SIGTERM and SIGKILL.
    pub stop_grace: u64,
    /// A rank that said that it cannot go on is stopped if it still lives after this.
    pub report_grace: u64,
    /// An agent that came back without a rank has so long to tell how it ended; then it counts as gone.
    pub exit_grace: u64,
    /// Ranks of a job that succeeded are stopped if they still live after this.
    pub linger: u64,
    /// Wait before the second restart; doubled for each further one. The first restart does not wait.
    pub restart_backoff: u64,
    /// Longest wait before a restart.
    pub restart_backoff_limit: u64,
    /// Lost workers that are remembered.
    pub remembered_workers: usize,
    /// Jobs that may wait or run at once; further submits are refused.
    pub unfinished_jobs: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_interval: 2_000,
            lease: 10_000,
            start_timeout: 300_000,
            stop_grace: 10_000,
            report_grace: 10_000,
            exit_grace: 2_000,
            linger: 10_000,
            restart_backoff: 1_000,
            restart_backoff_limit: 60_000,
            remembered_workers: 1_000,
            unfinished_jobs: 10_000,
        }
    }
}

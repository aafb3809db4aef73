//! Times and limits of the coordinator, in milliseconds.

/// Chosen at the start of the coordinator; not journaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Between two heartbeats of an agent.
    pub heartbeat_interval: u64,
    /// Without a heartbeat for this long a worker counts as lost.
    pub lease: u64,
    /// After a start of the coordinator, workers that were there are waited for at most this long while others are coming back; two leases in
    /// any case.
    pub return_limit: u64,
    /// A rank process that has not called this long after it was asked for counts as failed.
    pub start_timeout: u64,
    /// Without a pulse for this long a rank counts as lost.
    pub rank_lease: u64,
    /// A rank that was left by its peers has so long to learn which of them is lost; then the gang is formed anew with all that live.
    pub disconnect_grace: u64,
    /// A rank that has not moved for this long while another waits for it, in a collective or for shards, hangs; where computations were seen to
    /// take long, it is given more time.
    pub hang_timeout: u64,
    /// A gang that has fewer workers than it needs keeps its slots for so long from jobs that could have them.
    pub warm_patience: u64,
    /// Losses this close to each other count as one.
    pub loss_window: u64,
    /// A worker that fails this often within [`Settings::failure_window`] is set aside; 0: never.
    pub worker_failures: usize,
    /// Over which failures of a worker are counted.
    pub failure_window: u64,
    /// Between SIGTERM and SIGKILL.
    pub stop_grace: u64,
    /// A rank that said that it cannot go on is stopped if it still lives after this.
    pub report_grace: u64,
    /// An agent that came back without a rank has so long to tell how it ended; then it counts as gone.
    pub exit_grace: u64,
    /// Ranks of a job that succeeded are stopped if they still live after this.
    pub linger: u64,
    /// Longest wait before a second process is started in place of a lost one; doubled for each further one. The first comes at once.
    pub restart_backoff: u64,
    /// No wait is longer.
    pub restart_backoff_limit: u64,
    /// Lost workers that are remembered.
    pub remembered_workers: usize,
    /// Jobs that may wait or run at once; further submits are refused.
    pub unfinished_jobs: usize,
    /// How much of the history is kept.
    pub retention: Retention,
}

/// How long, how many and how large ended jobs are kept; `None`: without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Milliseconds after their end.
    pub age: Option<u64>,
    /// How many.
    pub jobs: Option<u64>,
    /// Bytes of the files that the coordinator keeps of all of them.
    pub bytes: Option<u64>,
    /// Whether jobs go that left files which nobody has taken a copy of.
    pub unfetched: bool,
}

impl Retention {
    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.age.is_some() || self.jobs.is_some() || self.bytes.is_some()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_interval: 2_000,
            lease: 10_000,
            return_limit: 60_000,
            start_timeout: 300_000,
            rank_lease: 10_000,
            disconnect_grace: 3_000,
            hang_timeout: 20_000,
            warm_patience: 60_000,
            loss_window: 2_000,
            worker_failures: 3,
            failure_window: 600_000,
            stop_grace: 10_000,
            report_grace: 10_000,
            exit_grace: 2_000,
            linger: 10_000,
            restart_backoff: 1_000,
            restart_backoff_limit: 60_000,
            remembered_workers: 1_000,
            unfinished_jobs: 10_000,
            retention: Retention::default(),
        }
    }
}

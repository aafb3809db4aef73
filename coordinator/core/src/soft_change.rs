//! Soft changes: those of what is known only while this coordinator runs. They are applied like records, but never journaled.

use std::sync::Arc;

use crate::identifiers::{JobId, ProcessId, StreamId, WorkerName};
use crate::now::Now;
use crate::state::{Line, Pass, Progress, Reason, StateHash};

/// A change of [`crate::state::Soft`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoftChange {
    /// A worker gave a sign of life.
    LeaseRenewed {
        /// Name of the worker.
        worker: WorkerName,
        /// Until when it counts as there.
        end: Now,
    },
    /// The coordinator could not hear anybody for a while: that time counts against nobody, and what was said meanwhile gets the time of two
    /// heartbeats to arrive.
    Woken {
        /// Time, by the engine's clock.
        at: Now,
        /// Milliseconds for which nobody was heard.
        slept: u64,
    },
    /// What has become possible is looked at then, or has been.
    SettlingPutOff {
        /// Until when; `None`: it is done.
        until: Option<Now>,
    },
    /// When the next ended job will have been kept for long enough.
    RetentionDue {
        /// `None`: nothing is deleted by its age.
        until: Option<Now>,
    },
    /// An agent's stream is open.
    StreamOpened {
        /// Name of the worker.
        worker: WorkerName,
        /// Number of the stream.
        stream: StreamId,
    },
    /// An agent's stream ended; its lease runs on.
    StreamClosed {
        /// Name of the worker.
        worker: WorkerName,
    },
    /// A rank works on a shard.
    ShardLeased {
        /// Of this job.
        job: JobId,
        /// Of this pass.
        pass: Pass,
        /// Number of the shard in its pass.
        shard: u32,
        /// Id of the process.
        process: ProcessId,
    },
    /// An agent was told to end a process.
    StopSent {
        /// Id of the process.
        process: ProcessId,
        /// Time, by the engine's clock.
        at: Now,
    },
    /// An agent came back without a process; the news of its end may be on the way.
    ProcessMissed {
        /// Id of the process.
        process: ProcessId,
        /// Until when it is waited for.
        until: Now,
    },
    /// An agent has a process that it seemed to have lost.
    ProcessFound {
        /// Id of the process.
        process: ProcessId,
    },
    /// A rank gave a sign of life.
    RankPulsed {
        /// Id of the process.
        process: ProcessId,
        /// Time, by the engine's clock.
        at: Now,
        /// What it does.
        progress: Progress,
    },
    /// A rank told what it has learned so far.
    StateHashed {
        /// Of this job.
        job: JobId,
        /// Which rank.
        process: ProcessId,
        /// After which step, and what.
        hash: StateHash,
    },
    /// All ranks have told what they had learned up to a step.
    StatesCompared {
        /// Of this job.
        job: JobId,
        /// Up to here.
        steps_done: u64,
    },
    /// The time has come to start a process in place of a lost one.
    Retried {
        /// For which job.
        job: JobId,
    },
    /// Why a job waits, or that it no longer does.
    Waiting {
        /// Id of the job.
        job: JobId,
        /// `None`: it does not wait.
        reason: Option<Reason>,
    },
    /// What those are told who stand in a line.
    LineTold {
        /// Which.
        line: Arc<Line>,
        /// The sentence; `None`: nobody stands in it.
        said: Option<Arc<str>>,
    },
}

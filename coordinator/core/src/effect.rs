//! Effects: what the shell does once the records of a decision are durable. Each can be repeated without harm.

use crate::identifiers::{Generation, JobId, ProcessId, StreamId, WorkerName};
use crate::state::{JobEnd, Pass};

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell an agent to start a rank. If its stream is gone, drop it: it is asked for again when the agent is back.
    StartRank(StartRank),
    /// Tell an agent to end a rank. If its stream is gone, drop it: it is asked for again when the agent is back.
    StopRank {
        /// On this worker.
        worker: WorkerName,
        /// Id of the process.
        process: ProcessId,
        /// Milliseconds between SIGTERM and SIGKILL.
        grace: u64,
    },
    /// End a stream, so that its agent, if it still lives, attaches again.
    CloseStream {
        /// Name of the worker.
        worker: WorkerName,
        /// Number of the stream.
        stream: StreamId,
    },
    /// Tell an agent that the job which it is there for has ended. If its stream is gone, drop it: it is told when it is back.
    DismissAgent {
        /// On this worker.
        worker: WorkerName,
        /// Id of the job.
        job: JobId,
        /// How it ended.
        end: JobEnd,
    },
    /// All shards of an evaluation are in: compute what only the predictions can tell, then give `Input::PassScored`.
    ScorePass {
        /// Of this job.
        job: JobId,
        /// Its formation: give it back, so that a late answer is not taken for that of a later walk over the same pass.
        generation: Generation,
        /// Kind, split and, where it has one, epoch.
        pass: Pass,
    },
    /// Remove all files of a job, then give `Input::JobErased`.
    EraseJob {
        /// Id of the job.
        job: JobId,
    },
    /// Delete a checkpoint's file; nothing refers to its digest any more.
    DeleteCheckpoint {
        /// Of this job.
        job: JobId,
        /// SHA-256 of its bytes, in hex.
        sha256: String,
    },
}

/// Start one rank process on one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRank {
    /// On this worker.
    pub worker: WorkerName,
    /// Named so.
    pub process: ProcessId,
    /// For this job.
    pub job: JobId,
    /// In this formation.
    pub generation: Generation,
    /// As this rank.
    pub rank: u32,
    /// Of so many.
    pub world_size: u32,
    /// Rank among those on this worker.
    pub local_rank: u32,
    /// Ranks on this worker.
    pub local_world_size: u32,
    /// On this slot.
    pub slot: u32,
}

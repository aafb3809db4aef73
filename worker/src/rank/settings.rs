//! What the agent tells a rank: everything comes from its environment.
//!
//! `RANK`, `WORLD_SIZE` and `FIRN_GENERATION` in it are of the generation for which the process was started, for programs and people that look
//! for them. The rank itself does not read them: it learns its place from each `World`, and keeps no place from one to the next.

use std::path::PathBuf;

use crate::connection::ConnectionArguments;
use clap::Args;

/// Arguments of `firn-worker rank`; the agent sets them as environment variables.
#[derive(Debug, Clone, Args)]
pub struct RankArguments {
    /// How to reach the coordinator.
    #[command(flatten)]
    pub connection: ConnectionArguments,
    /// Resource name of the job: `jobs/{job}`.
    #[arg(long, env = "FIRN_JOB")]
    pub job: String,
    /// Identifier of this process, chosen by the coordinator.
    #[arg(long, env = "FIRN_PROCESS_ID")]
    pub process_id: String,
    /// `cpu` or `cuda:N`.
    #[arg(long, env = "FIRN_DEVICE", default_value = "cpu")]
    pub device: String,
    /// Threads that compute; as many again decode.
    #[arg(long, env = "FIRN_THREADS", default_value_t = 1)]
    pub threads: i32,
    /// Address under which the other ranks reach this machine.
    #[arg(long, env = "FIRN_ADDRESS", default_value = "127.0.0.1")]
    pub address: String,
    /// Folder for files that are too large for the coordinator.
    #[arg(long, env = "FIRN_SCRATCH", default_value = ".")]
    pub scratch: PathBuf,
    /// Seconds for which calls are tried again while the coordinator is away.
    #[arg(long, env = "FIRN_COORDINATOR_PATIENCE", default_value_t = 900)]
    pub coordinator_patience: u64,
    /// Seconds after which a collective operation is given up: more than any rank waits for a slower one. The coordinator finds a rank that
    /// hangs much earlier.
    #[arg(long, env = "FIRN_COLLECTIVE_TIMEOUT", default_value_t = 120)]
    pub collective_timeout: u64,
}

//! What the agent tells a rank: everything comes from its environment.

use std::path::PathBuf;

use clap::Args;
use firn_proto::v1alpha1::RankIdentity;

use crate::connection::ConnectionArguments;

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
    /// Number of the gang's formation.
    #[arg(long, env = "FIRN_GENERATION")]
    pub generation: u64,
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
    /// Seconds after which a collective that does not move is given up.
    #[arg(long, env = "FIRN_COLLECTIVE_TIMEOUT", default_value_t = 300)]
    pub collective_timeout: u64,
}

impl RankArguments {
    /// Who this rank is in every call.
    pub fn identity(&self) -> RankIdentity {
        RankIdentity {
            job: self.job.clone(),
            process_id: self.process_id.clone(),
            generation: self.generation,
        }
    }
}

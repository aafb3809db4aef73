//! A gang: the ranks of a job, formed all together.

use serde::{Deserialize, Serialize};

use crate::identifiers::{Generation, ProcessId, WorkerName};
use crate::now::Now;
use crate::state::failure::{Cause, RankReport};
use crate::state::worker::DeviceKind;

/// The ranks of one formation, in rank order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gang {
    /// Its formation.
    pub generation: Generation,
    /// When it was formed.
    pub formed_at: Now,
    /// In rank order.
    pub members: Vec<Member>,
    /// What ranks said before they ended, in order.
    pub reports: Vec<RankReport>,
}

impl Gang {
    /// The member that runs as this process.
    pub fn member(&self, process: &ProcessId) -> Option<&Member> {
        self.members.iter().find(|member| member.process == *process)
    }
}

/// One rank and where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Position in the gang.
    pub rank: u32,
    /// Its worker.
    pub worker: WorkerName,
    /// The worker's host.
    pub host: String,
    /// The slot on that worker.
    pub slot: u32,
    /// `cpu`, `cuda:0`, …
    pub device: String,
    /// Rank among those on this worker.
    pub local_rank: u32,
    /// Ranks on this worker.
    pub local_world_size: u32,
    /// Its process.
    pub process: ProcessId,
    /// How far it is.
    pub state: MemberState,
}

/// How far a rank is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    /// Its process was asked for.
    Starting,
    /// It has announced itself.
    Joined {
        /// `host:port` of its ring listener.
        ring_address: String,
    },
    /// Its end is known, or its worker is lost.
    Exited,
}

impl MemberState {
    /// As on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Joined { .. } => "Joined",
            Self::Exited => "Exited",
        }
    }
}

/// How gradients are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CollectiveKind {
    /// One rank: nothing to sum.
    Solo,
    /// TCP between CPUs.
    Ring,
    /// NCCL between GPUs.
    Nccl,
}

impl CollectiveKind {
    /// For a gang of so many ranks of one kind.
    pub fn choose(world_size: usize, device: DeviceKind) -> Self {
        match (world_size, device) {
            (0 | 1, _) => Self::Solo,
            (_, DeviceKind::Cpu) => Self::Ring,
            (_, DeviceKind::Gpu) => Self::Nccl,
        }
    }

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Solo => "solo",
            Self::Ring => "ring",
            Self::Nccl => "nccl",
        }
    }
}

/// The gang works together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningGang {
    /// Who.
    pub gang: Gang,
    /// How gradients are summed.
    pub collective: CollectiveKind,
    /// NCCL's unique id from rank 0, once it is there.
    pub collective_id: Option<Vec<u8>>,
    /// Since when.
    pub since: Now,
}

/// The gang comes down: its ranks are stopped, and what explains the loss is still being gathered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollapsingGang {
    /// Who.
    pub gang: Gang,
    /// What is known, in the order in which it was learned; never empty.
    pub causes: Vec<Cause>,
    /// Since when.
    pub since: Now,
}

impl CollapsingGang {
    /// The cause that explains the others: of the smallest standing, the earliest.
    pub fn first_cause(&self) -> Option<&Cause> {
        self.causes.iter().min_by_key(|cause| cause.standing)
    }
}

/// The gang is gone and is to be formed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// The ranks of the formation that was lost.
    pub last: Vec<Member>,
    /// Why it was lost.
    pub cause: Cause,
    /// Not to be formed earlier.
    pub not_before: Now,
}

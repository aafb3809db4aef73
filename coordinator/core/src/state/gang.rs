//! A gang: the ranks of a job, formed all together, and formed anew in the same processes when one of them is lost or one more comes.

use serde::{Deserialize, Serialize};

use crate::identifiers::{Generation, ProcessId, WorkerName};
use crate::now::Now;
use crate::state::checkpoint::Checkpoint;
use crate::state::failure::{Cause, RankReport};
use crate::state::release::Release;
use crate::state::worker::{DeviceKind, WorkerDescription};

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
    /// Processes that prepare while the members work. Those that are ready become members of the next formation.
    pub recruits: Vec<Member>,
    /// Nobody was lost: ranks that work in the formation before finish their step first.
    pub at_step_boundary: bool,
    /// The newest checkpoint is gone back to, whatever the ranks hold.
    pub rewind: bool,
}

impl Gang {
    /// The member that runs as this process.
    pub fn member(&self, process: &ProcessId) -> Option<&Member> {
        self.members.iter().find(|member| member.process == *process)
    }

    /// The recruit that runs as this process.
    pub fn recruit(&self, process: &ProcessId) -> Option<&Member> {
        self.recruits.iter().find(|recruit| recruit.process == *process)
    }

    /// Members and recruits.
    pub fn everyone(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().chain(&self.recruits)
    }

    /// Members whose end is not known.
    pub fn living(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.state != MemberState::Exited)
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
    /// Optimizer steps that it had applied when it joined.
    pub steps_done: u64,
}

impl Member {
    /// One that is to be started: `local` is its rank among those on the worker, and how many they are.
    pub(crate) fn to_start(
        worker: &WorkerDescription,
        slot: u32,
        rank: u32,
        local: (u32, u32),
        process: ProcessId,
    ) -> Self {
        let device = worker.slots.iter().find(|known| known.index == slot);
        let (local_rank, local_world_size) = local;
        Self {
            rank,
            worker: worker.name.clone(),
            host: worker.host.clone(),
            slot,
            device: device.map(|known| known.device.clone()).unwrap_or_default(),
            local_rank,
            local_world_size,
            process,
            state: MemberState::Starting,
            steps_done: 0,
        }
    }

    /// Whether it said this. Ranks are numbered anew with every formation, and recruits provisionally.
    pub fn said(&self, report: &RankReport) -> bool {
        match &report.process {
            Some(process) => *process == self.process,
            None => report.rank == self.rank,
        }
    }

    /// Whether it has joined, and has not left since.
    pub fn has_joined(&self) -> bool {
        matches!(self.state, MemberState::Joined { .. })
    }

    /// Whether it has left a working gang.
    pub fn has_left(&self) -> bool {
        self.reason_to_leave().is_some()
    }

    /// Why it has left a working gang, if it has.
    pub fn reason_to_leave(&self) -> Option<&str> {
        match &self.state {
            MemberState::Left { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

/// How far a rank is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    /// Its process was asked for, or it is to join again.
    Starting,
    /// It has announced itself.
    Joined {
        /// `host:port` of its ring listener.
        ring_address: String,
    },
    /// It has left a working gang, because its peers left it: it waits for the next formation.
    Left {
        /// `host:port` of its new ring listener.
        ring_address: String,
        /// What it says.
        reason: String,
        /// Time, by the engine's clock.
        at: Now,
    },
    /// Its end is known, or it is lost.
    Exited,
}

impl MemberState {
    /// As on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Joined { .. } => "Joined",
            Self::Left { .. } => "Left",
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
    /// Its ranks, in their order.
    pub gang: Gang,
    /// How gradients are summed.
    pub collective: CollectiveKind,
    /// Where each rank listened when the gang became complete, in rank order. Ranks that have left since are still among them, so that all
    /// get the same world.
    #[serde(default)]
    pub ring_addresses: Vec<String>,
    /// NCCL's unique id from rank 0, once it is there.
    pub collective_id: Option<Vec<u8>>,
    /// Since when.
    pub since: Now,
    /// Where the state came from.
    pub origin: Origin,
    /// Optimizer steps of that state.
    pub steps_done: u64,
}

/// Where the ranks of a complete gang take the trained state from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The state before the first step.
    Initial,
    /// This checkpoint, on all ranks.
    Checkpoint(Checkpoint),
    /// The rank that has applied the most steps, by broadcast.
    Rank(u32),
    /// Training is over: the directive names the checkpoint.
    Unneeded,
}

/// The gang is gone and is to be formed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// The ranks of the formation that was lost.
    pub last: Vec<Member>,
    /// Why it was lost; `None`: all ranks have left on purpose.
    pub cause: Option<Cause>,
    /// Not to be formed earlier.
    pub not_before: Now,
    /// Why it gave its slots back, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Release>,
}

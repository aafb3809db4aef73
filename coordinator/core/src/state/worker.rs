//! Workers and the rank processes on their slots.
//!
//! A process occupies its slot from the moment it is asked for until its end is known; a worker that is lost keeps its processes, so that
//! nothing is placed beside one that may still be alive when the worker comes back.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identifiers::{Generation, InstanceId, JobId, ProcessId, WorkerName};
use crate::now::Now;
use crate::revision::Revision;
use crate::state::{Job, Serves};

/// One node's agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// What it said of itself when it attached last.
    pub description: WorkerDescription,
    /// When it attached first, or came back after it was lost.
    pub attached_at: Now,
    /// Whether it is there.
    pub presence: Presence,
    /// Whether new ranks may be placed on it.
    pub availability: Availability,
    /// When ranks were lost on it by no fault of the job, newest last; at most the last few, and none from before a person put it back into
    /// use.
    pub failures: Vec<Now>,
    /// The job that it was dedicated to has ended: its agent is told to leave, and gets nothing more to do, also if a job of the same name comes.
    #[serde(default)]
    pub is_dismissed: bool,
    /// Agents from which later ones have taken the name over, newest last; at most the last few. They do not get it back.
    #[serde(default)]
    pub replaced: Vec<InstanceId>,
}

/// Whether a worker takes new ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Availability {
    /// It does.
    #[default]
    Ready,
    /// A person takes it out of use: its ranks leave.
    Drained,
    /// Its agent was told to end: its ranks leave. Over when an agent attaches that has just started.
    Preempted,
    /// It failed too often in a short time: its ranks stay, no new one comes. Over when an agent attaches that has just started, unless the
    /// failures are still recent.
    SetAside,
}

impl Availability {
    /// Whether the ranks that are there are to leave.
    pub fn is_leaving(self) -> bool {
        matches!(self, Self::Drained | Self::Preempted)
    }
}

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDescription {
    /// Unique among workers.
    pub name: WorkerName,
    /// Host name, for people.
    pub host: String,
    /// Address under which other machines reach this one.
    pub address: String,
    /// What can run here.
    pub slots: Vec<Slot>,
    /// Of the agent's program.
    pub version: String,
    /// Of the protocol that it speaks; not recorded by earlier programs, whose agents spoke the oldest.
    #[serde(default)]
    pub protocol: Revision,
    /// New at every start of the agent.
    pub instance: InstanceId,
    /// What jobs may ask for with `workerSelector`; agents of earlier programs have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For which jobs it is there; agents of earlier programs are there for all.
    #[serde(default, skip_serializing_if = "Serves::is_shared")]
    pub serves: Serves,
}

impl WorkerDescription {
    /// Whether a job may be placed here: it is served, and the labels that it asks for are there.
    pub fn suits(&self, job: &Job) -> bool {
        self.serves.includes(job) && has_labels(&self.labels, &job.spec.scheduling.worker_selector)
    }
}

/// Whether all that is selected is there.
pub fn has_labels(labels: &BTreeMap<String, String>, selector: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Room for one rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Unique on its worker.
    pub index: u32,
    /// `cpu`, `cuda:0`, …
    pub device: String,
    /// CPU share in threads, or the GPU's name.
    pub description: String,
    /// GPU memory, or memory of the host divided by its slots.
    pub memory_bytes: u64,
}

impl Slot {
    /// Its kind.
    pub fn kind(&self) -> DeviceKind {
        DeviceKind::of(&self.device)
    }
}

/// Kind of slot; a gang never mixes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A share of the host's processors.
    Cpu,
    /// One GPU.
    Gpu,
}

impl DeviceKind {
    /// Of a device name: `cpu` or anything else.
    pub fn of(device: &str) -> Self {
        if device == "cpu" { Self::Cpu } else { Self::Gpu }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        })
    }
}

/// Whether a worker is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// Its lease runs.
    Attached,
    /// It is gone, for now.
    Lost {
        /// Since when.
        at: Now,
        /// Why it counts as gone.
        reason: LossReason,
    },
}

/// Why a worker counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LossReason {
    /// No heartbeat within its lease.
    LeaseExpired,
    /// It said that it leaves.
    Left,
    /// The coordinator was restored from a backup, and knows nothing of what it has done since.
    Restored,
}

impl Worker {
    /// Whether its lease runs.
    pub fn is_attached(&self) -> bool {
        self.presence == Presence::Attached
    }

    /// Whether new ranks may be placed on it.
    pub fn takes_ranks(&self) -> bool {
        self.is_attached() && self.availability == Availability::Ready && !self.is_dismissed
    }
}

/// A rank process that may be alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its job.
    pub job: JobId,
    /// The newest formation that it belongs to, or the one that recruited it.
    pub generation: Generation,
    /// The formation that it was asked for, or that recruited it.
    #[serde(default)]
    pub asked_in: Generation,
    /// Its rank there.
    pub rank: u32,
    /// When it was asked for.
    pub asked_at: Now,
    /// Name of the worker that runs it.
    pub worker: WorkerName,
    /// On which slot.
    pub slot: u32,
    /// Its number at the operating system, once the agent has confirmed the start.
    pub pid: Option<u32>,
    /// Set once it is to end.
    pub stop: Option<StopRequest>,
    /// It is to leave: it was told to end by somebody else and says so, or its gang has more workers than it may.
    pub leaving: bool,
    /// When its gang was formed anew without it: it finishes the step that it is in, and ends by itself.
    pub let_go_at: Option<Now>,
    /// The formation that it left when it joined last: a call to join from an earlier one has been on its way for too long.
    #[serde(default)]
    pub left: Generation,
}

impl Process {
    /// Whether its slot will be free soon, whatever happens.
    pub fn is_ending(&self) -> bool {
        self.stop.is_some() || self.let_go_at.is_some()
    }
}

/// That a process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// Since when.
    pub at: Now,
    /// Milliseconds between SIGTERM and SIGKILL.
    pub grace: u64,
}

/// A process that an agent has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivingProcess {
    /// Id of the process.
    pub process: ProcessId,
    /// Its number at the operating system.
    pub pid: u32,
}

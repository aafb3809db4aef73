//! Which rank a process was: learned from the records, so that lines that come long after the process are still filed.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use firn_core::{
    Event, JobEvent, Record,
    identifiers::{Generation, JobId, ProcessId},
};
use serde::{Deserialize, Serialize};

/// What a process was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its job.
    pub job: JobId,
    /// Its formation.
    pub generation: Generation,
    /// Its rank.
    pub rank: u32,
}

/// What each process was.
pub type Processes = BTreeMap<ProcessId, Origin>;

/// All rank processes there ever were.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    processes: Arc<RwLock<Processes>>,
}

impl Origins {
    /// Remembers the processes that a record names; forgets those of a job that is deleted, so that no line of them is stored any more.
    pub fn learn(&self, record: &Record) {
        let Event::Job { job, event } = &record.event else {
            return;
        };
        let (generation, members) = match event {
            JobEvent::GangFormed {
                generation, members, ..
            } => (generation, members),
            JobEvent::RanksRecruited { generation, recruits } => (generation, recruits),
            JobEvent::Deleted { .. } => {
                let mut processes = self.processes.write().unwrap_or_else(PoisonError::into_inner);
                processes.retain(|_, origin| origin.job != *job);
                return;
            }
            _ => return,
        };
        let mut processes = self.processes.write().unwrap_or_else(PoisonError::into_inner);
        for member in members {
            let origin = Origin {
                job: job.clone(),
                generation: *generation,
                rank: member.rank,
            };
            processes.insert(member.process.clone(), origin);
        }
    }

    /// All processes that were learned.
    pub fn all(&self) -> Processes {
        self.processes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers these, beside those that were learned.
    pub fn extend(&self, processes: Processes) {
        self.processes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(processes);
    }

    /// What a process was; `None`: no record names it.
    pub fn of(&self, process: &ProcessId) -> Option<Origin> {
        self.processes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(process)
            .cloned()
    }
}

//! Wakes those who wait for a job to change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use firn_core::{State, identifiers::JobId, state::Reason};
use tokio::sync::watch;

/// Whose waiters have to ask again.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) jobs: BTreeSet<JobId>,
    /// A worker came or went: what is not of one job.
    pub(super) others: bool,
    /// What jobs are told that wait behind another.
    pub(super) lines: bool,
}

/// One counter a job that somebody watches. Subscribe first, then look: a change in between is not missed.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    jobs: Arc<Mutex<BTreeMap<JobId, watch::Sender<u64>>>>,
}

impl Changes {
    /// Sees every change of the job from now on; several at once count as one.
    pub fn of(&self, job: &JobId) -> watch::Receiver<u64> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.entry(job.clone())
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe()
    }

    pub(super) fn notify(&self, touched: &Touched, state: &State) {
        if touched.jobs.is_empty() && !touched.others && !touched.lines {
            return;
        }
        let stands_in_a_line = |job: &JobId| matches!(state.soft.waiting.get(job), Some(Reason::Behind(_)));
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // A counter without watchers is made anew when the next one comes.
        jobs.retain(|job, sender| {
            if touched.jobs.contains(job) || touched.lines && stands_in_a_line(job) {
                sender.send_modify(|count| *count += 1);
            }
            sender.receiver_count() > 0
        });
    }

    /// Wakes everybody, so that whoever waits asks again.
    pub(super) fn notify_all(&self) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in jobs.values() {
            sender.send_modify(|count| *count += 1);
        }
    }
}

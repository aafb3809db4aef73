//! What a batch of letters has led to, held back until the records are durable.

use std::collections::BTreeSet;

use firn_core::{Decision, Effect, Note, Record, Reply, identifiers::JobId};
use tokio::sync::oneshot;

use super::handle::Refusal;

/// What an input came to.
pub(super) type Outcome = Result<Reply, Refusal>;

/// Sends an answer that was held back.
pub(super) type Release = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) effects: Vec<Effect>,
    pub(super) releases: Vec<Release>,
    pub(super) touched: Touched,
}

/// Whose waiters have to ask again.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) jobs: BTreeSet<JobId>,
    /// A worker came or went: what is not of one job.
    pub(super) others: bool,
}

impl Batch {
    /// Takes over what a decision asks for.
    pub(super) fn add(&mut self, decision: Decision) -> Outcome {
        for record in &decision.records {
            match record.job() {
                Some(job) => self.touch(job),
                None => self.touched.others = true,
            }
        }
        for note in &decision.notes {
            match note {
                Note::ShardLeased { job, .. } | Note::Waiting { job, .. } => self.touch(job),
                Note::StreamOpened { .. } | Note::StreamClosed { .. } => self.touched.others = true,
                // Nobody waits for these; what follows from them is a record.
                Note::LeaseRenewed { .. }
                | Note::Woken { .. }
                | Note::SettlingPutOff { .. }
                | Note::StopSent { .. }
                | Note::ProcessMissed { .. }
                | Note::ProcessFound { .. }
                | Note::RankPulsed { .. }
                | Note::StateHashed { .. }
                | Note::StatesCompared { .. }
                | Note::Retried { .. } => {}
            }
        }
        self.records.extend(decision.records);
        self.effects.extend(decision.effects);
        Ok(decision.reply)
    }

    fn touch(&mut self, job: &JobId) {
        if !self.touched.jobs.contains(job) {
            self.touched.jobs.insert(job.clone());
        }
    }

    pub(super) fn answer(&mut self, answer: Option<oneshot::Sender<Outcome>>, outcome: Outcome) {
        if let Some(answer) = answer {
            // A caller that has gone away needs no answer.
            self.releases.push(Box::new(move || drop(answer.send(outcome))));
        }
    }

    pub(super) fn release_later(&mut self, release: Release) {
        self.releases.push(release);
    }
}

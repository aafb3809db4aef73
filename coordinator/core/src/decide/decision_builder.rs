//! A decision in the making: its parts so far, and the state as it will be once they are applied.

use crate::apply::{apply, apply_soft};
use crate::decision::Decision;
use crate::effect::Effect;
use crate::identifiers::JobId;
use crate::now::Now;
use crate::record::{Event, JobEvent, Record};
use crate::reply::Reply;
use crate::soft_change::SoftChange;
use crate::state::{Pass, State};

/// Collects records, soft changes and effects. The state is copied only when something looks at it after a change: heartbeats and committed steps,
/// which are most of all inputs, never copy.
pub(super) struct DecisionBuilder<'a> {
    base: &'a State,
    ahead: Option<Box<State>>,
    applied_records: usize,
    applied_soft_changes: usize,
    now: Now,
    records: Vec<Record>,
    soft_changes: Vec<SoftChange>,
    effects: Vec<Effect>,
}

impl<'a> DecisionBuilder<'a> {
    pub(super) fn new(base: &'a State, now: Now) -> Self {
        Self {
            base,
            ahead: None,
            applied_records: 0,
            applied_soft_changes: 0,
            now,
            records: Vec::new(),
            soft_changes: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> Now {
        self.now
    }

    /// The state before the decision.
    pub(super) fn base(&self) -> &'a State {
        self.base
    }

    /// The state with all that has been decided so far.
    pub(super) fn state(&mut self) -> &State {
        if self.applied_records == self.records.len() && self.applied_soft_changes == self.soft_changes.len() {
            return self.ahead.as_deref().unwrap_or(self.base);
        }
        let ahead = self.ahead.get_or_insert_with(|| Box::new(self.base.clone()));
        for record in &self.records[self.applied_records..] {
            apply(ahead, record);
        }
        for change in &self.soft_changes[self.applied_soft_changes..] {
            apply_soft(ahead, change);
        }
        self.applied_records = self.records.len();
        self.applied_soft_changes = self.soft_changes.len();
        ahead
    }

    /// Whether anything was decided about a job.
    pub(super) fn changes_jobs(&self) -> bool {
        self.records.iter().any(|record| record.job().is_some())
    }

    /// Whether a job is over by what was decided.
    pub(super) fn ends_a_job(&self) -> bool {
        self.ended_jobs().next().is_some()
    }

    /// Jobs that are over by what was decided.
    pub(super) fn ended_jobs(&self) -> impl Iterator<Item = &JobId> {
        self.records.iter().filter_map(|record| match &record.event {
            Event::Job {
                job,
                event: JobEvent::Ended { .. },
            } => Some(job),
            _ => None,
        })
    }

    /// Whether a process is gone, or not waited for any more, by what was decided.
    pub(super) fn ends_a_process(&self) -> bool {
        self.records.iter().any(|record| match &record.event {
            Event::WorkerLost { .. } => true,
            Event::Job { event, .. } => matches!(event, JobEvent::RankExited { .. }),
            _ => false,
        })
    }

    pub(super) fn record(&mut self, event: Event) {
        self.records.push(Record { at: self.now, event });
    }

    pub(super) fn record_job(&mut self, job: &JobId, event: JobEvent) {
        self.record(Event::Job {
            job: job.clone(),
            event,
        });
    }

    pub(super) fn change_soft(&mut self, change: SoftChange) {
        self.soft_changes.push(change);
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Asks for the scores of evaluations whose shards are all in; the answer may have been lost with a formation or a coordinator.
    pub(super) fn request_scores(&mut self, id: &JobId) {
        let Some(job) = self.state().jobs.get(id).cloned() else {
            return;
        };
        for (&pass, progress) in &job.run.passes {
            if matches!(pass, Pass::Evaluate { .. }) && progress.is_complete() {
                self.effect(Effect::ScorePass {
                    job: id.clone(),
                    generation: job.generation,
                    pass,
                });
            }
        }
    }

    pub(super) fn finish(self, reply: Reply) -> Decision {
        Decision {
            records: self.records,
            soft_changes: self.soft_changes,
            effects: self.effects,
            reply,
        }
    }
}

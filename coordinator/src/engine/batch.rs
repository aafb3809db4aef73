//! What a batch of messages has led to, held back until the records are durable.

use firn_core::{Decision, Effect, Record, Sender, SoftChange, State, identifiers::JobId};

use super::{
    changes::Touched,
    handle::{Answer, Outcome, Question, Refusal},
    open_questions::{OpenQuestion, OpenQuestions},
    standing::Standing,
};
use crate::journal::{Encoded, Journal};

/// Somebody who is answered after the commit.
enum Waiting {
    Told {
        answer: Answer,
        sender: Sender,
        outcome: Outcome,
    },
    Asked(Question),
    AskedUntilAnswered(JobId, Box<dyn OpenQuestion>),
}

#[derive(Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// `records`, as they are written.
    pub(super) encoded: Vec<Encoded>,
    /// For each decision: how many of `records` are there with it, and its soft changes.
    decisions: Vec<(usize, Vec<SoftChange>)>,
    pub(super) effects: Vec<Effect>,
    waiting: Vec<Waiting>,
    pub(super) touched: Touched,
}

impl Batch {
    /// Takes over what a decision asks for, and carries it over into the state that runs ahead.
    ///
    /// # Errors
    /// When one of its records could not be read back; then nothing of it is taken over.
    pub(super) fn add(&mut self, decision: Decision, ahead: &mut State) -> Outcome {
        let encoded: Result<Vec<_>, _> = decision.records.iter().map(Journal::encode).collect();
        let encoded = encoded.map_err(|error| Refusal::Unrecordable {
            reason: error.to_string(),
        })?;
        self.encoded.extend(encoded);
        firn_core::enact(ahead, &decision);
        for record in &decision.records {
            match record.job() {
                Some(job) => self.touch(job),
                None => self.touched.others = true,
            }
        }
        for change in &decision.soft_changes {
            match change {
                SoftChange::ShardLeased { job, .. } | SoftChange::Waiting { job, .. } => self.touch(job),
                SoftChange::LineTold { .. } => self.touched.lines = true,
                SoftChange::StreamOpened { .. } | SoftChange::StreamClosed { .. } => self.touched.others = true,
                // Nobody waits for these; what follows from them is a record.
                SoftChange::LeaseRenewed { .. }
                | SoftChange::Woken { .. }
                | SoftChange::SettlingPutOff { .. }
                | SoftChange::StopSent { .. }
                | SoftChange::ProcessMissed { .. }
                | SoftChange::ProcessFound { .. }
                | SoftChange::RankPulsed { .. }
                | SoftChange::StateHashed { .. }
                | SoftChange::StatesCompared { .. }
                | SoftChange::RetentionDue { .. }
                | SoftChange::Retried { .. } => {}
            }
        }
        self.records.extend(decision.records);
        self.decisions.push((self.records.len(), decision.soft_changes));
        self.effects.extend(decision.effects);
        Ok(decision.reply)
    }

    fn touch(&mut self, job: &JobId) {
        if !self.touched.jobs.contains(job) {
            self.touched.jobs.insert(job.clone());
        }
    }

    pub(super) fn answer_later(&mut self, answer: Answer, sender: Sender, outcome: Outcome) {
        self.waiting.push(Waiting::Told {
            answer,
            sender,
            outcome,
        });
    }

    pub(super) fn ask_later(&mut self, question: Question) {
        self.waiting.push(Waiting::Asked(question));
    }

    pub(super) fn ask_until_answered(&mut self, job: JobId, question: Box<dyn OpenQuestion>) {
        self.waiting.push(Waiting::AskedUntilAnswered(job, question));
    }

    /// Carries the decisions over into the state as it is on disk.
    pub(super) fn enact(&mut self, durable: &mut State) {
        let mut done = 0;
        for (end, soft_changes) in self.decisions.drain(..) {
            for record in &self.records[done..end] {
                firn_core::apply(durable, record);
            }
            for change in &soft_changes {
                firn_core::apply_soft(durable, change);
            }
            done = end;
        }
    }

    /// Answers everybody, in order. Questions that have no answer yet become open ones.
    pub(super) fn release(self, durable: &State, open: &mut OpenQuestions) {
        for waiting in self.waiting {
            match waiting {
                Waiting::Told { answer, outcome, .. } => answer(outcome, durable),
                Waiting::Asked(question) => question(durable),
                Waiting::AskedUntilAnswered(job, question) => open.begin(job, question, durable),
            }
        }
    }

    /// Answers questions, and tells everybody else that nothing is known to be written.
    pub(super) fn refuse(self, standing: &Standing, durable: &State, open: &mut OpenQuestions) {
        for waiting in self.waiting {
            match waiting {
                Waiting::Told { answer, sender, .. } => {
                    answer(Err(Refusal::NotWritten(standing.refusal(sender))), durable);
                }
                Waiting::Asked(question) => question(durable),
                Waiting::AskedUntilAnswered(job, question) => open.begin(job, question, durable),
            }
        }
    }
}

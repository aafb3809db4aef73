//! A coordinator without a shell: it journals, replays, and plays the agents and ranks of a gang.

mod agents;
mod ranks;
mod values;

use std::sync::Arc;

use firn_core::audit::{Auditor, Flaw};
use firn_core::identifiers::{JobId, ProcessId};
use firn_core::spec::JobSpec;
use firn_core::state::*;
use firn_core::{Decision, Effect, Input, Now, Record, Reject, Reply, Settings, StartRank, State, decide, enact};

pub(crate) use values::*;

/// State, clock and journal.
pub(crate) struct Coordinator {
    pub(crate) state: State,
    pub(crate) now: Now,
    pub(crate) journal: Vec<Record>,
    /// What was asked for and not looked at yet.
    pub(crate) effects: Vec<Effect>,
    /// Loss of each epoch's validation; 0.5 beyond.
    pub(crate) losses: Vec<f64>,
    /// What is predicted of each sample of the validation after an epoch, every second one being of the second class; beyond, everything is right.
    pub(crate) predicted: Vec<Vec<u32>>,
    /// Thresholds of labels that are tuned on the validation of each epoch.
    pub(crate) thresholds: Vec<Vec<f64>>,
    streams: u64,
}

impl Coordinator {
    pub(crate) fn new() -> Self {
        let mut coordinator = Self {
            state: State::new(Settings::default()),
            now: Now(1_000_000),
            journal: Vec::new(),
            effects: Vec::new(),
            losses: Vec::new(),
            predicted: Vec::new(),
            thresholds: Vec::new(),
            streams: 0,
        };
        coordinator.give(Input::CoordinatorStarted).unwrap();
        coordinator
    }

    /// Decides, journals and enacts.
    pub(crate) fn give(&mut self, input: Input) -> Result<Reply, Reject> {
        let Decision {
            records,
            soft_changes,
            effects,
            reply,
        } = decide(&self.state, self.now, input)?;
        let records: Vec<Record> = records.iter().map(through_the_journal).collect();
        let decision = Decision {
            records,
            soft_changes,
            effects,
            reply,
        };
        enact(&mut self.state, &decision);
        self.journal.extend(decision.records);
        self.effects.extend(decision.effects);
        Ok(decision.reply)
    }

    /// The input is followed.
    #[track_caller]
    pub(crate) fn accept(&mut self, input: Input) -> Reply {
        self.give(input).expect("the input is followed")
    }

    /// The input is refused, with this sentence.
    #[track_caller]
    pub(crate) fn refuse(&mut self, input: Input) -> String {
        let records = self.journal.len();
        let reject = self.give(input).expect_err("the input is refused");
        assert_eq!(self.journal.len(), records, "a refusal changes nothing");
        reject.to_string()
    }

    /// The state that the journal alone gives.
    pub(crate) fn replayed(&self) -> State {
        let mut state = State::new(self.state.settings.clone());
        for record in &self.journal {
            firn_core::apply(&mut state, record);
        }
        state
    }

    /// Kills the coordinator and starts it again.
    pub(crate) fn crash(&mut self) {
        let replayed = self.replayed();
        assert_eq!(
            durable(&replayed),
            durable(&self.state),
            "the journal replays to the live state"
        );
        self.state = replayed;
        self.effects.clear();
        self.accept(Input::CoordinatorStarted);
    }

    /// What was recorded since a backup of so many records is lost, and a coordinator serves what is left.
    pub(crate) fn restore(&mut self, records: usize) {
        self.journal.truncate(records);
        self.state = self.replayed();
        self.effects.clear();
        self.accept(Input::CoordinatorRestored);
        self.crash();
    }

    /// Time passes, and what is due happens on time.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        while let Some(deadline) = firn_core::deadline(&self.state).filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.accept(Input::Tick);
            assert!(
                firn_core::deadline(&self.state).is_none_or(|next| next > self.now),
                "a tick leaves nothing that is due"
            );
        }
        self.now = end;
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn starts(&mut self) -> Vec<StartRank> {
        let starts = self.effects.iter().filter_map(|effect| match effect {
            Effect::StartRank(start) => Some(start.clone()),
            _ => None,
        });
        let starts = starts.collect();
        self.effects.retain(|effect| !matches!(effect, Effect::StartRank(_)));
        starts
    }

    pub(crate) fn stops(&mut self) -> Vec<ProcessId> {
        let stops = self.take_effects().into_iter().filter_map(|effect| match effect {
            Effect::StopRank { process, .. } => Some(process),
            _ => None,
        });
        stops.collect()
    }

    pub(crate) fn job(&self, name: &str) -> &Job {
        self.state.job(&job(name)).expect("the job exists")
    }

    #[track_caller]
    pub(crate) fn failure(&self, name: &str) -> &Failure {
        match self.job(name).outcome() {
            Some(Outcome::Failed(failure)) => failure,
            other => panic!("expected a failed job, found {other:?}"),
        }
    }

    pub(crate) fn condition(&self, name: &str, kind: ConditionKind) -> (ConditionStatus, String, String) {
        let conditions = firn_core::queries::conditions(&self.state, self.job(name));
        let condition = conditions
            .into_iter()
            .find(|condition| condition.kind == kind)
            .expect("it was decided");
        (condition.status, condition.reason, condition.message)
    }

    pub(crate) fn why_queued(&self, name: &str) -> String {
        self.condition(name, ConditionKind::Queued).2
    }

    #[track_caller]
    pub(crate) fn submit(&mut self, spec: JobSpec) -> JobId {
        match self.accept(Input::Submit { spec: Arc::new(spec) }) {
            Reply::Submitted(job) => job,
            other => panic!("expected a job, found {other:?}"),
        }
    }
}

/// Every story ends with the audit of all its jobs: whatever happened, the journal proves what was used for what.
impl Drop for Coordinator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for job in self.state.jobs.keys() {
            let mut auditor = Auditor::new(job.clone());
            for (sequence, record) in (0..).zip(&self.journal) {
                auditor.see(sequence, record);
            }
            let mut findings = auditor.finish().findings;
            // Most of the ranks that are played here leave no files.
            findings.retain(|finding| finding.flaw != Flaw::Artifact);
            assert_eq!(findings, [], "the journal of {job}");
        }
    }
}

/// What the journal decides.
pub(crate) fn durable(state: &State) -> serde_json::Value {
    serde_json::to_value(state).expect("the state is serialisable")
}

/// A record as it comes back from the disk.
fn through_the_journal(record: &Record) -> Record {
    let text = serde_json::to_string(record).expect("a record is serialisable");
    let back = serde_json::from_str(&text).expect("a record reads back");
    assert_eq!(*record, back);
    back
}

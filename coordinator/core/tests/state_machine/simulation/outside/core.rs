//! The coordinator under test: decides, journals, and can be made anew from its journal.

use firn_core::state::Soft;
use firn_core::{Decision, Effect, Input, Now, Record, Reject, Reply, Settings, State, apply, decide, enact};

/// State, clock and journal.
pub(crate) struct Core {
    pub(crate) state: State,
    pub(crate) now: Now,
    pub(crate) journal: Vec<Record>,
    /// The fold of the journal, one record after the other, beside the live state.
    folded: State,
    folded_records: usize,
}

/// What came of an input.
pub(crate) struct Outcome {
    pub(crate) reply: Result<Reply, Reject>,
    pub(crate) effects: Vec<Effect>,
    /// Records before the decision.
    pub(crate) before: usize,
    /// The decision, without its records.
    pub(crate) soft_changes: Vec<firn_core::SoftChange>,
}

impl Core {
    pub(crate) fn new() -> Self {
        Self {
            state: State::new(Settings::default()),
            now: Now(1_000_000),
            journal: Vec::new(),
            folded: State::new(Settings::default()),
            folded_records: 0,
        }
    }

    /// Decides, journals and enacts.
    pub(crate) fn give(&mut self, input: Input) -> Outcome {
        let before = self.journal.len();
        let decision = match decide(&self.state, self.now, input) {
            Ok(decision) => decision,
            Err(reject) => {
                return Outcome {
                    reply: Err(reject),
                    effects: Vec::new(),
                    before,
                    soft_changes: Vec::new(),
                };
            }
        };
        let records: Vec<Record> = decision.records.iter().map(through_the_disk).collect();
        let decision = Decision { records, ..decision };
        enact(&mut self.state, &decision);
        self.journal.extend(decision.records);
        Outcome {
            reply: Ok(decision.reply),
            effects: decision.effects,
            before,
            soft_changes: decision.soft_changes,
        }
    }

    /// Whether the journal so far gives the live state. Asked after every decision, this holds for every prefix of the journal that can be on
    /// a disk.
    pub(crate) fn replays_so_far(&mut self) -> bool {
        if self.folded_records == self.journal.len() {
            return true;
        }
        for record in &self.journal[self.folded_records..] {
            apply(&mut self.folded, record);
        }
        self.folded_records = self.journal.len();
        durable(&self.folded) == durable(&self.state)
    }

    /// The state that the journal gives from the beginning.
    pub(crate) fn replayed(&self) -> State {
        let mut state = State::new(Settings::default());
        for record in &self.journal {
            apply(&mut state, record);
        }
        state
    }

    /// A new coordinator on the same journal.
    pub(crate) fn restart(&mut self) {
        self.state = self.replayed();
        self.folded = self.state.clone();
        self.folded_records = self.journal.len();
    }
}

/// What the journal decides.
fn durable(state: &State) -> State {
    State {
        soft: Soft::default(),
        ..state.clone()
    }
}

/// A record as it comes back from the disk.
fn through_the_disk(record: &Record) -> Record {
    let bytes = serde_json::to_vec(record).expect("a record is serialisable");
    let back: Record = serde_json::from_slice(&bytes).expect("a record reads back");
    assert_eq!(*record, back, "a record reads back as it was written");
    back
}

//! What holds after every action. Each invariant has a name, which the message of a broken one gives.

mod books;
mod history;
mod queue;
mod tally;
mod truth;

use std::collections::{BTreeMap, BTreeSet};

use firn_core::identifiers::{Generation, JobId, ProcessId, RequestId};
use firn_core::queue::quota::Use;
use firn_core::state::*;

use super::outside::Outside;

pub(crate) use queue::order_is_kept;
pub(crate) use tally::{Tally, WORTH_TELLING};

/// What an invariant says.
pub(crate) type Verdict = Result<(), String>;

pub(crate) fn hold(holds: bool, invariant: &str, detail: impl FnOnce() -> String) -> Verdict {
    match holds {
        true => Ok(()),
        false => Err(format!("invariant `{invariant}` is broken: {}", detail())),
    }
}

/// What has been seen so far, to hold the present against.
#[derive(Default)]
pub(crate) struct Witness {
    generations: BTreeMap<JobId, Generation>,
    ended: BTreeMap<JobId, Outcome>,
    epoch: u64,
    /// Shards that count, by pass, with the state that scored them; those that were taken back are not among them.
    counted: BTreeMap<(JobId, Pass), BTreeMap<u32, u64>>,
    next_step: BTreeMap<JobId, u64>,
    /// Processes that were lost, let go or told to end.
    fenced: BTreeSet<ProcessId>,
    /// Those that are gone for good; one that was told to end may be waited for.
    gone: BTreeSet<ProcessId>,
    /// Jobs whose gangs give their slots back, and nothing has gone wrong since.
    released: BTreeSet<JobId>,
    /// Processes that a fault ends as if they had handed over.
    pub(crate) deserters: BTreeSet<ProcessId>,
    /// Steps of the newest checkpoint of each job.
    stored: BTreeMap<JobId, u64>,
    requests: BTreeSet<RequestId>,
    /// What each namespace held.
    used: BTreeMap<String, Use>,
    /// Jobs that give their slots back.
    releasing: BTreeSet<JobId>,
    processes: BTreeSet<ProcessId>,
    pub(crate) tally: Tally,
}

impl Witness {
    /// Checks everything.
    pub(crate) fn check(&mut self, outside: &Outside) -> Verdict {
        let state = &outside.core.state;
        self.check_books(state)?;
        self.quotas_are_kept(state)?;
        queue::the_backlog_follows_from_the_jobs(state)?;
        queue::what_is_said_does_not_depend_on_what_was(state, outside.core.now)?;
        self.acknowledged_submits_are_there(outside)?;
        self.evaluations_are_of_their_states(outside)?;
        truth::check(outside)
    }

    fn acknowledged_submits_are_there(&self, outside: &Outside) -> Verdict {
        let jobs = &outside.core.state.jobs;
        let lost = outside.submitted.values().find(|job| !jobs.contains_key(*job));
        hold(lost.is_none(), "an acknowledged submit is never lost", || {
            format!("{lost:?}")
        })
    }
}

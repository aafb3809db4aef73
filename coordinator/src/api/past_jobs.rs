//! Jobs that have been over for longer: the state has but a row of them, so they are folded from their own records when somebody asks.

use std::sync::Arc;

use firn_core::{
    Reject, Settings, State,
    identifiers::JobId,
    state::{Job, PastJob},
};
use tonic::Status;

use super::{
    context::Context,
    refusal::{rejected, unreadable},
    wire::job_status::{self, JobSnapshot},
};
use crate::journal::JournalReader;

/// What the state tells of a job.
pub(super) enum Found<T> {
    /// It is at hand.
    AtHand(T),
    /// Its records tell more.
    Past(PastJob),
    /// There is none that anybody may see.
    Nothing,
}

impl<T> Found<T> {
    /// Looks for a job in the state.
    pub(super) fn look(state: &State, job: &JobId, at_hand: impl FnOnce(&State) -> Option<T>) -> Self {
        if state.erasing.contains(job) {
            return Self::Nothing;
        }
        match (at_hand(state), state.past.get(job)) {
            (Some(found), _) => Self::AtHand(found),
            (None, Some(past)) => Self::Past(past.clone()),
            (None, None) => Self::Nothing,
        }
    }
}

impl Context {
    /// The status of a job, wherever it is.
    pub(super) async fn snapshot(&self, job: &JobId) -> Result<JobSnapshot, Status> {
        self.find(job, job_status::snapshot).await
    }

    /// A job as it is now, wherever it is.
    pub(super) async fn job(&self, job: &JobId) -> Result<Arc<Job>, Status> {
        self.find(job, |state, id| state.jobs.get(id).map(Arc::clone)).await
    }

    async fn find<T: Send + 'static>(&self, job: &JobId, take: fn(&State, &JobId) -> Option<T>) -> Result<T, Status> {
        let asked = job.clone();
        let look = move |state: &State| Found::look(state, &asked, |state| take(state, &asked));
        let found = self.engine.ask(look).await?;
        of_found(self, job, found, take).await
    }
}

async fn of_found<T: Send + 'static>(
    context: &Context,
    job: &JobId,
    found: Found<T>,
    take: fn(&State, &JobId) -> Option<T>,
) -> Result<T, Status> {
    let past = match found {
        Found::AtHand(found) => return Ok(found),
        Found::Past(past) => past,
        Found::Nothing => return Err(rejected(&Reject::JobNotFound { job: job.clone() })),
    };
    let mut folded = fold_all(context, vec![(job.clone(), past)], take).await?;
    folded
        .pop()
        .ok_or_else(|| rejected(&Reject::JobNotFound { job: job.clone() }))
}

/// Folds the records of some jobs, off the threads that serve calls. A job that was deleted meanwhile is left out.
pub(super) async fn fold_all<T: Send + 'static>(
    context: &Context,
    jobs: Vec<(JobId, PastJob)>,
    take: fn(&State, &JobId) -> Option<T>,
) -> Result<Vec<T>, Status> {
    let journal = context.journal.clone();
    let fold = move || -> Result<Vec<T>, Status> {
        let mut folded = Vec::with_capacity(jobs.len());
        for (id, past) in &jobs {
            folded.extend(take(&fold(&journal, id, past)?, id));
        }
        Ok(folded)
    };
    tokio::task::spawn_blocking(fold)
        .await
        .expect("folding records does not panic")
}

/// A state with nothing in it but this job.
fn fold(journal: &JournalReader, job: &JobId, past: &PastJob) -> Result<State, Status> {
    let proven = journal.records_of(job).map_err(|error| unreadable(&error))?;
    let mut state = State::new(Settings::default());
    state.jobs_submitted = past.sequence;
    for found in &proven.records {
        firn_core::apply(&mut state, &found.record);
    }
    Ok(state)
}

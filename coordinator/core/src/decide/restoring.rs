//! The journal was put back from a backup: what was decided since is forgotten, but agents and ranks may go on by it.
//!
//! They follow no coordinator that is older than one they have met, so this one starts with an epoch that none of those can have had. Ranks that
//! still train are ahead of what the journal knows, and no later record can be laid to the steps between. So all workers are lost, with the ranks on
//! them, until they attach again. That is nobody's fault: it counts against no job and no worker. Nothing else is decided; whatever is due by now
//! is up to the coordinator that serves.

use super::decision_builder::DecisionBuilder;
use super::gangs::{self, Formation};
use super::processes::request_stop;
use crate::identifiers::{JobId, ProcessId, WorkerName};
use crate::now::Now;
use crate::record::{Event, JobEvent};
use crate::reply::Reply;
use crate::state::{Cause, Failure, FailureReason, Gravity, Job, LossReason, State};

pub(super) fn take_over(draft: &mut DecisionBuilder<'_>) -> Reply {
    let (state, now) = (draft.base(), draft.now());
    let cause = cause(state.latest, now);
    let attached = state.workers.iter().filter(|(_, worker)| worker.is_attached());
    let attached: Vec<WorkerName> = attached.map(|(name, _)| name.clone()).collect();
    let ranks = ranks(state);
    draft.record(Event::CoordinatorRestored {
        epoch: epoch(state, now),
    });
    for worker in attached {
        let reason = LossReason::Restored;
        draft.record(Event::WorkerLost { worker, reason });
    }
    for (job, processes) in ranks {
        lose(draft, &job, processes, cause.clone());
    }
    Reply::Done
}

/// The seconds since 1970: whoever had another copy of the journal cannot have come that far by starting.
fn epoch(state: &State, now: Now) -> u64 {
    (state.coordinator_epoch + 1).max(now.0 / 1_000)
}

fn cause(newest: Now, now: Now) -> Cause {
    let seconds = now.0.saturating_sub(newest.0) / 1_000;
    let message = format!(
        "the coordinator was restored from a backup whose newest record was {seconds} s old; what ranks have done since is not known"
    );
    Cause {
        gravity: Gravity::Primary,
        failure: Failure::of_no_rank(FailureReason::NodeFailures, message),
        at: now,
    }
}

/// The members and recruits of each gang that may live.
fn ranks(state: &State) -> Vec<(JobId, Vec<ProcessId>)> {
    let of_job = |job: &Job| {
        let gang = job.gang()?;
        let living = gang.living().chain(&gang.recruits);
        let processes: Vec<ProcessId> = living.map(|member| member.process.clone()).collect();
        (!processes.is_empty()).then(|| (job.id.clone(), processes))
    };
    state.jobs.values().filter_map(|job| of_job(job)).collect()
}

/// All at once, so that no formation comes between.
fn lose(draft: &mut DecisionBuilder<'_>, id: &JobId, processes: Vec<ProcessId>, cause: Cause) {
    let Some(retry_at) = draft.state().job(id).map(|job| job.retry_at) else {
        return;
    };
    let lost = JobEvent::RanksLost {
        processes: processes.clone(),
        cause,
        counts: false,
        retry_at,
    };
    draft.record_job(id, lost);
    for process in &processes {
        request_stop(draft, process, 0);
    }
    gangs::form_again(draft, id, Formation::AFTER_LOSS);
}

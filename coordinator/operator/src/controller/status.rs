//! What a resource is to say: what the coordinator says of the job, and beside it what the cluster says of the pods.

use super::hindrance::{self, PODS_READY, RECONCILED};
use super::plan::{Observed, Remote};
use crate::resource::{ResourceStatus, StatusCondition};

/// Why a job has failed that was given up because its pods could not start.
const PODS_CANNOT_START: &str = "PodsCannotStart";

/// The status of a resource whose job is known.
pub(super) fn of(seen: &Observed<'_>, remote: &Remote) -> ResourceStatus {
    let before = seen.resource.status.clone().unwrap_or_default();
    let mut status = remote.status.clone();
    status.observed_generation = seen.resource.metadata.generation;
    let pods = match remote.has_ended {
        // The pods go, and what they came to stays.
        true => before.condition(PODS_READY).cloned(),
        false => hindrance::condition(seen.resource, seen.workers, seen.pods)
            .map(|condition| condition.since(&before, seen.now)),
    };
    if let Some(pods) = pods {
        status.set_condition(pods);
    }
    // What kept the Job of the pods from being made does until it is there, or is not wanted.
    let is_missed = seen.workers.is_none() && !seen.resource.spec.cluster.suspend;
    let refused = before.condition(RECONCILED).filter(|known| hindrance::is_vain(known));
    if let Some(refused) = refused.filter(|_| is_missed) {
        status.set_condition(refused.clone());
    }
    if let Some(silence) = seen.silence.filter(|_| !remote.has_ended) {
        let silent = StatusCondition::new(RECONCILED, false, silence.reason, &silence.message);
        status.set_condition(silent.since(&before, seen.now));
    }
    for loss in &mut status.losses {
        let known = before
            .losses
            .iter()
            .find(|known| (&known.time, &known.worker) == (&loss.time, &loss.worker));
        loss.cause = hindrance::cause(loss, seen.pods).or_else(|| known.and_then(|known| known.cause.clone()));
    }
    given_up(&mut status);
    status
}

/// A job that was cancelled because its pods could not start has failed.
fn given_up(status: &mut ResourceStatus) {
    let never_worked = status.start_time.is_none();
    let hindered = hindrance::vain(status).cloned();
    if status.summary.as_deref() != Some("Cancelled") || !never_worked {
        return;
    }
    if let Some(hindered) = hindered {
        let ended = status
            .condition("Failed")
            .map(|failed| failed.last_transition_time.clone());
        let mut failed = StatusCondition::new("Failed", true, PODS_CANNOT_START, &hindered.message);
        failed.last_transition_time = ended.unwrap_or(hindered.last_transition_time);
        status.summary = Some("Failed".to_owned());
        status.set_condition(failed);
    }
}

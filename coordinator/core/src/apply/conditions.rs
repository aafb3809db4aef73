//! How events become conditions. The sentences follow from the facts in the records alone.

use crate::now::Now;
use crate::range_test::RangeTest;
use crate::record::JobEvent;
use crate::state::{
    Condition, ConditionKind, ConditionStatus, FailureReason, Job, Member, Origin, Outcome, Release, TrainingEnd,
};

/// The first condition of a job.
pub(super) fn submit(job: &mut Job, at: Now) {
    set(
        job,
        at,
        ConditionKind::Queued,
        true,
        ("WaitingForSlots", "waits to be placed".to_owned()),
    );
}

/// The conditions after an event; the event itself has been applied to the job.
pub(super) fn change(job: &mut Job, event: &JobEvent, at: Now) {
    use ConditionKind::{Admitted, Queued, Running};
    match event {
        JobEvent::Suspended => suspend(job, at),
        JobEvent::Resumed => resume(job, at),
        JobEvent::GangFormed { members, .. } => {
            let place = place(members);
            set(job, at, Queued, false, ("SlotsFound", place.clone()));
            set(job, at, Admitted, true, ("GangFormed", place));
            set(job, at, Running, false, rendezvous(job));
        }
        JobEvent::GangCompleted { collective, origin, .. } => {
            let ranks = counted(job.members().len(), "rank");
            let message = format!(
                "{ranks} joined in generation {} ({}){}",
                job.generation,
                collective.as_str(),
                whence(job, origin),
            );
            set(job, at, Running, true, ("GangStarted", message));
        }
        JobEvent::RanksLost { cause, .. } => {
            set(job, at, Running, false, ("RankLost", cause.failure.message.clone()));
        }
        JobEvent::RestartScheduled { .. } if job.suspended => rest(job, at),
        JobEvent::RestartScheduled { cause, .. } => {
            let release = job.releasing.as_ref().map(|releasing| &releasing.reason);
            let (reason, why) = match cause {
                _ if release.is_some() => given_back(release),
                Some(cause) if cause.failure.reason == FailureReason::Preempted => {
                    ("Preempted", cause.failure.message.clone())
                }
                Some(cause) => ("RankLost", cause.failure.message.clone()),
                None => (
                    "Preempted",
                    "all its ranks have left their workers on purpose".to_owned(),
                ),
            };
            let message = format!("is to be formed again: {why}");
            set(job, at, Queued, true, ("Restarting", message.clone()));
            set(job, at, Admitted, false, ("Restarting", message));
            set(job, at, Running, false, (reason, why));
        }
        JobEvent::Ended { outcome } => end(job, outcome, at),
        _ => {}
    }
}

/// Why a gang has given its slots back.
fn given_back(release: Option<&Release>) -> (&'static str, String) {
    match release {
        Some(Release::Preempted { by }) => ("Preempted", format!("it gave its slots up to jobs/{by}")),
        _ => ("Suspended", "a person suspended it".to_owned()),
    }
}

/// A person has suspended the job; its gang, if it has one, is still there.
fn suspend(job: &mut Job, at: Now) {
    if job.gang().is_none() {
        return rest(job, at);
    }
    let message = match job.is_finishing() {
        true => "its artifacts are being written, and that is not broken off",
        false => "its ranks hand over and leave",
    };
    set(
        job,
        at,
        ConditionKind::Suspended,
        true,
        ("Suspending", message.to_owned()),
    );
}

/// The job is suspended and has no gang.
fn rest(job: &mut Job, at: Now) {
    use ConditionKind::{Admitted, Queued, Running, Suspended};
    let message = match job.run.resume() {
        Some(checkpoint) => format!(
            "holds no slots until it is resumed; it goes on from the checkpoint after step {}",
            checkpoint.steps_done
        ),
        None => "holds no slots until it is resumed".to_owned(),
    };
    set(job, at, Suspended, true, ("Suspended", message.clone()));
    set(job, at, Queued, false, ("Suspended", message.clone()));
    for kind in [Admitted, Running] {
        if job.conditions.iter().any(|condition| condition.kind == kind) {
            set(job, at, kind, false, ("Suspended", message.clone()));
        }
    }
}

/// A person has resumed the job. Ranks that were told to leave go nevertheless, and then it is placed again.
fn resume(job: &mut Job, at: Now) {
    let message = match job.is_released() {
        true => "is placed again when its ranks have left",
        false => "a person resumed it",
    };
    set(
        job,
        at,
        ConditionKind::Suspended,
        false,
        ("Resumed", message.to_owned()),
    );
    if job.gang().is_none() {
        set(
            job,
            at,
            ConditionKind::Queued,
            true,
            ("WaitingForSlots", "waits to be placed".to_owned()),
        );
    }
}

fn rendezvous(job: &Job) -> (&'static str, String) {
    let lost = job.losses.last();
    match lost.filter(|loss| loss.generation.next() == job.generation) {
        Some(loss) => (
            "Rendezvous",
            format!("waits for its ranks to join: {}", loss.cause.failure.message),
        ),
        None => ("Rendezvous", "waits for its ranks to join".to_owned()),
    }
}

/// Where a gang that is not the first goes on.
fn whence(job: &Job, origin: &Origin) -> String {
    let newest = job.run.ledger.rolled_back.last();
    match origin {
        Origin::Initial if newest.is_some_and(|range| range.generation == job.generation) => {
            let again = newest.map_or(0, |range| range.to - range.from);
            format!(
                "; begins anew at step 0, because no checkpoint was stored yet: {} are computed again",
                counted_steps(again)
            )
        }
        Origin::Checkpoint(checkpoint) => format!("; goes on from the checkpoint after step {}", checkpoint.steps_done),
        Origin::Initial | Origin::Rank(_) | Origin::Unneeded => String::new(),
    }
}

fn counted_steps(steps: u64) -> String {
    counted(usize::try_from(steps).unwrap_or(usize::MAX), "step")
}

fn end(job: &mut Job, outcome: &Outcome, at: Now) {
    use ConditionKind::{Admitted, Failed, Queued, Running, Succeeded, Suspended};
    let (reason, message) = match outcome {
        Outcome::Succeeded => success(job),
        Outcome::Failed(failure) => (failure.reason.as_str(), failure.message.clone()),
        Outcome::Cancelled => (FailureReason::Cancelled.as_str(), cancellation(job)),
    };
    for kind in [Queued, Suspended, Admitted, Running] {
        if job
            .conditions
            .iter()
            .any(|condition| condition.kind == kind && condition.status == ConditionStatus::True)
        {
            set(job, at, kind, false, ("Ended", message.clone()));
        }
    }
    let kind = if *outcome == Outcome::Succeeded {
        Succeeded
    } else {
        Failed
    };
    set(job, at, kind, true, (reason, message));
}

fn cancellation(job: &Job) -> String {
    match RangeTest::of_job(job).and_then(|test| test.end()) {
        Some(end) => format!("the range test ended {}", end.describe()),
        None => "a person ended the job".to_owned(),
    }
}

fn success(job: &Job) -> (&'static str, String) {
    match job.run.training_end {
        Some(TrainingEnd::EarlyStopped { metric, patience, .. }) => (
            "EarlyStopped",
            format!(
                "validation/{} did not improve for {}; {} done",
                job.spec.training.watched_by_stopping(metric),
                counted(patience as usize, "evaluation"),
                counted(job.run.epochs_concluded as usize, "epoch"),
            ),
        ),
        _ => (
            "Completed",
            format!("{} done", counted(job.run.epochs_concluded as usize, "epoch")),
        ),
    }
}

fn place(members: &[Member]) -> String {
    let mut workers: Vec<&str> = members.iter().map(|member| member.worker.as_str()).collect();
    workers.dedup();
    format!("{} on {}", counted(members.len(), "rank"), workers.join(", "))
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

fn set(job: &mut Job, at: Now, kind: ConditionKind, holds: bool, why: (&str, String)) {
    let status = if holds {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    };
    let (reason, message) = (why.0.to_owned(), why.1);
    match job.conditions.iter_mut().find(|condition| condition.kind == kind) {
        Some(condition) => {
            if condition.status != status {
                condition.last_transition = at;
            }
            condition.status = status;
            condition.reason = reason;
            condition.message = message;
        }
        None => {
            job.conditions.push(Condition {
                kind,
                status,
                reason,
                message,
                last_transition: at,
            });
            job.conditions.sort_by_key(|condition| condition.kind);
        }
    }
}

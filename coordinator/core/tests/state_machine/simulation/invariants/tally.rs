//! What happens in the stories, counted: a story in which nothing happens breaks no invariant.

use std::collections::BTreeMap;

use firn_core::state::*;
use firn_core::{Event, JobEvent, Record};

/// How often each thing happened.
pub(crate) type Tally = BTreeMap<&'static str, u64>;

/// What the stories are for: each of these has to happen now and then.
pub(crate) const WORTH_TELLING: [&str; 29] = [
    "a step is committed",
    "a job succeeds",
    "a job fails",
    "a job is cancelled",
    "a gang is complete",
    "a gang goes on from a rank's state",
    "a gang goes on from a checkpoint",
    "a gang begins anew",
    "a gang comes for the last stage",
    "a gang finishes its step before it changes",
    "steps are taken back",
    "a gang is asked for more processes",
    "a rank is lost",
    "a rank hangs",
    "a rank holds another state",
    "a rank leaves its gang",
    "numbers break",
    "a checkpoint is unreadable",
    "a checkpoint is stored within an epoch",
    "a job is suspended",
    "a job is resumed",
    "a gang gives all its slots back without a loss",
    "a job is changed",
    "a worker is taken out of use",
    "a worker is set aside",
    "a quota is set",
    "a job is preempted",
    "a worker is there for one job",
    "a job selects workers",
];

/// Counts what a record tells.
pub(super) fn count(tally: &mut Tally, record: &Record) {
    let mut happens = |what: &'static str| *tally.entry(what).or_default() += 1;
    match &record.event {
        Event::WorkerAvailabilityChanged { availability, .. } => match availability {
            Availability::SetAside => happens("a worker is set aside"),
            Availability::Drained | Availability::Preempted => happens("a worker is taken out of use"),
            Availability::Ready => {}
        },
        Event::QuotaChanged { .. } => happens("a quota is set"),
        Event::WorkerAttached(description) if description.serves.job.is_some() => {
            happens("a worker is there for one job")
        }
        Event::Job { event, .. } => count_job(&mut happens, event),
        _ => {}
    }
}

fn count_job(happens: &mut impl FnMut(&'static str), event: &JobEvent) {
    match event {
        JobEvent::StepsCommitted { steps, .. } => steps.iter().for_each(|_| happens("a step is committed")),
        JobEvent::Ended { outcome } => happens(match outcome {
            Outcome::Succeeded => "a job succeeds",
            Outcome::Failed(_) => "a job fails",
            Outcome::Cancelled => "a job is cancelled",
        }),
        JobEvent::GangCompleted { origin, steps_done, .. } => {
            happens("a gang is complete");
            match origin {
                Origin::Initial if *steps_done == 0 => happens("a gang begins anew"),
                Origin::Initial => {}
                Origin::Checkpoint(_) => happens("a gang goes on from a checkpoint"),
                Origin::Rank(_) => happens("a gang goes on from a rank's state"),
                Origin::Unneeded => happens("a gang comes for the last stage"),
            }
        }
        JobEvent::GangFormed { at_step_boundary, .. } if *at_step_boundary => {
            happens("a gang finishes its step before it changes");
        }
        JobEvent::RanksRecruited { .. } => happens("a gang is asked for more processes"),
        JobEvent::RanksLost { cause, .. } => {
            happens("a rank is lost");
            let failure = &cause.failure;
            if failure.message.contains(" hang") {
                happens("a rank hangs");
            }
            if failure.reason == FailureReason::HardwareSuspected {
                happens("a rank holds another state");
            }
        }
        JobEvent::Suspended => happens("a job is suspended"),
        JobEvent::Resumed => happens("a job is resumed"),
        JobEvent::Updated { .. } => happens("a job is changed"),
        JobEvent::ReleaseRequested {
            reason: Release::Preempted { .. },
        } => happens("a job is preempted"),
        JobEvent::Submitted { spec, .. } if !spec.scheduling.worker_selector.is_empty() => {
            happens("a job selects workers")
        }
        JobEvent::RankLeft { .. } => happens("a rank leaves its gang"),
        JobEvent::RollbackRequested { .. } => happens("numbers break"),
        JobEvent::CheckpointRejected { .. } => happens("a checkpoint is unreadable"),
        JobEvent::CheckpointCommitted { checkpoint, .. } if !checkpoint.ends_epoch => {
            happens("a checkpoint is stored within an epoch");
        }
        JobEvent::RestartScheduled { cause: Some(cause), .. } if cause.failure.reason == FailureReason::Preempted => {
            happens("a gang gives its slots up");
        }
        _ => {}
    }
}

//! For how long a job may be active, and how long it is kept after its end.

use firn_core::spec::JobSpec;
use firn_core::state::*;
use firn_core::{Effect, Input};

use crate::bench::*;

const MINUTE: u64 = 60_000;

fn limited(name: &str) -> JobSpec {
    let mut spec = spec_on(name, 1);
    spec.run_policy.active_deadline_ms = Some(10 * MINUTE);
    spec
}

#[track_caller]
fn assert_exceeded(coordinator: &Coordinator) {
    let failure = coordinator.failure("ants");
    assert_eq!(failure.reason, FailureReason::DeadlineExceeded);
    assert_eq!(
        failure.message,
        "it was active for 600 s, which is the limit of spec.runPolicy.activeDeadline"
    );
}

#[test]
fn a_job_that_is_active_for_too_long_has_failed_and_its_ranks_are_stopped() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(limited("ants"));
    coordinator.pass(60 * MINUTE);
    coordinator.attach("w0", &["cpu"]);
    let ranks = coordinator.bring_up();
    coordinator.prepare(&ranks, &TRAIN_AND_VALIDATION);
    coordinator.live(10 * MINUTE - 1_000);
    assert!(
        coordinator.job("ants").outcome().is_none(),
        "its time in the queue does not count"
    );
    coordinator.live(1_000);
    assert_exceeded(&coordinator);
    assert_eq!(coordinator.stops(), [ranks[0].process.clone()]);
    assert_eq!(
        coordinator.condition("ants", ConditionKind::Failed).1,
        "DeadlineExceeded"
    );
}

#[test]
fn time_in_which_it_is_suspended_does_not_count_and_a_new_coordinator_knows_the_rest() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(limited("ants"), &TRAIN_AND_VALIDATION);
    coordinator.live(4 * MINUTE);
    coordinator.accept(Input::Suspend { job: job("ants") });
    coordinator.exited(&ranks[0], Ending::Exited(13));
    coordinator.live(60 * MINUTE);
    coordinator.crash();
    coordinator.attach("w0", &["cpu"]);
    coordinator.live(60 * MINUTE);
    assert!(coordinator.job("ants").outcome().is_none());
    coordinator.accept(Input::Resume { job: job("ants") });
    let ranks = coordinator.bring_up();
    coordinator.live(3 * MINUTE);
    coordinator.crash();
    let living = LivingProcess {
        process: ranks[0].process.clone(),
        pid: 100,
    };
    coordinator.attach_with(description("w0", &["cpu"]), &[living]);
    coordinator.live(3 * MINUTE - 1_000);
    assert!(coordinator.job("ants").outcome().is_none());
    coordinator.live(1_000);
    assert_exceeded(&coordinator);
}

#[test]
fn a_job_that_waits_to_be_formed_again_is_active() {
    let mut coordinator = Coordinator::new();
    coordinator.training_job(limited("ants"), &TRAIN_AND_VALIDATION);
    coordinator.accept(Input::DrainWorker {
        worker: "w0".into(),
        undo: false,
    });
    coordinator.live(10 * MINUTE);
    assert_exceeded(&coordinator);
}

fn kept_for(name: &str, seconds: u32) -> JobSpec {
    let mut spec = spec_on(name, 1);
    spec.run_policy.ttl_seconds_after_finished = Some(seconds);
    spec
}

/// Submits a job and ends it.
fn end(coordinator: &mut Coordinator, spec: JobSpec) {
    let id = coordinator.submit(spec);
    coordinator.accept(Input::Cancel { job: id });
}

fn erased(coordinator: &mut Coordinator) -> Vec<String> {
    let mut erased = Vec::new();
    for effect in coordinator.take_effects() {
        if let Effect::EraseJob { job } = effect {
            erased.push(job.to_string());
            coordinator.accept(Input::JobErased { job, bytes: 0 });
        }
    }
    erased
}

#[test]
fn a_job_is_deleted_when_its_time_after_the_end_has_passed_and_others_stay() {
    let mut coordinator = Coordinator::new();
    end(&mut coordinator, kept_for("ants", 120));
    end(&mut coordinator, spec_on("bees", 1));
    end(&mut coordinator, kept_for("wasps", 60));
    coordinator.pass(59_999);
    assert!(erased(&mut coordinator).is_empty());
    coordinator.pass(1);
    assert_eq!(erased(&mut coordinator), ["wasps"]);
    coordinator.crash();
    coordinator.pass(59_999);
    assert!(erased(&mut coordinator).is_empty());
    coordinator.pass(1);
    assert_eq!(erased(&mut coordinator), ["ants"]);
    coordinator.pass(1_000 * MINUTE);
    assert!(erased(&mut coordinator).is_empty());
    let deletions: Vec<String> = coordinator
        .journal
        .iter()
        .filter_map(|record| match &record.event {
            firn_core::record::Event::Job {
                event: firn_core::record::JobEvent::Deleted { reason },
                ..
            } => Some(reason.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(
        deletions,
        ["its spec.runPolicy.ttlSecondsAfterFinished have passed since its end"; 2]
    );
}

#[test]
fn of_many_that_expire_together_all_are_deleted_and_the_next_is_waited_for() {
    let mut coordinator = Coordinator::new();
    for number in 0..250 {
        end(&mut coordinator, kept_for(&format!("ants{number}"), 0));
    }
    end(&mut coordinator, kept_for("bees", 3_600));
    let ended_at = coordinator.now;
    coordinator.pass(10);
    assert_eq!(erased(&mut coordinator).len(), 250);
    assert_eq!(firn_core::deadline(&coordinator.state), Some(ended_at + 3_600_000));
}

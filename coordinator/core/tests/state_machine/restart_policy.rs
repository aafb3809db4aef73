//! Which losses count, how many a job survives, and how long it waits after each.

use firn_core::Input;
use firn_core::identifiers::RankIdentity;
use firn_core::state::*;

use crate::bench::*;

fn training(workers: u32, restarts: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted = spec_on("ants", workers);
    wanted.training.epochs = 3;
    wanted.restart_policy.max_restarts = restarts;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

#[test]
fn growth_and_draining_form_the_gang_anew_and_are_no_restarts() {
    let mut wanted = spec_on("ants", 2);
    wanted.resources.workers.min = 1;
    let mut coordinator = Coordinator::new();
    coordinator.attach("w0", &["cpu"]);
    coordinator.submit(wanted);
    let first = coordinator.bring_up();
    coordinator.prepare(&first, &TRAIN_AND_VALIDATION);
    coordinator.attach("w1", &["cpu"]);
    coordinator.bring_up();
    let both = coordinator.rejoin(&first, 1);
    coordinator.accept(Input::DrainWorker {
        worker: "w0".into(),
        undo: false,
    });
    coordinator.exited(&both[0], Ending::Exited(13));
    let left = coordinator.rejoin(&both[1..], 2);
    let job = coordinator.job("ants");
    assert_eq!((job.generation.0, job.restarts), (3, 0));
    coordinator.exited(&left[0], Ending::Killed(9));
    assert_eq!(coordinator.job("ants").restarts, 1);
}

#[test]
fn after_too_many_losses_the_job_has_failed_with_its_last_cause() {
    let (mut coordinator, mut ranks) = training(2, 2);
    for _ in 0..2 {
        coordinator.exited(&ranks[1], Ending::Killed(9));
        let recruits = coordinator.start_ranks_within(10_000);
        coordinator.join(&recruits[0]).unwrap();
        ranks = coordinator.rejoin(&ranks[..1], 0);
        coordinator.live(10_000);
    }
    coordinator.exited(&ranks[1], Ending::Killed(11));
    let failure = coordinator.failure("ants");
    assert_eq!(failure.reason, FailureReason::NodeFailures);
    assert_eq!(
        failure.message,
        "rank 1 on host-w1 was killed by signal 11 (SIGSEGV); the job had survived 2 losses since its newest checkpoint, which is the limit"
    );
    assert_eq!((failure.rank, failure.host.as_str()), (Some(1), "host-w1"));
    assert_eq!(failure.last_log_lines, ["last words"]);
    let job = coordinator.job("ants");
    assert_eq!(
        (job.losses.len(), job.restarts),
        (3, 2),
        "it did not go on after the last one"
    );
}

#[test]
fn a_checkpoint_grants_as_many_losses_again() {
    let (mut coordinator, mut ranks) = training(1, 1);
    for epoch in 0..3 {
        coordinator.exited(&ranks[0], Ending::Killed(9));
        coordinator.live(2_000);
        ranks = coordinator.bring_up();
        coordinator.train(&ranks, epoch);
    }
    let job = coordinator.job("ants");
    assert_eq!((job.losses.len(), job.restarts), (3, 3));
}

#[test]
fn losses_at_the_same_moment_count_as_one() {
    let (mut coordinator, ranks) = training(3, 1);
    coordinator.exited(&ranks[1], Ending::Killed(9));
    coordinator.exited(&ranks[2], Ending::Killed(9));
    let job = coordinator.job("ants");
    assert_eq!((job.losses.len(), job.losses_counted, job.restarts), (2, 1, 1));
    assert!(job.outcome().is_none());
}

#[test]
fn restarts_wait_a_random_part_of_a_limit_that_doubles() {
    let (mut coordinator, mut ranks) = training(1, 9);
    for limit in [0, 1_000, 2_000, 4_000] {
        coordinator.live(2_000);
        coordinator.exited(&ranks[0], Ending::Killed(9));
        let now = coordinator.now;
        if let Phase::Restarting(restart) = coordinator.job("ants").phase.clone() {
            assert!(restart.not_before > now && restart.not_before <= now + limit);
            coordinator.live(limit);
        } else {
            let at_once = limit == 0 || coordinator.job("ants").retry_at == now;
            assert!(at_once);
        }
        ranks = coordinator.bring_up();
        assert_eq!(ranks.len(), 1);
    }
}

//! Which of several failures people are told.

use firn_core::Input;
use firn_core::identifiers::RankIdentity;
use firn_core::spec::JobSpec;
use firn_core::state::*;

use crate::bench::*;

fn training(workers: u32, restarts: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted: JobSpec = spec_on("ants", workers);
    wanted.training.epochs = 3;
    wanted.max_restarts = restarts;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

fn report(coordinator: &mut Coordinator, rank: &RankIdentity, reason: FailureReason, message: &str) {
    let failure = Failure {
        reason,
        message: message.to_owned(),
        rank: None,
        host: String::new(),
        last_log_lines: Vec::new(),
    };
    coordinator.accept(Input::RankFailed {
        identity: rank.clone(),
        failure,
    });
}

/// Exit status, what was reported before, reason and message of the job's failure.
type Exit = (i32, Option<(FailureReason, &'static str)>, FailureReason, &'static str);

#[test]
fn a_user_error_fails_the_job_at_once_with_what_the_rank_said() {
    let table: [Exit; 6] = [
        (
            10,
            None,
            FailureReason::Misconfigured,
            "rank 1 on host-w1 cannot run this job; its log says why",
        ),
        (
            10,
            Some((FailureReason::BadData, "column `label` is missing")),
            FailureReason::BadData,
            "column `label` is missing",
        ),
        (
            10,
            Some((FailureReason::OutOfMemory, "12 GiB wanted")),
            FailureReason::OutOfMemory,
            "12 GiB wanted",
        ),
        (
            11,
            None,
            FailureReason::NumericalError,
            "rank 1 on host-w1 met a loss or a gradient that is not finite",
        ),
        (
            11,
            Some((FailureReason::NumericalError, "loss is NaN")),
            FailureReason::NumericalError,
            "loss is NaN",
        ),
        (
            1,
            Some((FailureReason::Misconfigured, "no such file")),
            FailureReason::Misconfigured,
            "no such file",
        ),
    ];
    for (status, said, reason, message) in table {
        let (mut coordinator, ranks) = training(2, 3);
        if let Some((reason, message)) = said {
            report(&mut coordinator, &ranks[1], reason, message);
        }
        coordinator.take_effects();
        coordinator.exited(&ranks[1], Ending::Exited(status));
        let failure = coordinator.failure("ants");
        assert_eq!((failure.reason, failure.message.as_str()), (reason, message));
        assert_eq!((failure.rank, failure.host.as_str()), (Some(1), "host-w1"));
        assert_eq!(failure.last_log_lines, ["last words"]);
        assert_eq!(coordinator.stops(), [ranks[0].process.clone()]);
    }
}

#[test]
fn a_rank_that_gave_up_because_others_died_is_not_the_cause() {
    // rank 0 sees the broken ring, says so and exits before the agent of rank 1 tells of the kill
    let (mut coordinator, ranks) = training(2, 0);
    report(
        &mut coordinator,
        &ranks[0],
        FailureReason::NodeFailures,
        "all-reduce aborted: rank 1 closed the ring",
    );
    coordinator.exited(&ranks[0], Ending::Exited(1));
    assert!(matches!(coordinator.job("ants").phase, Phase::Collapsing(_)));
    coordinator.pass(50);
    coordinator.exited(&ranks[1], Ending::Killed(9));
    let failure = coordinator.failure("ants");
    assert_eq!(failure.rank, Some(1));
    assert_eq!(
        failure.message,
        "rank 1 on host-w1 was killed by signal 9 (SIGKILL); no restart is allowed"
    );
}

#[test]
fn the_first_cause_stays_when_others_fail_in_its_wake() {
    let (mut coordinator, ranks) = training(3, 0);
    coordinator.exited(&ranks[2], Ending::Killed(9));
    report(
        &mut coordinator,
        &ranks[0],
        FailureReason::NodeFailures,
        "all-reduce aborted",
    );
    coordinator.exited(&ranks[0], Ending::Exited(1));
    coordinator.exited(&ranks[1], Ending::Exited(101));
    assert_eq!(coordinator.failure("ants").rank, Some(2));
}

#[test]
fn a_user_error_that_comes_to_light_while_the_gang_comes_down_still_fails_the_job() {
    let (mut coordinator, ranks) = training(2, 3);
    report(
        &mut coordinator,
        &ranks[0],
        FailureReason::NodeFailures,
        "all-reduce aborted",
    );
    coordinator.exited(&ranks[0], Ending::Exited(1));
    coordinator.exited(&ranks[1], Ending::Exited(10));
    assert_eq!(coordinator.failure("ants").reason, FailureReason::Misconfigured);
}

#[test]
fn when_only_consequences_are_known_the_first_one_is_told() {
    let (mut coordinator, ranks) = training(2, 0);
    for rank in &ranks {
        report(
            &mut coordinator,
            rank,
            FailureReason::NodeFailures,
            &format!("{} lost its peer", rank.process),
        );
    }
    coordinator.exited(&ranks[1], Ending::Exited(1));
    coordinator.exited(&ranks[0], Ending::Exited(1));
    assert_eq!(
        coordinator.failure("ants").message,
        "rank 1 on host-w1 exited with status 1: ants-g1-r1 lost its peer; no restart is allowed"
    );
}

#[test]
fn a_worker_whose_lease_ends_explains_the_ranks_that_gave_up() {
    let (mut coordinator, ranks) = training(2, 0);
    let stream = coordinator.state.soft.streams[&"w1".into()];
    coordinator.accept(Input::AgentDetached {
        worker: "w1".into(),
        stream,
    });
    report(
        &mut coordinator,
        &ranks[0],
        FailureReason::NodeFailures,
        "all-reduce aborted",
    );
    coordinator.exited(&ranks[0], Ending::Exited(1));
    assert!(matches!(coordinator.job("ants").phase, Phase::Collapsing(_)));
    coordinator.live(10_000);
    let failure = coordinator.failure("ants");
    assert_eq!(
        failure.message,
        "rank 1 on host-w1 is lost: worker w1 sent no heartbeat for 10 s; no restart is allowed"
    );
    assert_eq!(failure.rank, Some(1));
}

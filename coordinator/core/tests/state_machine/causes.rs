//! Which of several failures people are told.

use firn_core::Input;
use firn_core::identifiers::RankIdentity;
use firn_core::spec::JobSpec;
use firn_core::state::*;

use crate::bench::*;

fn training(workers: u32, restarts: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted: JobSpec = spec_on("ants", workers);
    wanted.training.epochs = 3;
    wanted.restart_policy.max_restarts = restarts;
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
fn a_rank_that_is_left_by_its_peers_waits_for_the_news_of_who_is_lost() {
    let (mut coordinator, ranks) = training(2, 0);
    coordinator.join_from(&ranks[0], ranks[0].generation, 0).unwrap();
    assert!(matches!(coordinator.job("ants").phase, Phase::Running(_)));
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
fn a_kill_for_want_of_memory_is_told_apart_from_one_by_a_person() {
    let (mut coordinator, ranks) = training(1, 0);
    let process = coordinator.state.processes[&ranks[0].process].clone();
    coordinator.accept(Input::RankExited {
        worker: process.worker,
        process: ranks[0].process.clone(),
        exit: RankExit {
            out_of_memory: true,
            ..exit(Ending::Killed(9))
        },
    });
    let failure = coordinator.failure("ants");
    assert_eq!(failure.reason, FailureReason::OutOfMemory);
    assert_eq!(
        failure.message,
        "rank 0 on host-w0 was killed by the kernel because memory ran out (host or container limit); no restart is allowed"
    );
}

#[test]
fn a_user_error_of_a_rank_that_is_left_fails_the_job() {
    let (mut coordinator, ranks) = training(2, 3);
    coordinator.exited(&ranks[0], Ending::Exited(1));
    coordinator.exited(&ranks[1], Ending::Exited(10));
    assert_eq!(coordinator.failure("ants").reason, FailureReason::Misconfigured);
}

#[test]
fn a_worker_whose_stream_is_gone_explains_the_ranks_that_were_left() {
    let (mut coordinator, ranks) = training(2, 0);
    let stream = coordinator.state.soft.streams[&"w1".into()];
    coordinator.accept(Input::AgentDetached {
        worker: "w1".into(),
        stream,
    });
    coordinator.join_from(&ranks[0], ranks[0].generation, 0).unwrap();
    coordinator.pass(3_000);
    let failure = coordinator.failure("ants");
    assert_eq!(
        failure.message,
        "rank 1 on host-w1 is lost: rank 0 says rank 0 lost rank 1 in all-reduce #7; no restart is allowed"
    );
    assert_eq!(failure.rank, Some(1));
}

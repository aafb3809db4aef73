//! What time alone brings about.

use firn_core::state::*;
use firn_core::{Input, Now};

use crate::bench::*;

#[test]
fn without_workers_and_gangs_there_is_no_deadline() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec("ants"));
    assert_eq!(firn_core::deadline(&coordinator.state), None);
}

#[test]
fn ranks_of_a_job_that_succeeded_may_end_by_themselves_for_a_while() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec("ants"), &TRAIN_AND_VALIDATION);
    coordinator.train(&ranks, 0);
    coordinator.finish(&ranks[0]);
    assert!(coordinator.stops().is_empty());
    coordinator.live(9_999);
    assert!(coordinator.stops().is_empty());
    coordinator.live(1);
    assert_eq!(coordinator.stops(), [ranks[0].process.clone()]);
    coordinator.obey();
    assert_eq!(coordinator.job("ants").outcome(), Some(&Outcome::Succeeded));
}

#[test]
fn a_rank_that_said_that_it_cannot_go_on_is_stopped_if_it_does_not_exit() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec_on("ants", 2), &TRAIN_AND_VALIDATION);
    let failure = Failure {
        reason: FailureReason::BadData,
        message: "row 7 has no label".to_owned(),
        rank: None,
        host: String::new(),
        last_log_lines: Vec::new(),
    };
    coordinator.accept(Input::RankFailed {
        identity: ranks[1].clone(),
        failure,
    });
    coordinator.live(9_999);
    assert!(coordinator.stops().is_empty());
    coordinator.live(1);
    assert_eq!(coordinator.stops(), [ranks[1].process.clone()]);
    coordinator.exited(&ranks[1], Ending::Killed(9));
    assert_eq!(coordinator.failure("ants").message, "row 7 has no label");
    assert_eq!(coordinator.failure("ants").reason, FailureReason::BadData);
}

#[test]
fn timers_begin_anew_with_a_new_coordinator() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(spec("ants"));
    coordinator.start_ranks();
    coordinator.live(290_000);
    coordinator.crash();
    coordinator.attach_with(
        description("a", &["cpu"]),
        &[LivingProcess {
            process: "ants-g1-r0".into(),
            pid: 100,
        }],
    );
    coordinator.live(299_000);
    assert!(matches!(coordinator.job("ants").phase, Phase::Starting(_)));
    coordinator.live(1_000);
    assert!(matches!(coordinator.job("ants").phase, Phase::Restarting(_)));
}

#[test]
fn a_clock_that_went_back_dates_nothing_before_the_journal() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    let latest = coordinator.state.latest;
    coordinator.now = Now(5);
    coordinator.submit(spec("ants"));
    assert_eq!(coordinator.job("ants").created_at, latest);
    assert!(coordinator.journal.iter().all(|record| record.at >= latest));
}

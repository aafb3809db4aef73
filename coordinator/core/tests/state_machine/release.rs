//! A gang gives its slots back on purpose: because a person suspends its job.

use firn_core::identifiers::{Generation, RankIdentity};
use firn_core::state::*;
use firn_core::{Input, Leave, Reply, queries};

use crate::bench::*;

const STORE: Option<Leave> = Some(Leave { store_checkpoint: true });
const AT_ONCE: Option<Leave> = Some(Leave {
    store_checkpoint: false,
});
const LEFT: Ending = Ending::Exited(13);

fn training(workers: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted = spec_on("ants", workers);
    wanted.resources.workers.min = 1;
    wanted.restart_policy.max_restarts = 0;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

fn suspend(name: &str) -> Input {
    Input::Suspend { job: job(name) }
}

fn resume(name: &str) -> Input {
    Input::Resume { job: job(name) }
}

fn leave(coordinator: &mut Coordinator, ranks: &[RankIdentity]) {
    for rank in ranks {
        coordinator.exited(rank, LEFT);
    }
}

fn summary(coordinator: &Coordinator) -> Summary {
    queries::summary(&coordinator.state, coordinator.job("ants"))
}

fn suspended(coordinator: &Coordinator) -> (ConditionStatus, String) {
    let (status, reason, _) = coordinator.condition("ants", ConditionKind::Suspended);
    (status, reason)
}

/// Nobody is held responsible, and every committed step is still there.
#[track_caller]
fn assert_nothing_lost(coordinator: &Coordinator) {
    let job = coordinator.job("ants");
    assert_eq!((job.losses_counted, job.restarts), (0, 0));
    assert_eq!(job.run.ledger.rolled_back, [], "zero steps lost");
}

#[test]
fn a_job_that_trains_is_suspended_without_a_lost_step_and_goes_on_when_it_is_resumed() {
    let (mut coordinator, ranks) = training(2);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.accept(suspend("ants"));
    assert_eq!(summary(&coordinator), Summary::Suspending);
    assert_eq!(
        suspended(&coordinator),
        (ConditionStatus::True, "Suspending".to_owned())
    );
    for rank in &ranks {
        let news = coordinator.news(rank);
        assert_eq!((news.leave, news.stop, news.generation), (STORE, None, Generation(1)));
    }
    coordinator.store(&ranks[0], 0, 3).unwrap();
    coordinator.exited(&ranks[0], LEFT);
    assert_eq!(summary(&coordinator), Summary::Suspending, "one rank is still there");
    coordinator.exited(&ranks[1], LEFT);
    assert_eq!(summary(&coordinator), Summary::Suspended);
    assert_eq!(suspended(&coordinator), (ConditionStatus::True, "Suspended".to_owned()));
    assert_eq!(
        coordinator.condition("ants", ConditionKind::Queued),
        (
            ConditionStatus::False,
            "Suspended".to_owned(),
            "holds no slots until it is resumed; it goes on from the checkpoint after step 3".to_owned()
        )
    );
    let progress = queries::progress(coordinator.job("ants"), coordinator.now);
    assert_eq!(progress.activity, queries::Activity::Idle);
    coordinator.live(600_000);
    assert!(coordinator.starts().is_empty(), "it is not placed");
    assert!(coordinator.state.processes.is_empty(), "its slots are free");

    coordinator.accept(resume("ants"));
    assert_eq!(suspended(&coordinator), (ConditionStatus::False, "Resumed".to_owned()));
    let again = coordinator.bring_up();
    assert_eq!((again.len(), coordinator.world(&again[0]).steps_done), (2, 3));
    assert_nothing_lost(&coordinator);
    coordinator.commit(&again[0], 0, 3..4).unwrap();
}

#[test]
fn its_slots_go_to_the_next_job_and_it_waits_for_its_turn_when_it_is_resumed() {
    let (mut coordinator, ranks) = training(1);
    coordinator.submit(spec_on("bees", 1));
    coordinator.accept(suspend("ants"));
    coordinator.store(&ranks[0], 0, 0).unwrap();
    leave(&mut coordinator, &ranks);
    assert_eq!(coordinator.starts().len(), 1);
    assert!(coordinator.job("bees").gang().is_some());
    coordinator.accept(resume("ants"));
    assert_eq!(summary(&coordinator), Summary::Starting);
    assert_eq!(
        coordinator.condition("ants", ConditionKind::Queued).0,
        ConditionStatus::True
    );
    assert_eq!(
        coordinator.condition("ants", ConditionKind::Queued).1,
        "WaitingForSlots"
    );
}

#[test]
fn a_job_that_waits_for_its_first_slots_is_passed_over_until_it_is_resumed() {
    let mut coordinator = Coordinator::new();
    coordinator.submit(spec_on("ants", 1));
    coordinator.accept(suspend("ants"));
    assert_eq!(summary(&coordinator), Summary::Suspended);
    coordinator.submit(spec_on("bees", 1));
    coordinator.attach_cpus(&["a", "b"]);
    assert_eq!(coordinator.starts().len(), 1);
    assert_eq!(coordinator.job("ants").phase, Phase::Queued);
    coordinator.crash();
    assert_eq!(
        coordinator.job("ants").phase,
        Phase::Queued,
        "a new coordinator knows it"
    );
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.take_effects();
    coordinator.accept(resume("ants"));
    assert_eq!(coordinator.starts().len(), 1);
    assert_eq!(summary(&coordinator), Summary::Starting);
}

#[test]
fn ranks_that_prepare_are_stopped_at_once() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.submit(spec_on("ants", 2));
    let ranks = coordinator.start_ranks();
    coordinator.join(&ranks[0]).unwrap();
    coordinator.accept(suspend("ants"));
    assert_eq!(coordinator.stops().len(), 2);
    assert_eq!(coordinator.news(&ranks[0]).leave, AT_ONCE);
    coordinator.exited(&ranks[0], Ending::Exited(12));
    assert_eq!(coordinator.job("ants").generation, Generation(1), "nobody is parted");
    coordinator.exited(&ranks[1], Ending::Killed(15));
    assert_eq!(summary(&coordinator), Summary::Suspended);
    assert_nothing_lost(&coordinator);
    assert_eq!(coordinator.job("ants").losses, []);
}

#[test]
fn ranks_on_their_way_to_the_next_formation_store_what_they_have_first() {
    let (mut coordinator, ranks) = training(3);
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    // So that a loss is allowed.
    coordinator.store(&ranks[0], 0, 2).unwrap();
    coordinator.accept(Input::DrainWorker {
        worker: "w2".into(),
        undo: false,
    });
    coordinator.exited(&ranks[2], LEFT);
    assert!(matches!(coordinator.job("ants").phase, Phase::Starting(_)));
    coordinator.accept(suspend("ants"));
    assert!(coordinator.stops().is_empty(), "nobody knows yet what they hold");
    let ranks = coordinator.rejoin(&ranks[..2], 3);
    assert_eq!(coordinator.news(&ranks[0]).leave, STORE);
    assert_eq!(coordinator.world(&ranks[0]).steps_done, 3);
    coordinator.commit(&ranks[0], 0, 2..3).unwrap();
    coordinator.store(&ranks[0], 0, 3).unwrap();
    leave(&mut coordinator, &ranks);
    assert_eq!(summary(&coordinator), Summary::Suspended);
    assert_nothing_lost(&coordinator);
}

#[test]
fn ranks_that_score_leave_between_two_shards_and_what_they_have_scored_counts() {
    let (mut coordinator, ranks) = training(2);
    coordinator.commit(&ranks[0], 0, 0..4).unwrap();
    coordinator.store(&ranks[0], 1, 4).unwrap();
    let pass = Pass::validation(0);
    let first = shard(coordinator.request(&ranks[0], pass));
    coordinator.complete(&ranks[0], pass, first).unwrap();
    coordinator.accept(suspend("ants"));
    leave(&mut coordinator, &ranks);
    assert_eq!(summary(&coordinator), Summary::Suspended);
    coordinator.accept(resume("ants"));
    let again = coordinator.bring_up();
    assert_eq!(coordinator.job("ants").run.passes[&pass].complete.len(), 1);
    coordinator.walk(&again, pass);
    assert_nothing_lost(&coordinator);
}

/// All that is left to do is to write the artifacts.
fn finishing() -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted = spec_on("ants", 1);
    wanted.training.epochs = 1;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    coordinator.train(&ranks, 0);
    assert_eq!(summary(&coordinator), Summary::Finishing);
    (coordinator, ranks)
}

#[test]
fn rank_0_may_finish_its_artifacts() {
    let (mut coordinator, ranks) = finishing();
    coordinator.accept(suspend("ants"));
    assert_eq!(coordinator.news(&ranks[0]).leave, None);
    assert_eq!(summary(&coordinator), Summary::Finishing);
    coordinator.finish(&ranks[0]);
    assert_eq!(summary(&coordinator), Summary::Succeeded);
    assert_eq!(suspended(&coordinator).0, ConditionStatus::False);
}

#[test]
fn a_job_that_was_suspended_while_it_finished_and_loses_rank_0_is_not_placed_again() {
    let (mut coordinator, ranks) = finishing();
    coordinator.accept(suspend("ants"));
    coordinator.exited(&ranks[0], Ending::Killed(9));
    assert_eq!(summary(&coordinator), Summary::Suspended);
    coordinator.live(60_000);
    assert!(coordinator.starts().is_empty());
}

#[test]
fn where_rank_0_dies_before_it_has_stored_the_others_store_in_its_place() {
    let (mut coordinator, ranks) = training(2);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.accept(suspend("ants"));
    coordinator.exited(&ranks[0], Ending::Killed(11));
    let left = coordinator.rejoin(&ranks[1..], 3);
    assert_eq!(coordinator.news(&left[0]).leave, STORE);
    assert_eq!(coordinator.world(&left[0]).steps_done, 3);
    coordinator.store(&left[0], 0, 3).unwrap();
    leave(&mut coordinator, &left);
    assert_eq!(summary(&coordinator), Summary::Suspended);
    assert_nothing_lost(&coordinator);
}

#[test]
fn a_worker_that_is_lost_meanwhile_costs_no_restart() {
    let (mut coordinator, ranks) = training(2);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.accept(suspend("ants"));
    let stream = coordinator.state.soft.streams[&"w0".into()];
    coordinator.accept(Input::AgentLeaving {
        worker: "w0".into(),
        stream,
    });
    let left = coordinator.rejoin(&ranks[1..], 3);
    coordinator.store(&left[0], 0, 3).unwrap();
    leave(&mut coordinator, &left);
    assert_eq!(summary(&coordinator), Summary::Suspended);
    assert_nothing_lost(&coordinator);
}

#[test]
fn a_rank_that_does_not_move_is_killed_and_not_counted() {
    let (mut coordinator, ranks) = training(1);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.accept(suspend("ants"));
    let mut stopped_after = None;
    for second in 0..30 {
        coordinator.pulse(&ranks[0], doing("training", "", 6, 5));
        coordinator.heartbeat_all();
        coordinator.pass(1_000);
        if coordinator.stops() == [ranks[0].process.clone()] {
            stopped_after = Some(second);
            break;
        }
    }
    assert_eq!(stopped_after, Some(19));
    coordinator.exited(&ranks[0], Ending::Killed(9));
    assert_eq!(summary(&coordinator), Summary::Suspended);
    let job = coordinator.job("ants");
    assert_eq!((job.losses_counted, job.restarts), (0, 0));
}

#[test]
fn a_rank_that_writes_a_large_checkpoint_is_waited_for() {
    let (mut coordinator, ranks) = training(1);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.accept(suspend("ants"));
    for _ in 0..120 {
        coordinator.pulse(&ranks[0], doing("storing", "", 6, 5));
        coordinator.heartbeat_all();
        coordinator.pass(1_000);
    }
    assert!(coordinator.stops().is_empty());
}

#[test]
fn a_new_coordinator_goes_on_with_it() {
    let (mut coordinator, ranks) = training(1);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.accept(suspend("ants"));
    coordinator.crash();
    let living = LivingProcess {
        process: ranks[0].process.clone(),
        pid: 100,
    };
    coordinator.attach_with(description("w0", &["cpu"]), &[living]);
    assert_eq!(coordinator.news(&ranks[0]).leave, STORE);
    coordinator.store(&ranks[0], 0, 3).unwrap();
    leave(&mut coordinator, &ranks);
    assert_eq!(summary(&coordinator), Summary::Suspended);
    coordinator.crash();
    assert_eq!(suspended(&coordinator), (ConditionStatus::True, "Suspended".to_owned()));
    coordinator.live(1_000);
    assert!(coordinator.starts().is_empty());
    assert_nothing_lost(&coordinator);
}

#[test]
fn recruits_are_let_go_of_and_no_others_are_asked_for() {
    let mut wanted = spec_on("ants", 2);
    wanted.resources.workers.min = 1;
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(wanted);
    let ranks = coordinator.bring_up();
    coordinator.prepare(&ranks, &TRAIN_AND_VALIDATION);
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    coordinator.attach_cpus(&["b"]);
    let recruit = coordinator.start_ranks();
    coordinator.accept(suspend("ants"));
    assert_eq!(coordinator.stops(), [recruit[0].process.clone()]);
    coordinator.attach_cpus(&["c"]);
    assert!(coordinator.starts().is_empty());
    coordinator.exited(&recruit[0], LEFT);
    assert_eq!(coordinator.job("ants").generation, Generation(1));
    coordinator.store(&ranks[0], 0, 2).unwrap();
    leave(&mut coordinator, &ranks);
    assert_eq!(summary(&coordinator), Summary::Suspended);
    assert_nothing_lost(&coordinator);
}

#[test]
fn a_process_that_still_ends_is_told() {
    let (mut coordinator, ranks) = training(2);
    coordinator.accept(suspend("ants"));
    coordinator.exited(&ranks[0], LEFT);
    coordinator.live(0);
    // The second falls silent: it is killed, and its slot is not free before its agent says so.
    coordinator.pass(9_000);
    coordinator.heartbeat_all();
    coordinator.pass(2_000);
    assert!(coordinator.job("ants").gang().is_none());
    assert_eq!(summary(&coordinator), Summary::Suspending);
    let (_, reason, message) = coordinator.condition("ants", ConditionKind::Suspended);
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("Suspending", "1 process has yet to end")
    );
    coordinator.exited(&ranks[1], Ending::Killed(9));
    assert_eq!(summary(&coordinator), Summary::Suspended);
    assert_nothing_lost(&coordinator);
}

#[test]
fn a_job_that_is_resumed_while_its_ranks_leave_is_placed_when_they_have() {
    let (mut coordinator, ranks) = training(2);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.accept(suspend("ants"));
    coordinator.accept(resume("ants"));
    assert_eq!(coordinator.news(&ranks[0]).leave, STORE, "what was told stays told");
    assert_eq!(
        coordinator.condition("ants", ConditionKind::Suspended).2,
        "is placed again when its ranks have left"
    );
    coordinator.store(&ranks[0], 0, 3).unwrap();
    leave(&mut coordinator, &ranks);
    let again = coordinator.bring_up();
    assert_eq!((again.len(), coordinator.world(&again[0]).steps_done), (2, 3));
    assert_nothing_lost(&coordinator);
}

#[test]
fn to_suspend_and_to_resume_twice_changes_nothing() {
    let (mut coordinator, ranks) = training(1);
    assert_eq!(coordinator.accept(resume("ants")), Reply::Done);
    coordinator.accept(suspend("ants"));
    let records = coordinator.journal.len();
    assert_eq!(coordinator.accept(suspend("ants")), Reply::Done);
    assert_eq!(coordinator.journal.len(), records);
    leave(&mut coordinator, &ranks);
    coordinator.accept(Input::Cancel { job: job("ants") });
    assert_eq!(summary(&coordinator), Summary::Cancelled);
    assert_eq!(suspended(&coordinator).0, ConditionStatus::False);
    assert_eq!(
        coordinator.refuse(suspend("ants")),
        "job jobs/ants has ended: it was cancelled"
    );
    assert_eq!(coordinator.refuse(resume("bees")), "job jobs/bees does not exist");
    coordinator.accept(Input::Delete { job: job("ants") });
}

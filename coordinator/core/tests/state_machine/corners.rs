//! Corners that the simulation came to: each of these stories once ended badly.

use firn_core::identifiers::{Generation, RankIdentity, StreamId};
use firn_core::spec::JobSpec;
use firn_core::state::*;
use firn_core::{Input, Reply};

use crate::bench::*;

/// Trains on so many workers, and goes on with `fewest`.
fn training(fewest: u32, workers: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted: JobSpec = spec_on("ants", workers);
    wanted.training.epochs = 3;
    wanted.resources.workers.min = fewest;
    wanted.restart_policy.max_restarts = 9;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

fn shut_down(coordinator: &mut Coordinator, worker: &str) {
    let stream: StreamId = coordinator.state.soft.streams[&worker.into()];
    coordinator.accept(Input::AgentLeaving {
        worker: worker.into(),
        stream,
    });
}

fn moving(ticks: u64) -> Progress {
    Progress {
        activity: "training".into(),
        steps_done: 6,
        sequence: 7,
        ticks,
        ..Progress::default()
    }
}

fn last_loss(coordinator: &Coordinator) -> String {
    let losses = &coordinator.job("ants").losses;
    losses.last().unwrap().cause.failure.message.clone()
}

#[test]
fn a_pause_that_ends_while_a_job_waits_for_slots_leaves_no_timer() {
    let (mut coordinator, ranks) = training(1, 1);
    coordinator.exited(&ranks[0], Ending::Killed(9));
    let ranks = coordinator.bring_up();
    coordinator.live(4_000);
    coordinator.exited(&ranks[0], Ending::Killed(9));
    assert!(coordinator.job("ants").retry_at > coordinator.now);
    shut_down(&mut coordinator, "w0");
    coordinator.pass(5_000);
    coordinator.attach("w0", &["cpu"]);
    assert_eq!(coordinator.starts().len(), 1);
    let deadline = firn_core::deadline(&coordinator.state).unwrap();
    assert!(deadline > coordinator.now, "nothing is due");
}

#[test]
fn a_rank_that_hangs_instead_of_coming_to_the_next_generation_is_lost() {
    let (mut coordinator, ranks) = training(1, 3);
    coordinator.pulse(&ranks[0], moving(1));
    coordinator.pulse(&ranks[1], moving(1));
    coordinator.exited(&ranks[2], Ending::Killed(9));
    coordinator.join_from(&ranks[0], ranks[0].generation, 6).unwrap();
    for seconds in (0..24).step_by(2) {
        coordinator.pulse(&ranks[0], moving(2));
        coordinator.pulse(&ranks[1], moving(1));
        assert_eq!(coordinator.job("ants").losses.len(), if seconds < 20 { 1 } else { 2 });
        coordinator.heartbeat_all();
        coordinator.pass(2_000);
    }
    assert_eq!(
        last_loss(&coordinator),
        "rank 1 on host-w1 hangs: it has not moved for 20 s while training (step 6, 7 collective operations begun), and generation 2 waits \
         for it"
    );
    assert_eq!(coordinator.members("ants").len(), 1);
    assert_eq!(coordinator.world(&coordinator.members("ants")[0]).steps_done, 6);
}

#[test]
fn survivors_of_a_hang_have_time_to_come_to_the_next_generation() {
    let (mut coordinator, ranks) = training(1, 2);
    let waiting = Progress {
        operation: "all-reduce".into(),
        sequence: 8,
        ..moving(1)
    };
    for _ in 0..12 {
        coordinator.pulse(&ranks[0], waiting.clone());
        coordinator.pulse(&ranks[1], moving(1));
        coordinator.heartbeat_all();
        coordinator.pass(2_000);
    }
    assert!(last_loss(&coordinator).starts_with("rank 1 on host-w1 hangs"));
    assert_eq!(coordinator.job("ants").losses.len(), 1);
}

#[test]
fn what_a_rank_said_before_it_stopped_moving_is_known_to_the_next_generation() {
    let (mut coordinator, ranks) = training(1, 3);
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
    coordinator.exited(&ranks[0], Ending::Killed(9));
    assert_eq!(
        coordinator.members("ants")[0].process,
        ranks[1].process,
        "ranks are numbered anew"
    );
    coordinator.take_effects();
    coordinator.live(10_000);
    assert_eq!(coordinator.stops(), [ranks[1].process.clone()]);
    coordinator.exited(&ranks[1], Ending::Killed(9));
    assert_eq!(coordinator.failure("ants").message, "row 7 has no label");
}

#[test]
fn a_gang_that_waited_for_a_worker_and_is_lost_altogether_is_placed_again() {
    let (mut coordinator, ranks) = training(2, 2);
    shut_down(&mut coordinator, "w1");
    coordinator.join_from(&ranks[0], ranks[0].generation, 0).unwrap();
    coordinator.live(4_000);
    assert_eq!(
        coordinator.condition("ants", ConditionKind::Running).1,
        "WaitingForWorkers"
    );
    coordinator.exited(&ranks[0], Ending::Killed(9));
    coordinator.attach("w1", &["cpu"]);
    assert!(matches!(coordinator.job("ants").phase, Phase::Restarting(_)));
    coordinator.live(4_000);
    assert_eq!(coordinator.starts().len(), 2);
}

#[test]
fn two_jobs_that_each_hold_what_the_other_waits_for_do_not_wait_for_ever() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["w0", "w1", "w2", "w3"]);
    for name in ["first", "second"] {
        coordinator.submit(spec_on(name, 2));
        let ranks = coordinator.bring_up();
        coordinator.prepare(&ranks, &TRAIN_AND_VALIDATION);
    }
    for (name, lost) in [("first", "w1"), ("second", "w3")] {
        shut_down(&mut coordinator, lost);
        let left = coordinator.members(name);
        coordinator.join_from(&left[0], Generation(1), 0).unwrap();
    }
    coordinator.take_effects();
    coordinator.live(58_000);
    assert!(coordinator.stops().is_empty(), "workers may come back");
    coordinator.live(4_000);
    assert_eq!(coordinator.stops(), ["second-g1-r0".into()]);
    let (_, reason, message) = coordinator.condition("second", ConditionKind::Running);
    assert_eq!(reason, "Preempted");
    assert_eq!(
        message,
        "it waited for workers, and gave its slots up to jobs/first, which could have them"
    );
    assert_eq!(coordinator.job("second").losses_counted, 1, "to give way is no loss");
    coordinator.obey();
    let starts = coordinator.starts();
    assert_eq!((starts.len(), starts[0].job.as_str()), (1, "first"));
    assert_eq!(
        coordinator.why_queued("second"),
        "needs 2 workers with 1 free cpu slot each; 0 of 2 attached workers have one, 2 more are busy"
    );
}

#[test]
fn a_call_to_join_that_comes_too_late_changes_nothing() {
    let (mut coordinator, ranks) = training(1, 2);
    coordinator.pulse(&ranks[0], moving(1));
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.exited(&ranks[1], Ending::Killed(9));
    // the first call of all arrives once more
    let late = coordinator.join(&ranks[0]).unwrap_err();
    assert_eq!(late.to_string(), "expected generation 1 of jobs/ants, found 0");
    assert_eq!(coordinator.job("ants").run.ledger.committed, 3);
    coordinator.join_from(&ranks[0], Generation(1), 3).unwrap();
    let world = coordinator.world(&coordinator.members("ants")[0]);
    assert_eq!((world.origin, world.steps_done), (Origin::Rank(0), 3));

    // and after a restart, which no pulse outlives
    coordinator.crash();
    coordinator.attach_with(description("w0", &["cpu"]), &living(&ranks[..1]));
    assert!(coordinator.join(&ranks[0]).is_err());
}

fn living(ranks: &[RankIdentity]) -> Vec<LivingProcess> {
    let living = |rank: &RankIdentity| LivingProcess {
        process: rank.process.clone(),
        pid: 100,
    };
    ranks.iter().map(living).collect()
}

#[test]
fn a_pulse_that_comes_too_late_is_no_sign_of_life() {
    let (mut coordinator, ranks) = training(1, 2);
    coordinator.pulse(&ranks[1], moving(3));
    for ticks in 1..=5 {
        coordinator.pulse(&ranks[0], moving(ticks));
        assert_eq!(coordinator.pulse(&ranks[1], moving(2)), Reply::Wait);
        coordinator.heartbeat_all();
        coordinator.pass(2_000);
    }
    assert_eq!(
        last_loss(&coordinator),
        "rank 1 on host-w1 gave no sign of life for 10 s"
    );
}

#[test]
fn all_ranks_get_the_same_world_also_when_one_has_left_again() {
    let (mut coordinator, ranks) = training(1, 2);
    let world = coordinator.world(&ranks[0]);
    coordinator.join_from(&ranks[0], Generation(1), 0).unwrap();
    // the answer to rank 1 was lost: it asks again
    let Ok(Reply::World(again)) = coordinator.join(&ranks[1]) else {
        panic!("the gang is complete")
    };
    assert_eq!(again.ring_addresses, world.ring_addresses);
}

#[test]
fn after_the_best_checkpoint_was_unreadable_the_best_of_those_that_exist_is_chosen() {
    let (mut coordinator, ranks) = training(1, 1);
    // the second epoch is better than the first, whose checkpoint is dropped in time
    coordinator.losses = vec![0.5, 0.4];
    coordinator.train(&ranks, 0);
    coordinator.commit(&ranks[0], 1, 4..7).unwrap();
    coordinator.store(&ranks[0], 1, 6).unwrap();
    coordinator.train(&ranks, 1);
    let best = Coordinator::checkpoint(2, 8, ranks[0].generation);
    assert_eq!(coordinator.job("ants").run.best_epoch, Some(1));
    coordinator.accept(Input::CheckpointRejected {
        identity: ranks[0].clone(),
        sha256: best.sha256,
        reason: "it is damaged".to_owned(),
    });
    let ranks = coordinator.rejoin(&ranks, 0);
    assert_eq!(coordinator.world(&ranks[0]).steps_done, 6);
    // trained again, it is not as good
    coordinator.losses = vec![0.5, 0.6];
    coordinator.train(&ranks, 1);
    let run = &coordinator.job("ants").run;
    assert_eq!(run.best_epoch, Some(1), "the first epoch has no checkpoint any more");
    assert!(run.checkpoint_of_epoch(1).is_some());
}

#[test]
fn a_rank_that_has_not_gone_back_yet_when_the_next_generation_forms_is_no_source() {
    let (mut coordinator, ranks) = training(1, 2);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.store(&ranks[0], 0, 2).unwrap();
    coordinator.accept(Input::RollbackRequested {
        identity: ranks[0].clone(),
        reason: "three steps were not finite".to_owned(),
    });
    let ranks = coordinator.rejoin(&ranks, 3);
    assert_eq!(coordinator.world(&ranks[0]).steps_done, 2);
    // rank 1 is lost before rank 0 has loaded the checkpoint: its state is still that of the first generation
    coordinator.exited(&ranks[1], Ending::Killed(9));
    let reply = coordinator.give(Input::RankJoined {
        identity: ranks[0].clone(),
        ring_address: "again:1".to_owned(),
        device: "cpu".to_owned(),
        steps_done: 3,
        state_generation: Generation(1),
        reason: "generation 3 takes over".to_owned(),
    });
    let Ok(Reply::World(world)) = reply else {
        panic!("expected a world, found {reply:?}")
    };
    assert_eq!(world.steps_done, 2);
    assert!(matches!(world.origin, Origin::Checkpoint(_)));
}

#[test]
fn a_rank_that_leaves_unasked_is_not_waited_for() {
    let (mut coordinator, ranks) = training(1, 2);
    coordinator.commit(&ranks[0], 0, 0..4).unwrap();
    // rank 1 waits for the checkpoint that rank 0 does not store any more
    assert_eq!(coordinator.request(&ranks[1], Pass::validation(0)).map(|_| ()), Ok(()));
    coordinator.exited(&ranks[0], Ending::Exited(13));
    let job = coordinator.job("ants");
    assert_eq!((job.generation, job.losses.len()), (Generation(2), 0));
    let left = coordinator.rejoin(&ranks[1..], 4);
    assert_eq!(coordinator.world(&left[0]).rank, 0);
}

#[test]
fn a_gang_that_no_worker_could_complete_gives_way_to_a_later_job() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["w0", "w1"]);
    coordinator.submit(spec_on("first", 2));
    let ranks = coordinator.bring_up();
    coordinator.prepare(&ranks, &TRAIN_AND_VALIDATION);
    shut_down(&mut coordinator, "w1");
    coordinator.join_from(&ranks[0], Generation(1), 0).unwrap();
    coordinator.submit(spec_on("second", 1));
    coordinator.take_effects();
    coordinator.live(64_000);
    assert_eq!(coordinator.stops(), ["first-g1-r0".into()]);
    coordinator.obey();
    let starts = coordinator.starts();
    assert_eq!((starts.len(), starts[0].job.as_str()), (1, "second"));
}

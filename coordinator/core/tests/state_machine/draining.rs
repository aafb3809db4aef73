//! Workers are taken out of use, and their ranks hand over.

use firn_core::identifiers::{Generation, RankIdentity};
use firn_core::state::*;
use firn_core::{Input, Leave, Reply};

use crate::bench::*;

fn training(workers: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted = spec_on("ants", workers);
    wanted.resources.workers.min = 1;
    wanted.restart_policy.max_restarts = 0;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

fn drain(worker: &str, undo: bool) -> Input {
    Input::DrainWorker {
        worker: worker.into(),
        undo,
    }
}

#[test]
fn ranks_of_a_drained_worker_leave_and_the_others_go_on_without_a_lost_step() {
    let (mut coordinator, ranks) = training(2);
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    coordinator.accept(drain("w0", false));
    let leave = Leave {
        store_checkpoint: false,
    };
    let leaving = coordinator.news(&ranks[0]);
    assert_eq!((leaving.leave, leaving.stop), (Some(leave), None));
    let staying = coordinator.news(&ranks[1]);
    assert_eq!((staying.generation, staying.at_step_boundary), (Generation(2), true));
    coordinator.exited(&ranks[0], Ending::Exited(13));
    let left = coordinator.rejoin(&ranks[1..], 3);
    assert_eq!(coordinator.world(&left[0]).steps_done, 3);
    assert_eq!(coordinator.commit(&left[0], 0, 2..4), Ok(Reply::StepsCommitted(4)));
    let job = coordinator.job("ants");
    assert_eq!((job.losses.len(), job.run.ledger.rolled_back.len()), (0, 0));
    assert!(coordinator.starts().is_empty(), "nothing is placed on a drained worker");
}

#[test]
fn where_all_ranks_leave_rank_0_stores_a_checkpoint_and_the_job_waits() {
    let (mut coordinator, ranks) = training(1);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.accept(drain("w0", false));
    let leave = Leave { store_checkpoint: true };
    assert_eq!(coordinator.news(&ranks[0]).leave, Some(leave));
    coordinator.store(&ranks[0], 0, 3).unwrap();
    coordinator.exited(&ranks[0], Ending::Exited(13));
    let job = coordinator.job("ants");
    assert!(matches!(&job.phase, Phase::Restarting(restart) if restart.cause.is_none()));
    assert_eq!(
        coordinator.condition("ants", ConditionKind::Running).1,
        "Preempted",
        "it is no failure"
    );
    assert_eq!(
        coordinator.why_queued("ants"),
        "needs 1 worker with 1 free cpu slot; no worker is attached"
    );
    coordinator.accept(drain("w0", true));
    let again = coordinator.bring_up();
    let world = coordinator.world(&again[0]);
    assert_eq!(world.steps_done, 3);
    assert_eq!(coordinator.job("ants").run.ledger.rolled_back, [], "zero steps lost");
}

/// Two workers are needed, and one of them is lost after three steps, of which the ledger has two.
fn short_of_a_worker() -> (Coordinator, RankIdentity) {
    let mut wanted = spec_on("ants", 2);
    wanted.resources.workers.min = 2;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    coordinator.exited(&ranks[1], Ending::Killed(9));
    let waiting = coordinator.rejoin(&ranks[..1], 3);
    (coordinator, waiting[0].clone())
}

#[test]
fn the_last_rank_of_a_gang_that_waits_for_workers_stores_its_steps_before_it_leaves() {
    let (mut coordinator, rank) = short_of_a_worker();
    assert!(matches!(coordinator.job("ants").phase, Phase::Starting(_)), "it waits");
    coordinator.accept(drain("w0", false));
    let leave = Leave { store_checkpoint: true };
    assert_eq!(coordinator.news(&rank).leave, Some(leave));
    let world = coordinator.world(&rank);
    assert_eq!((world.steps_done, world.ring_addresses.len()), (3, 1));
    coordinator.commit(&rank, 0, 2..3).unwrap();
    coordinator.store(&rank, 0, 3).unwrap();
    coordinator.exited(&rank, Ending::Exited(13));
    let job = coordinator.job("ants");
    assert_eq!(job.run.resume().map(|checkpoint| checkpoint.steps_done), Some(3));
    assert_eq!(job.run.ledger.rolled_back, [], "zero steps lost");
    assert_eq!(job.losses.len(), 1, "to leave is no failure");
}

#[test]
fn where_everything_is_stored_a_rank_that_waits_for_workers_leaves_at_once() {
    let mut wanted = spec_on("ants", 2);
    wanted.resources.workers.min = 2;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.store(&ranks[0], 0, 3).unwrap();
    coordinator.exited(&ranks[1], Ending::Killed(9));
    let waiting = coordinator.rejoin(&ranks[..1], 3);
    coordinator.accept(drain("w0", false));
    let leave = Leave {
        store_checkpoint: false,
    };
    assert_eq!(coordinator.news(&waiting[0]).leave, Some(leave));
    assert!(matches!(coordinator.job("ants").phase, Phase::Starting(_)));
}

#[test]
fn a_rank_that_is_told_to_end_by_others_hands_over() {
    let (mut coordinator, ranks) = training(2);
    coordinator.accept(Input::RankPulsed {
        identity: ranks[1].clone(),
        progress: Progress::default(),
        hashes: Vec::new(),
        leaving: true,
    });
    assert!(coordinator.news(&ranks[1]).leave.is_some());
    assert_eq!(coordinator.news(&ranks[0]).generation, Generation(2));
    coordinator.exited(&ranks[1], Ending::Exited(13));
    coordinator.rejoin(&ranks[..1], 1);
    assert_eq!(coordinator.job("ants").losses, []);
}

/// The first of two ranks was let go; the second waits for it in a collective. Both tell what they do.
fn finish_a_step(coordinator: &mut Coordinator, ranks: &[RankIdentity], ticks: impl Fn(u64) -> u64, seconds: u64) {
    for second in (0..seconds).step_by(2) {
        let (computes, waits) = (
            doing("training", "", 6, ticks(second)),
            doing("training", "all-reduce", 7, 3),
        );
        coordinator.pulse(&ranks[0], computes);
        coordinator.pulse(&ranks[1], waits);
        coordinator.heartbeat_all();
        coordinator.pass(2_000);
    }
}

#[test]
fn a_rank_that_was_let_go_and_does_not_move_is_killed_and_no_other_is_blamed() {
    let (mut coordinator, ranks) = training(2);
    coordinator.accept(drain("w0", false));
    finish_a_step(&mut coordinator, &ranks, |_| 5, 18);
    assert!(coordinator.stops().is_empty());
    finish_a_step(&mut coordinator, &ranks, |_| 5, 2);
    assert_eq!(coordinator.stops(), [ranks[0].process.clone()]);
    coordinator.exited(&ranks[0], Ending::Killed(9));
    coordinator.rejoin(&ranks[1..], 3);
    let job = coordinator.job("ants");
    assert_eq!((job.losses.len(), job.generation), (0, Generation(2)));
    assert!(matches!(job.phase, Phase::Running(_)));
}

#[test]
fn a_rank_that_was_let_go_may_take_its_time_as_long_as_it_moves() {
    let (mut coordinator, ranks) = training(2);
    coordinator.accept(drain("w0", false));
    finish_a_step(&mut coordinator, &ranks, |second| second, 120);
    assert!(coordinator.stops().is_empty());
    assert_eq!(coordinator.job("ants").losses, []);
}

#[test]
fn a_rank_that_was_let_go_and_falls_silent_does_not_keep_its_slot() {
    let (mut coordinator, ranks) = training(2);
    coordinator.accept(drain("w0", false));
    coordinator.rejoin(&ranks[1..], 0);
    coordinator.crash();
    let living = |rank: u32| LivingProcess {
        process: ranks[rank as usize].process.clone(),
        pid: 100 + rank,
    };
    coordinator.attach_with(description("w1", &["cpu"]), &[living(1)]);
    let (_, unwanted) = coordinator.attach_with(description("w0", &["cpu"]), &[living(0)]);
    assert_eq!(unwanted, [], "it ends by itself");
    coordinator.live(18_000);
    assert!(coordinator.stops().is_empty());
    coordinator.live(2_000);
    assert_eq!(coordinator.stops(), [ranks[0].process.clone()]);
}

#[test]
fn a_preempted_worker_whose_ranks_are_killed_at_the_end_of_the_grace_costs_no_restart() {
    let (mut coordinator, ranks) = training(1);
    let stream = coordinator.state.soft.streams[&"w0".into()];
    let worker = "w0".into();
    coordinator.accept(Input::AgentDraining { worker, stream });
    coordinator.exited(&ranks[0], Ending::Killed(9));
    coordinator.accept(Input::AgentLeaving {
        worker: "w0".into(),
        stream,
    });
    assert!(coordinator.job("ants").outcome().is_none());
    // an agent that has just started is of use again
    let started = WorkerDescription {
        instance: "second start".into(),
        ..description("w0", &["cpu"])
    };
    coordinator.attach_with(started, &[]);
    assert_eq!(coordinator.starts().len(), 1);
}

#[test]
fn a_drained_worker_stays_drained_when_its_agent_starts_anew() {
    let (mut coordinator, _) = training(1);
    coordinator.accept(drain("w0", false));
    let started = WorkerDescription {
        instance: "second start".into(),
        ..description("w0", &["cpu"])
    };
    coordinator.live(20_000);
    coordinator.crash();
    coordinator.attach_with(started, &[]);
    assert_eq!(
        coordinator.state.workers[&"w0".into()].availability,
        Availability::Drained
    );
    assert_eq!(coordinator.refuse(drain("w7", false)), "worker w7 does not exist");
}

/// A job on `w0` and `w1`, beside `w2`; `w1` has failed three times.
fn failing_worker() -> Coordinator {
    let mut wanted = spec_on("ants", 2);
    wanted.resources.workers.min = 1;
    wanted.restart_policy.max_restarts = 9;
    let mut coordinator = Coordinator::new();
    let mut ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    coordinator.attach("w2", &["gpu"]);
    for failure in 1..=3 {
        let bad = ranks
            .iter()
            .find(|rank| worker_of(&coordinator, rank) == "w1")
            .unwrap()
            .clone();
        coordinator.exited(&bad, Ending::Killed(11));
        assert_eq!(is_set_aside(&coordinator), failure == 3);
        if failure < 3 {
            let recruits = coordinator.start_ranks_within(10_000);
            let left: Vec<RankIdentity> = coordinator.members("ants");
            coordinator.join(&recruits[0]).unwrap();
            ranks = coordinator.rejoin(&left, 0);
            coordinator.live(4_000);
        }
    }
    for rank in coordinator.members("ants") {
        let left = Generation(rank.generation.0 - 1);
        coordinator.join_from(&rank, left, 0).unwrap();
    }
    coordinator
}

fn is_set_aside(coordinator: &Coordinator) -> bool {
    coordinator.state.workers[&"w1".into()].availability == Availability::SetAside
}

#[test]
fn a_worker_that_fails_three_times_in_ten_minutes_is_set_aside() {
    let mut coordinator = failing_worker();
    coordinator.live(60_000);
    assert!(coordinator.starts().is_empty(), "nothing is placed on it any more");
    coordinator.accept(drain("w1", true));
    assert_eq!(coordinator.starts().len(), 1);
}

fn worker_of(coordinator: &Coordinator, rank: &RankIdentity) -> String {
    coordinator.state.processes[&rank.process].worker.to_string()
}

/// The agent of `w1` ends, and another one starts in its place.
fn restart_agent(coordinator: &mut Coordinator, instance: &str) {
    let mut description = coordinator.state.workers[&"w1".into()].description.clone();
    description.instance = instance.into();
    let stream = coordinator.state.soft.streams[&"w1".into()];
    coordinator.accept(Input::AgentDetached {
        worker: "w1".into(),
        stream,
    });
    coordinator.attach_with(description, &[]);
}

#[test]
fn a_worker_that_is_set_aside_stays_so_over_a_restart_of_its_agent_while_its_failures_are_recent() {
    let mut coordinator = failing_worker();
    restart_agent(&mut coordinator, "again");
    assert!(is_set_aside(&coordinator));
    coordinator.accept(drain("w1", true));
    restart_agent(&mut coordinator, "vouched-for");
    assert!(!is_set_aside(&coordinator), "a person has put it back into use");

    let mut coordinator = failing_worker();
    coordinator.live(600_000);
    assert!(is_set_aside(&coordinator));
    restart_agent(&mut coordinator, "much-later");
    assert!(!is_set_aside(&coordinator));
}

//! Who is silent, who hangs, and who has learned something else than the others.

use firn_core::identifiers::{Generation, RankIdentity};
use firn_core::state::*;
use firn_core::{Directive, Input, Reply};

use crate::bench::*;

fn training(workers: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted = spec_on("ants", workers);
    wanted.resources.workers.min = 1;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

/// Agents live, and each rank goes on telling the same.
fn tell(coordinator: &mut Coordinator, ranks: &[RankIdentity], told: &[Progress], seconds: u64) {
    for _ in 0..seconds / 2 {
        for (rank, progress) in ranks.iter().zip(told) {
            coordinator.pulse(rank, progress.clone());
        }
        coordinator.heartbeat_all();
        coordinator.pass(2_000);
    }
}

fn last_loss(coordinator: &Coordinator) -> &Failure {
    &coordinator
        .job("ants")
        .losses
        .last()
        .expect("something was lost")
        .cause
        .failure
}

#[test]
fn a_rank_that_gives_no_sign_of_life_is_lost_and_killed() {
    let (mut coordinator, ranks) = training(2);
    coordinator.take_effects();
    tell(&mut coordinator, &ranks[..1], &[doing("training", "", 7, 1)], 10);
    coordinator.pulse(&ranks[0], doing("training", "", 7, 2));
    assert_eq!(
        last_loss(&coordinator).message,
        "rank 1 on host-w1 gave no sign of life for 10 s"
    );
    assert_eq!(coordinator.stops(), [ranks[1].process.clone()]);
    // SIGCONT, too late: whatever it says has no effect
    let news = coordinator.news(&ranks[1]);
    assert_eq!(news.stop.as_deref(), Some("it was told to end"));
    assert!(coordinator.join_from(&ranks[1], Generation(1), 7).is_err());
    assert!(coordinator.commit(&ranks[1], 0, 0..1).is_err());
}

#[test]
fn a_hang_is_named_with_rank_step_and_operation_within_30_seconds() {
    let (mut coordinator, ranks) = training(2);
    let told = [doing("training", "all-reduce", 7, 3), doing("training", "", 6, 9)];
    tell(&mut coordinator, &ranks, &told, 20);
    assert!(coordinator.job("ants").losses.is_empty());
    tell(&mut coordinator, &ranks, &told, 4);
    assert_eq!(
        last_loss(&coordinator).message,
        "rank 1 on host-w1 hangs: it has not moved for 20 s while training (step 6, 6 collective operations begun), and rank 0 waits for it \
         in all-reduce #7 of step 6"
    );
    assert_eq!(last_loss(&coordinator).rank, Some(1));
    assert_eq!(coordinator.job("ants").living_workers().len(), 1);
}

#[test]
fn a_rank_that_is_late_but_moves_does_not_hang() {
    let (mut coordinator, ranks) = training(2);
    for ticks in 0..60 {
        let told = [doing("training", "all-reduce", 7, 3), doing("training", "", 6, ticks)];
        tell(&mut coordinator, &ranks, &told, 2);
    }
    assert!(coordinator.job("ants").losses.is_empty());
}

#[test]
fn a_rank_that_hangs_in_a_pass_is_named_when_another_waits_for_its_shards() {
    let (mut coordinator, ranks) = training(2);
    let told = [doing("waiting for shards", "", 6, 3), doing("in a pass", "", 6, 9)];
    tell(&mut coordinator, &ranks, &told, 20);
    assert!(coordinator.job("ants").losses.is_empty());
    tell(&mut coordinator, &ranks, &told, 4);
    assert_eq!(
        last_loss(&coordinator).message,
        "rank 1 on host-w1 hangs: it has not moved for 20 s while in a pass (step 6, 6 collective operations begun), and rank 0 waits for its \
         shards"
    );
    assert_eq!(coordinator.job("ants").living_workers().len(), 1);
}

#[test]
fn a_rank_that_stores_a_checkpoint_while_others_wait_does_not_hang() {
    let (mut coordinator, ranks) = training(2);
    let told = [doing("storing", "", 6, 3), doing("waiting for shards", "", 6, 9)];
    tell(&mut coordinator, &ranks, &told, 60);
    assert!(coordinator.job("ants").losses.is_empty());
}

/// Two ranks that have trained, of which rank 0 is to write the artifacts.
fn finishing() -> (Coordinator, Vec<RankIdentity>) {
    let (mut coordinator, ranks) = training(2);
    let epochs = coordinator.job("ants").spec.training.epochs;
    for epoch in 0..epochs {
        coordinator.train(&ranks, epoch);
    }
    let test = Pass::Evaluate {
        split: SplitName::Test,
        epoch: 0,
    };
    let told = coordinator.request(&ranks[0], test);
    assert!(
        matches!(told, Ok(Reply::Complete(Directive::Finish { .. }))),
        "{told:?}"
    );
    (coordinator, ranks)
}

/// Agents are heard for ten seconds, and ranks are not.
fn silence(coordinator: &mut Coordinator) {
    for _ in 0..5 {
        coordinator.pass(2_000);
        coordinator.heartbeat_all();
    }
}

#[test]
fn while_rank_0_writes_the_artifacts_the_silence_of_the_others_is_no_loss() {
    let (mut coordinator, ranks) = finishing();
    tell(&mut coordinator, &ranks[..1], &[doing("finishing", "", 7, 1)], 40);
    assert!(coordinator.job("ants").losses.is_empty());
    silence(&mut coordinator);
    assert_eq!(
        last_loss(&coordinator).message,
        "rank 0 on host-w0 gave no sign of life for 10 s"
    );
}

#[test]
fn where_rank_0_has_left_before_the_artifacts_were_written_the_others_are_needed() {
    let (mut coordinator, ranks) = finishing();
    tell(
        &mut coordinator,
        &ranks,
        &[doing("finishing", "", 7, 1), doing("finishing", "", 7, 1)],
        2,
    );
    // 13: it left on purpose.
    coordinator.exited(&ranks[0], Ending::Exited(13));
    silence(&mut coordinator);
    assert_eq!(
        last_loss(&coordinator).message,
        "rank 1 on host-w1 gave no sign of life for 10 s"
    );
}

#[test]
fn ranks_that_fall_silent_together_are_lost_together() {
    let (mut coordinator, ranks) = training(2);
    coordinator.crash();
    for (number, rank) in ranks.iter().enumerate() {
        let living = LivingProcess {
            process: rank.process.clone(),
            pid: 100 + number as u32,
        };
        coordinator.attach_with(description(&format!("w{number}"), &["cpu"]), &[living]);
    }
    assert!(coordinator.job("ants").losses.is_empty());
    silence(&mut coordinator);
    let loss = last_loss(&coordinator);
    assert_eq!(
        loss.message,
        "rank 0 on host-w0 and rank 1 on host-w1 gave no sign of life for 10 s"
    );
    let job = coordinator.job("ants");
    assert!(matches!(job.phase, Phase::Restarting(_)), "{:?}", job.phase);
    assert_eq!(job.losses.len(), 1);
}

#[test]
fn where_ranks_were_seen_to_take_long_a_hang_is_three_times_as_long() {
    let (mut coordinator, ranks) = training(2);
    for ticks in 0..4 {
        tell(
            &mut coordinator,
            &ranks,
            &[doing("training", "", 6, ticks), doing("training", "", 6, ticks)],
            16,
        );
    }
    let told = [doing("training", "all-reduce", 7, 4), doing("training", "", 6, 4)];
    tell(&mut coordinator, &ranks, &told, 48);
    assert!(coordinator.job("ants").losses.is_empty());
    tell(&mut coordinator, &ranks, &told, 4);
    assert!(
        last_loss(&coordinator)
            .message
            .contains("it has not moved for 48 s while training"),
        "{:?}",
        last_loss(&coordinator)
    );
}

/// The coordinator is stopped; then it wakes, and takes the newest pulses in.
fn stall(coordinator: &mut Coordinator, milliseconds: u64) {
    coordinator.sleep(milliseconds);
    coordinator.heartbeat_all();
}

#[test]
fn a_stall_of_the_coordinator_makes_no_computation_long() {
    let (mut coordinator, ranks) = training(2);
    let told = [doing("training", "", 6, 3), doing("training", "", 6, 3)];
    tell(&mut coordinator, &ranks, &told, 4);
    stall(&mut coordinator, 60_000);
    let told = [doing("training", "all-reduce", 7, 9), doing("training", "", 6, 9)];
    tell(&mut coordinator, &ranks, &told, 20);
    assert!(coordinator.job("ants").losses.is_empty());
    tell(&mut coordinator, &ranks, &told, 4);
    assert!(
        last_loss(&coordinator)
            .message
            .contains("it has not moved for 20 s while training"),
        "{:?}",
        last_loss(&coordinator)
    );
}

#[test]
fn a_peer_is_not_condemned_for_what_it_did_while_the_coordinator_was_stopped() {
    let (mut coordinator, ranks) = training(2);
    let told = [doing("training", "all-reduce", 7, 3), doing("training", "", 6, 3)];
    tell(&mut coordinator, &ranks, &told, 4);
    stall(&mut coordinator, 60_000);
    tell(&mut coordinator, &ranks[..1], &told[..1], 2);
    assert!(coordinator.job("ants").losses.is_empty());
    let moved = [told[0].clone(), doing("training", "", 6, 4)];
    tell(&mut coordinator, &ranks, &moved, 16);
    assert!(coordinator.job("ants").losses.is_empty());
}

#[test]
fn ranks_that_all_wait_in_the_same_operation_form_the_gang_anew_without_a_loss_of_ranks() {
    let (mut coordinator, ranks) = training(2);
    let told = [
        doing("training", "all-reduce", 7, 3),
        doing("training", "all-reduce", 7, 3),
    ];
    tell(&mut coordinator, &ranks, &told, 24);
    assert_eq!(
        last_loss(&coordinator).message,
        "all ranks hang: each has waited in all-reduce #7 of step 6 for 20 s"
    );
    let job = coordinator.job("ants");
    assert_eq!((job.generation, job.living_workers().len()), (Generation(2), 2));
}

#[test]
fn ranks_that_only_lost_each_other_form_the_gang_anew() {
    let (mut coordinator, ranks) = training(3);
    for rank in &ranks {
        coordinator.pulse(rank, Progress::default());
    }
    coordinator.join_from(&ranks[0], Generation(1), 0).unwrap();
    coordinator.pass(1_000);
    for rank in &ranks {
        coordinator.pulse(rank, Progress::default());
    }
    coordinator.pass(2_000);
    let job = coordinator.job("ants");
    assert_eq!((job.generation, job.living_workers().len()), (Generation(2), 3));
    assert_eq!(
        last_loss(&coordinator).message,
        "ranks lost their connection: rank 0 says rank 0 lost rank 1 in all-reduce #7"
    );
    coordinator.rejoin(&ranks[1..], 0);
    assert_eq!(
        coordinator.world(&coordinator.members("ants")[2]).ring_addresses.len(),
        3
    );
}

fn hash(coordinator: &mut Coordinator, rank: &RankIdentity, steps_done: u64, hash: &str) -> Reply {
    coordinator.accept(Input::RankPulsed {
        identity: rank.clone(),
        progress: Progress {
            generation: rank.generation,
            ..Progress::default()
        },
        hashes: vec![StateHash {
            steps_done,
            hash: hash.to_owned(),
        }],
        leaving: false,
    })
}

#[test]
fn the_rank_that_has_learned_something_else_is_named_and_replaced() {
    let (mut coordinator, ranks) = training(3);
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    coordinator.store(&ranks[0], 0, 2).unwrap();
    coordinator.take_effects();
    for (rank, found) in ranks.iter().zip(["same", "other", "same"]) {
        hash(&mut coordinator, rank, 100, found);
    }
    let failure = last_loss(&coordinator).clone();
    assert_eq!(failure.reason, FailureReason::HardwareSuspected);
    assert_eq!(
        failure.message,
        "rank 1 on host-w1 has another trained state than the other ranks at step 100; its hardware or driver is suspected"
    );
    assert_eq!(coordinator.stops(), [ranks[1].process.clone()]);
    let left = [ranks[0].clone(), ranks[2].clone()];
    let left = coordinator.rejoin(&left, 100);
    assert!(
        matches!(coordinator.world(&left[0]).origin, Origin::Checkpoint(_)),
        "its sums are in the others' state"
    );
}

#[test]
fn two_ranks_that_differ_are_both_named_and_go_back_to_a_checkpoint() {
    let (mut coordinator, ranks) = training(2);
    hash(&mut coordinator, &ranks[0], 100, "one");
    hash(&mut coordinator, &ranks[1], 100, "two");
    assert_eq!(
        last_loss(&coordinator).message,
        "rank 0 on host-w0 and rank 1 on host-w1 have trained different states up to step 100, and there is no majority to tell which is \
         right; hardware or drivers are suspected"
    );
    assert_eq!(coordinator.job("ants").living_workers().len(), 2);
}

#[test]
fn equal_states_are_no_news() {
    let (mut coordinator, ranks) = training(2);
    for step in [100, 200] {
        for rank in &ranks {
            assert_eq!(hash(&mut coordinator, rank, step, "same"), Reply::Wait);
        }
    }
    assert!(coordinator.job("ants").losses.is_empty());
    assert!(
        coordinator
            .state
            .soft
            .state_hashes
            .values()
            .all(|steps| steps.is_empty())
    );
}

#[test]
fn a_coordinator_that_another_has_replaced_does_nothing_for_ranks_that_know_it() {
    let (mut coordinator, ranks) = training(1);
    let told = RankIdentity {
        coordinator_epoch: 7,
        ..ranks[0].clone()
    };
    assert_eq!(
        coordinator.commit(&told, 0, 0..1).unwrap_err().to_string(),
        "this coordinator is of epoch 1, and the caller has met epoch 7: another has taken over"
    );
}

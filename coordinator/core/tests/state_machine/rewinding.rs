//! Back to an earlier state.

use firn_core::identifiers::RankIdentity;
use firn_core::state::*;
use firn_core::{Directive, Input, Reply};

use crate::bench::*;

fn training(epochs: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted = spec_on("ants", 2);
    wanted.training.epochs = epochs;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &EVERY_SPLIT);
    (coordinator, ranks)
}

fn broken_numbers(rank: &RankIdentity) -> Input {
    Input::RollbackRequested {
        identity: rank.clone(),
        reason: "the loss of steps 5, 6 and 7 was not finite".to_owned(),
    }
}

fn rejected(rank: &RankIdentity, checkpoint: &Checkpoint) -> Input {
    Input::CheckpointRejected {
        identity: rank.clone(),
        sha256: checkpoint.sha256.clone(),
        reason: "its SHA-256 is not the one that was committed".to_owned(),
    }
}

#[test]
fn broken_numbers_go_back_to_the_newest_checkpoint_once_and_then_fail_the_job() {
    let (mut coordinator, ranks) = training(3);
    coordinator.train(&ranks, 0);
    coordinator.commit(&ranks[0], 1, 4..7).unwrap();
    assert_eq!(coordinator.accept(broken_numbers(&ranks[1])), Reply::Done);
    assert!(
        coordinator.give(broken_numbers(&ranks[0])).is_err(),
        "the other asks in a generation that is over"
    );
    let ranks = coordinator.rejoin(&ranks, 7);
    let world = coordinator.world(&ranks[0]);
    assert_eq!((world.steps_done, world.next), (4, train_epoch(1)));
    assert!(matches!(world.origin, Origin::Checkpoint(_)));
    assert_eq!(coordinator.job("ants").run.ledger.committed, 4);
    assert_eq!(coordinator.job("ants").losses, []);
    coordinator.commit(&ranks[0], 1, 4..7).unwrap();
    assert!(matches!(
        coordinator.accept(broken_numbers(&ranks[0])),
        Reply::JobFailed(_)
    ));
    let failure = coordinator.failure("ants");
    assert_eq!(failure.reason, FailureReason::NumericalError);
    assert_eq!(
        failure.message,
        "the loss of steps 5, 6 and 7 was not finite; the ranks had gone back to a checkpoint before, which did not help"
    );
}

#[test]
fn an_unreadable_checkpoint_makes_the_one_before_count() {
    let (mut coordinator, ranks) = training(3);
    coordinator.train(&ranks, 0);
    coordinator.train(&ranks, 1);
    for rank in &ranks {
        coordinator.exited(rank, Ending::Killed(9));
    }
    coordinator.live(2_000);
    coordinator.bring_up();
    let ranks = coordinator.members("ants");
    let Origin::Checkpoint(newest) = coordinator.world(&ranks[0]).origin else {
        panic!("it goes on from a checkpoint")
    };
    assert_eq!(newest.steps_done, 8);
    coordinator.accept(rejected(&ranks[0], &newest));
    let ranks = coordinator.rejoin(&ranks, 0);
    let world = coordinator.world(&ranks[0]);
    assert_eq!((world.steps_done, world.next), (4, train_epoch(1)));
    let run = &coordinator.job("ants").run;
    assert_eq!(
        (run.ledger.committed, run.epochs_concluded, run.best_epoch),
        (4, 1, Some(0))
    );
    assert_eq!(run.rejected_checkpoints.len(), 1);
    assert_eq!(coordinator.train(&ranks, 1), train_epoch(2));
}

#[test]
fn without_a_readable_checkpoint_the_job_fails_rather_than_begin_anew() {
    let (mut coordinator, ranks) = training(3);
    coordinator.train(&ranks, 0);
    let only = coordinator.job("ants").run.checkpoints[0].clone();
    assert!(matches!(
        coordinator.accept(rejected(&ranks[0], &only)),
        Reply::JobFailed(_)
    ));
    assert_eq!(
        coordinator.failure("ants").message,
        "the checkpoint after step 4 cannot be read (its SHA-256 is not the one that was committed), and no other one is left; the job does \
         not begin anew by itself"
    );
}

#[test]
fn when_the_best_checkpoint_is_unreadable_the_next_best_is_scored() {
    let (mut coordinator, ranks) = training(2);
    coordinator.losses = vec![0.1, 0.5];
    coordinator.train(&ranks, 0);
    let Directive::LoadBest {
        checkpoint: best,
        epoch,
    } = coordinator.train(&ranks, 1)
    else {
        panic!("the best is to be scored")
    };
    assert_eq!(epoch, 0);
    coordinator.accept(rejected(&ranks[1], &best));
    let ranks = coordinator.rejoin(&ranks, 8);
    assert!(matches!(
        coordinator.world(&ranks[0]).next,
        Directive::LoadBest { epoch: 1, .. }
    ));
}

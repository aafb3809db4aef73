//! Reduce on plateau: the peak of an epoch follows from the evaluations that count, and comes with the directive.

use firn_core::identifiers::RankIdentity;
use firn_core::spec::{JobSpec, MetricName};
use firn_core::state::{Ending, Step};
use firn_core::{Directive, Input, Reply};

use crate::bench::*;

/// Each evaluation that does not improve on the best one halves the rate.
fn halving() -> JobSpec {
    let mut spec = spec_on("ants", 2);
    spec.training.epochs = 6;
    spec.training.schedule.shape = halved_unless_better(MetricName::LOSS, None);
    spec
}

fn training(losses: &[f64]) -> (Coordinator, Vec<RankIdentity>) {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(halving(), &TRAIN_AND_VALIDATION);
    coordinator.losses = losses.to_vec();
    (coordinator, ranks)
}

fn peak(directive: &Directive) -> (u32, f64) {
    match directive {
        Directive::TrainEpoch {
            epoch,
            peak_learning_rate,
        } => (*epoch, *peak_learning_rate),
        other => panic!("expected an epoch to train, found {other:?}"),
    }
}

/// Trains the epoch of a directive as told, up to the step before `end`.
fn commit(coordinator: &mut Coordinator, rank: &RankIdentity, directive: &Directive, end: u64) {
    let (epoch, learning_rate) = peak(directive);
    let steps = (4 * u64::from(epoch)..end).map(|step| Step {
        learning_rate,
        ..Coordinator::step(step, epoch)
    });
    let committed = coordinator.accept(Input::StepsCommitted {
        identity: rank.clone(),
        steps: steps.collect(),
    });
    assert_eq!(committed, Reply::StepsCommitted(end));
}

/// Trains the whole epoch of a directive as told; what comes next.
fn train(coordinator: &mut Coordinator, ranks: &[RankIdentity], directive: &Directive) -> Directive {
    let end = 4 * u64::from(peak(directive).0 + 1);
    commit(coordinator, &ranks[0], directive, end);
    coordinator.train(ranks, peak(directive).0)
}

#[test]
fn each_epoch_is_trained_below_the_peak_that_follows_from_the_evaluations_before_it() {
    let (mut coordinator, ranks) = training(&[0.5, 0.4, 0.4, 0.3, 0.31, 0.32]);
    let mut next = coordinator.world(&ranks[0]).next;
    let mut peaks = Vec::new();
    while matches!(next, Directive::TrainEpoch { .. }) {
        peaks.push(peak(&next).1);
        next = train(&mut coordinator, &ranks, &next);
    }
    assert_eq!(peaks, [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]);
}

#[test]
fn a_coordinator_that_was_killed_tells_the_same_peak() {
    let (mut coordinator, ranks) = training(&[0.5; 6]);
    let first = coordinator.world(&ranks[0]).next;
    let second = train(&mut coordinator, &ranks, &first);
    let third = train(&mut coordinator, &ranks, &second);
    assert_eq!(peak(&third), (2, 0.05));
    commit(&mut coordinator, &ranks[0], &third, 10);
    coordinator.crash();
    assert_eq!(firn_core::queries::next_directive(coordinator.job("ants")), third);
}

#[test]
fn whoever_goes_back_to_a_checkpoint_goes_on_with_the_peak_that_belonged_to_it() {
    let (mut coordinator, ranks) = training(&[0.5; 6]);
    let first = coordinator.world(&ranks[0]).next;
    let second = train(&mut coordinator, &ranks, &first);
    let third = train(&mut coordinator, &ranks, &second);
    let fourth = train(&mut coordinator, &ranks, &third);
    assert_eq!(peak(&fourth), (3, 0.025));
    for rank in &ranks {
        coordinator.exited(rank, Ending::Killed(9));
    }
    coordinator.live(2_000);
    coordinator.bring_up();
    let ranks = coordinator.members("ants");
    assert_eq!(coordinator.world(&ranks[0]).next, fourth);
    // The checkpoint after epoch 2 cannot be read, and the evaluation that reduced the rate goes with it.
    let newest = coordinator.job("ants").run.resume().unwrap().clone();
    coordinator.accept(Input::CheckpointRejected {
        identity: ranks[1].clone(),
        sha256: newest.sha256,
        reason: "it is damaged".to_owned(),
    });
    let ranks = coordinator.rejoin(&ranks, 0);
    let world = coordinator.world(&ranks[0]);
    assert_eq!((world.steps_done, world.next.clone()), (8, third));
    let again = train(&mut coordinator, &ranks, &world.next);
    assert_eq!(again, fourth);
}

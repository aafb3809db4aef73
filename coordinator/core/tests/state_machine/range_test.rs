//! A range test is over with its last step, or once its loss has diverged; nothing is left of it.

use firn_core::identifiers::RankIdentity;
use firn_core::spec::ScheduleShape;
use firn_core::state::*;
use firn_core::{Effect, Input};

use crate::bench::*;

/// A test of six steps, which are one epoch and a half.
fn testing() -> (Coordinator, Vec<RankIdentity>) {
    let mut spec = spec_on("ants", 2);
    spec.training.epochs = 6;
    spec.training.schedule.shape = ScheduleShape::RangeTest {
        start_learning_rate: 1e-6,
        steps: 6,
    };
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec, &[SplitName::Train]);
    (coordinator, ranks)
}

fn commit(coordinator: &mut Coordinator, rank: &RankIdentity, epoch: u32, steps: &[(u64, f64)]) {
    let steps = steps.iter().map(|(step, loss)| Step {
        loss: *loss,
        learning_rate: 1e-6 * (0.1f64 / 1e-6).powf(*step as f64 / 5.0),
        ..Coordinator::step(*step, epoch)
    });
    coordinator.accept(Input::StepsCommitted {
        identity: rank.clone(),
        steps: steps.collect(),
    });
}

fn is_over(coordinator: &Coordinator) -> bool {
    coordinator.job("ants").outcome() == Some(&Outcome::Cancelled)
}

fn why(coordinator: &Coordinator) -> String {
    let mut conditions = coordinator.job("ants").conditions.iter().rev();
    let failed = conditions.find(|condition| condition.kind == ConditionKind::Failed);
    failed.map(|condition| condition.message.clone()).unwrap_or_default()
}

#[test]
fn it_ends_with_its_last_step_and_its_ranks_are_stopped() {
    let (mut coordinator, ranks) = testing();
    commit(
        &mut coordinator,
        &ranks[0],
        0,
        &[(0, 2.0), (1, 2.0), (2, 1.9), (3, 1.8)],
    );
    coordinator.store(&ranks[0], 1, 4).unwrap();
    commit(&mut coordinator, &ranks[0], 1, &[(4, 1.8)]);
    assert!(!is_over(&coordinator));
    coordinator.effects.clear();
    commit(&mut coordinator, &ranks[0], 1, &[(5, 1.7)]);
    assert!(is_over(&coordinator));
    assert_eq!(why(&coordinator), "the range test ended after all its steps");
    let stopped = coordinator.effects.iter();
    let stopped = stopped
        .filter(|effect| matches!(effect, Effect::StopRank { .. }))
        .count();
    assert_eq!(stopped, 2);
}

#[test]
fn it_ends_where_its_loss_has_diverged_or_is_not_finite() {
    let (mut coordinator, ranks) = testing();
    commit(&mut coordinator, &ranks[0], 0, &[(0, 1.0), (1, 1.0), (2, 90.0)]);
    assert!(is_over(&coordinator));
    assert_eq!(why(&coordinator), "the range test ended when the loss had diverged");
    let (mut coordinator, ranks) = testing();
    let skipped = Step {
        loss: 0.0,
        learning_rate: 1e-6,
        skipped: true,
        ..Coordinator::step(0, 0)
    };
    coordinator.accept(Input::StepsCommitted {
        identity: ranks[0].clone(),
        steps: vec![skipped],
    });
    assert!(is_over(&coordinator));
    assert_eq!(
        why(&coordinator),
        "the range test ended when a loss or a gradient was not finite"
    );
}

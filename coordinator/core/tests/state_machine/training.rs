//! Epochs: steps, checkpoints, the best one, the end.

use firn_core::identifiers::RankIdentity;
use firn_core::spec::{EarlyStopping, JobSpec, MetricName};
use firn_core::state::*;
use firn_core::{Directive, Effect, Input, Reply};

use crate::bench::*;

fn spec_of(epochs: u32) -> JobSpec {
    let mut spec = spec("ants");
    spec.training.epochs = epochs;
    spec
}

fn training(epochs: u32, splits: &[SplitName]) -> (Coordinator, RankIdentity) {
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(spec_of(epochs), splits).remove(0);
    (coordinator, rank)
}

fn one(rank: &RankIdentity) -> &[RankIdentity] {
    std::slice::from_ref(rank)
}

#[test]
fn steps_are_committed_without_a_gap_and_repeats_change_nothing() {
    let (mut coordinator, rank) = training(2, &TRAIN_AND_VALIDATION);
    assert_eq!(coordinator.commit(&rank, 0, 0..2), Ok(Reply::StepsCommitted(2)));
    let records = coordinator.journal.len();
    assert_eq!(coordinator.commit(&rank, 0, 0..2), Ok(Reply::StepsCommitted(2)));
    assert_eq!(coordinator.commit(&rank, 0, 0..0), Ok(Reply::StepsCommitted(2)));
    assert_eq!(coordinator.journal.len(), records);
    assert_eq!(coordinator.commit(&rank, 0, 1..3), Ok(Reply::StepsCommitted(3)));
    assert_eq!(
        coordinator.commit(&rank, 0, 4..5).unwrap_err().to_string(),
        "expected step 3, found step 4"
    );
    let ledger = &coordinator.job("ants").run.ledger;
    let steps: Vec<u64> = ledger.from_step(1).map(|committed| committed.step.step).collect();
    assert_eq!(steps, [1, 2]);
    assert_eq!(ledger.last().unwrap().generation, rank.generation);
}

#[test]
fn steps_that_the_epoch_does_not_have_are_refused() {
    let (mut coordinator, rank) = training(2, &TRAIN_AND_VALIDATION);
    assert_eq!(
        coordinator.commit(&rank, 0, 0..5).unwrap_err().to_string(),
        "epoch 0 ends before step 4, found step 4"
    );
    assert_eq!(
        coordinator.commit(&rank, 1, 0..1).unwrap_err().to_string(),
        "steps.epoch: expected epoch 0 of step 0, found 1"
    );
    let large = Step {
        samples: 11,
        ..Coordinator::step(0, 0)
    };
    let input = Input::StepsCommitted {
        identity: rank.clone(),
        steps: vec![large],
    };
    assert_eq!(
        coordinator.refuse(input),
        "steps.samples: expected at most 10 in step 0, found 11"
    );
}

#[test]
fn only_rank_0_commits_and_only_in_training() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.submit(spec_on("ants", 2));
    let ranks = coordinator.bring_up();
    coordinator.register(&ranks[0], dataset(&TRAIN_AND_VALIDATION));
    assert_eq!(
        coordinator.commit(&ranks[1], 0, 0..1).unwrap_err().to_string(),
        "expected rank 0, found rank 1"
    );
    assert_eq!(
        coordinator.commit(&ranks[0], 0, 0..1).unwrap_err().to_string(),
        "expected pass scan/train, found step 0"
    );
}

#[test]
fn a_step_that_is_not_finite_fails_the_job() {
    let (mut coordinator, rank) = training(1, &TRAIN_AND_VALIDATION);
    let step = Step {
        loss: f64::INFINITY,
        ..Coordinator::step(0, 0)
    };
    let reply = coordinator.accept(Input::StepsCommitted {
        identity: rank,
        steps: vec![step],
    });
    assert!(matches!(reply, Reply::JobFailed(_)));
    let failure = coordinator.failure("ants");
    assert_eq!(failure.reason, FailureReason::NumericalError);
    assert_eq!(
        failure.message,
        "step 0 of epoch 0 is not finite: loss inf, gradient norm 1, learning rate 0.1"
    );
}

#[test]
fn a_step_that_was_skipped_counts_and_its_loss_is_not_shown() {
    let (mut coordinator, rank) = training(1, &TRAIN_AND_VALIDATION);
    coordinator.commit(&rank, 0, 0..1).unwrap();
    let skipped = Step {
        loss: 0.0,
        skipped: true,
        ..Coordinator::step(1, 0)
    };
    let reply = coordinator.accept(Input::StepsCommitted {
        identity: rank.clone(),
        steps: vec![skipped],
    });
    assert!(matches!(reply, Reply::StepsCommitted(2)));
    let ledger = &coordinator.job("ants").run.ledger;
    assert_eq!(ledger.last().map(|last| last.step), Some(skipped));
    let shown = firn_core::queries::progress(coordinator.job("ants"), coordinator.now);
    assert_eq!((shown.step, shown.loss), (2, Some(1.0)));
    coordinator.commit(&rank, 0, 2..3).unwrap();
    assert_eq!(coordinator.job("ants").run.ledger.committed, 3);
}

#[test]
fn an_epoch_is_over_when_it_is_evaluated_and_its_checkpoint_exists() {
    let (mut coordinator, rank) = training(2, &TRAIN_AND_VALIDATION);
    coordinator.commit(&rank, 0, 0..4).unwrap();
    // validation may begin while the checkpoint is on its way
    let pass = Pass::validation(0);
    for _ in 0..2 {
        let Ok(Reply::Shard(shard)) = coordinator.request(&rank, pass) else {
            panic!("there is work")
        };
        coordinator.complete(&rank, pass, shard).unwrap();
    }
    assert!(coordinator.score());
    assert_eq!(coordinator.request(&rank, pass), Ok(Reply::Wait));
    coordinator.store(&rank, 1, 4).unwrap();
    assert_eq!(coordinator.request(&rank, pass), Ok(Reply::Complete(train_epoch(1))));
    assert_eq!(coordinator.store(&rank, 1, 4), Ok(Reply::Done), "a repeat is accepted");
    assert_eq!(coordinator.job("ants").run.checkpoints.len(), 1);
}

#[test]
fn without_validation_an_epoch_is_over_with_its_checkpoint_and_the_last_is_best() {
    let (mut coordinator, rank) = training(2, &[SplitName::Train]);
    coordinator.commit(&rank, 0, 0..4).unwrap();
    assert_eq!(coordinator.request(&rank, Pass::validation(0)), Ok(Reply::Wait));
    coordinator.store(&rank, 1, 4).unwrap();
    assert_eq!(
        coordinator.request(&rank, Pass::validation(0)),
        Ok(Reply::Complete(train_epoch(1)))
    );
    let best = Coordinator::checkpoint(2, 8, rank.generation);
    assert_eq!(
        coordinator.train(one(&rank), 1),
        Directive::LoadBest {
            checkpoint: best.clone(),
            epoch: 1
        }
    );
    let test = Pass::Evaluate {
        split: SplitName::Test,
        epoch: 0,
    };
    let finish = Directive::Finish { best, best_epoch: 1 };
    assert_eq!(coordinator.request(&rank, test), Ok(Reply::Complete(finish)));
}

#[test]
fn checkpoints_hold_committed_steps_and_go_forward() {
    let (mut coordinator, rank) = training(2, &TRAIN_AND_VALIDATION);
    coordinator.commit(&rank, 0, 0..3).unwrap();
    let refusals = [
        (
            0,
            4,
            "expected a checkpoint not after step 3, the last committed one, found a checkpoint after step 4",
        ),
        (1, 3, "epochs_done: expected 0 complete epochs after 3 steps, found 1"),
    ];
    for (epochs, steps, message) in refusals {
        assert_eq!(
            coordinator.store(&rank, epochs, steps).unwrap_err().to_string(),
            message
        );
    }
    coordinator.store(&rank, 0, 2).unwrap();
    let older = Checkpoint {
        sha256: sha256(7),
        ..Coordinator::checkpoint(0, 1, rank.generation)
    };
    assert_eq!(
        coordinator.refuse(Input::CheckpointStored {
            identity: rank.clone(),
            checkpoint: older
        }),
        "expected a checkpoint after step 2 and not after step 3, the last committed one, found a checkpoint after step 1"
    );
    let nameless = Checkpoint {
        sha256: "x".to_owned(),
        ..Coordinator::checkpoint(0, 3, rank.generation)
    };
    assert_eq!(
        coordinator.refuse(Input::CheckpointStored {
            identity: rank,
            checkpoint: nameless
        }),
        "sha256: expected 64 lower-case hexadecimal digits, found `x`"
    );
}

#[test]
fn the_best_checkpoint_is_scored_on_test_and_becomes_the_artifact() {
    let (mut coordinator, rank) = training(3, &EVERY_SPLIT);
    coordinator.losses = vec![0.5, 0.3, 0.3];
    assert_eq!(coordinator.train(one(&rank), 0), train_epoch(1));
    assert_eq!(coordinator.train(one(&rank), 1), train_epoch(2));
    let best = Coordinator::checkpoint(2, 8, rank.generation);
    assert_eq!(
        coordinator.train(one(&rank), 2),
        Directive::LoadBest {
            checkpoint: best.clone(),
            epoch: 1
        }
    );
    assert_eq!(coordinator.job("ants").run.training_end, Some(TrainingEnd::AllEpochs));
    // the epoch of test is the best one, whatever the rank calls it
    let test = Pass::Evaluate {
        split: SplitName::Test,
        epoch: 77,
    };
    assert_eq!(
        coordinator.refuse(Input::JobFinished { identity: rank.clone() }),
        "expected pass evaluate/test/1, found the end of the job"
    );
    assert_eq!(
        coordinator.walk(one(&rank), test),
        Directive::Finish { best, best_epoch: 1 }
    );
    assert!(coordinator.job("ants").run.evaluation(SplitName::Test, 1).is_some());
    coordinator.finish(&rank);
    assert_eq!(coordinator.job("ants").outcome(), Some(&Outcome::Succeeded));
    coordinator.finish(&rank);
    assert_eq!(coordinator.condition("ants", ConditionKind::Succeeded).1, "Completed");
}

#[test]
fn labels_of_test_are_predicted_by_the_thresholds_of_the_best_epoch_which_every_coordinator_knows() {
    let (mut coordinator, rank) = training(3, &EVERY_SPLIT);
    coordinator.losses = vec![0.5, 0.3, 0.3];
    coordinator.thresholds = vec![vec![0.1], vec![0.2], vec![0.3]];
    coordinator.train(one(&rank), 0);
    coordinator.train(one(&rank), 1);
    let run = &coordinator.job("ants").run;
    assert!(run.thresholds().is_empty(), "a later epoch may be better");
    coordinator.train(one(&rank), 2);
    coordinator.crash();
    let run = &coordinator.job("ants").run;
    assert_eq!(run.schema_of(SplitName::Test).thresholds, [0.2]);
    assert!(run.schema_of(SplitName::Validation).thresholds.is_empty());
}

#[test]
fn old_checkpoints_are_dropped_but_never_the_best() {
    let (mut coordinator, rank) = training(5, &TRAIN_AND_VALIDATION);
    coordinator.losses = vec![0.1, 0.5, 0.5, 0.05, 0.5];
    let mut deleted = Vec::new();
    let mut kept = Vec::new();
    for epoch in 0..5 {
        coordinator.train(one(&rank), epoch);
        deleted.extend(
            coordinator
                .take_effects()
                .into_iter()
                .filter_map(|effect| match effect {
                    Effect::DeleteCheckpoint { sha256, .. } => Some(sha256),
                    _ => None,
                }),
        );
        let checkpoints = &coordinator.job("ants").run.checkpoints;
        kept.push(
            checkpoints
                .iter()
                .map(|checkpoint| checkpoint.epochs_done)
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(kept, [vec![1], vec![1, 2], vec![1, 2, 3], vec![3, 4], vec![4, 5]]);
    let digest = |epochs: u32| Coordinator::checkpoint(epochs, 4 * u64::from(epochs), rank.generation).sha256;
    assert_eq!(deleted, [digest(1), digest(2), digest(3)]);
}

#[test]
fn training_stops_early_when_nothing_improves() {
    // losses, patience, smallest change, epochs trained, best epoch
    let table: [(&[f64], u32, f64, u32, u32); 5] = [
        (&[0.5, 0.4, 0.3, 0.2, 0.1, 0.1], 2, 0.0, 6, 4),
        (&[0.5, 0.6, 0.6, 0.1, 0.1, 0.1], 2, 0.0, 3, 0),
        (&[0.5, 0.6, 0.4, 0.5, 0.5, 0.1], 2, 0.0, 5, 2),
        (&[0.5, 0.49, 0.48, 0.47, 0.1, 0.1], 3, 0.1, 4, 3),
        (&[0.5, 0.5, 0.1, 0.1, 0.1, 0.1], 1, 0.0, 2, 0),
    ];
    for (losses, patience, min_delta, trained, best) in table {
        let mut wanted = spec_of(6);
        wanted.training.early_stopping = Some(EarlyStopping {
            class: None,
            metric: MetricName::LOSS,
            patience,
            min_delta,
        });
        let mut coordinator = Coordinator::new();
        let rank = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION).remove(0);
        coordinator.losses = losses.to_vec();
        let mut epoch = 0;
        let next = loop {
            let next = coordinator.train(one(&rank), epoch);
            epoch += 1;
            if next != train_epoch(epoch) {
                break next;
            }
        };
        assert_eq!(epoch, trained, "{losses:?}");
        assert!(
            matches!(next, Directive::LoadBest { epoch, .. } if epoch == best),
            "{losses:?}: {next:?}"
        );
        let stopped = matches!(
            coordinator.job("ants").run.training_end,
            Some(TrainingEnd::EarlyStopped { .. })
        );
        assert_eq!(stopped, trained < 6);
    }
}

#[test]
fn the_best_checkpoint_follows_the_metric_of_the_spec() {
    let mut wanted = spec_of(2);
    wanted.training.best_metric = MetricName::named("accuracy");
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION).remove(0);
    // equal accuracy, lower loss: the first one stays
    coordinator.losses = vec![0.5, 0.1];
    coordinator.train(one(&rank), 0);
    coordinator.train(one(&rank), 1);
    assert_eq!(coordinator.job("ants").run.best_epoch, Some(0));
}

#[test]
fn artifacts_are_listed_and_a_second_one_of_a_name_replaces_the_first() {
    let (mut coordinator, rank) = training(1, &TRAIN_AND_VALIDATION);
    let artifact = |name: &str, number| Artifact {
        name: name.to_owned(),
        size_bytes: 3,
        sha256: sha256(number),
        location: "coordinator".to_owned(),
    };
    let store = |artifact| Input::ArtifactStored {
        identity: rank.clone(),
        artifact,
    };
    coordinator.accept(store(artifact("head.safetensors", 1)));
    coordinator.accept(store(artifact("metrics.json", 2)));
    coordinator.accept(store(artifact("head.safetensors", 3)));
    coordinator.accept(store(artifact("adapter/adapter_config.json", 4)));
    let artifacts = &coordinator.job("ants").run.artifacts;
    assert_eq!(
        artifacts,
        &[
            artifact("metrics.json", 2),
            artifact("head.safetensors", 3),
            artifact("adapter/adapter_config.json", 4)
        ]
    );
    for name in ["../head", "/head", "a/b/head", "adapter/", "adapter/..", "a\\b"] {
        assert_eq!(
            coordinator.refuse(store(artifact(name, 1))),
            format!("artifact.name: expected a plain file name, or one in a folder, found `{name}`")
        );
    }
}

//! Passes, epochs, checkpoints, and what is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::spec::{EarlyStopping, MetricName, TrainingSpec};
use crate::task::{ClassificationStatistics, Statistics};

#[test]
fn a_shard_that_is_missing_or_counts_twice_is_found() {
    let pass = Pass::validation(0);
    let findings = remove(1, is_shard_of(pass));
    let missing = assert_has(
        &findings,
        Flaw::Shard,
        "pass evaluate/validation/0 was concluded without 1 of its shards",
    );
    assert_eq!(
        (missing.split, missing.shard, missing.epoch),
        (Some(SplitName::Validation), Some(1), Some(0))
    );
    assert_has(
        &findings,
        Flaw::Metrics,
        "expected metrics of 16 samples, as its shards scored, found 20",
    );

    let findings = repeat(0, is_shard_of(pass));
    let twice = assert_has(
        &findings,
        Flaw::Shard,
        "shard 0 of pass evaluate/validation/0 counts a second time",
    );
    assert_eq!(twice.shard, Some(0));
    assert_eq!(findings.len(), 1, "{findings:#?}");

    let findings = repeat(0, |event| matches!(event, JobEvent::EvaluationCompleted { .. }));
    assert_has(&findings, Flaw::Shard, "was concluded a second time");
}

#[test]
fn a_split_that_was_not_read_before_the_first_step_is_found() {
    let findings = remove(0, is_shard_of(Pass::Scan(SplitName::Test)));
    assert_has(
        &findings,
        Flaw::Shard,
        "steps were committed before all of test was scanned",
    );
}

#[test]
fn shards_of_another_cut_or_beyond_the_last_are_found() {
    let change = |change: fn(&mut ShardTable, &mut u32)| {
        tampered(|journal| {
            let position = find(journal, 0, is_shard_of(Pass::validation(0)));
            if let Some(JobEvent::ShardCompleted { shards, shard, .. }) = event_mut(&mut journal[position]) {
                change(shards, shard);
            }
        })
    };
    assert_has(
        &change(|table, _| table.shard_size = 5),
        Flaw::Dataset,
        "to be cut as it was registered",
    );
    assert_has(
        &change(|_, shard| *shard = 7),
        Flaw::Shard,
        "has 2 shards, found shard 7",
    );
}

#[test]
fn other_counts_of_scored_samples_are_found() {
    let change = |change: fn(&mut ClassificationStatistics)| {
        tampered(|journal| {
            let position = find(journal, 0, is_shard_of(Pass::validation(0)));
            if let Some(JobEvent::ShardCompleted {
                outcome: ShardOutcome::Evaluated(Statistics::Classification(statistics)),
                ..
            }) = event_mut(&mut journal[position])
            {
                change(statistics);
            }
        })
    };
    let fewer = change(|statistics| statistics.samples -= 1);
    assert_has(
        &fewer,
        Flaw::ShardSamples,
        "expected 16 of 16 samples to be scored with 0 set aside, found 15",
    );
    assert_has(
        &fewer,
        Flaw::ShardSamples,
        "expected confusion counts of 15 samples, found 16",
    );
    let other_class = change(|statistics| statistics.confusion[0].predicted = 5);
    assert_has(&other_class, Flaw::ShardSamples, "expected classes below 2");
    let moved = change(|statistics| {
        statistics.confusion[0].count -= 1;
        statistics.confusion[1].count += 1;
    });
    assert_has(
        &moved,
        Flaw::Metrics,
        "the confusion matrix is not the sum of those of its shards",
    );
    let loss = change(|statistics| statistics.loss_sum += 1e-3);
    assert_has(&loss, Flaw::Metrics, "expected loss");
}

#[test]
fn prettier_metrics_are_found() {
    let findings = tampered(|journal| {
        let position = find(journal, 2, |event| {
            matches!(event, JobEvent::EvaluationCompleted { .. })
        });
        if let Some(JobEvent::EvaluationCompleted { metrics, .. }) = event_mut(&mut journal[position]) {
            metrics.values.insert("accuracy".to_owned(), 1.0);
        }
    });
    let finding = assert_has(
        &findings,
        Flaw::Metrics,
        "expected accuracy 0.9 from the counts of its shards, found 1",
    );
    assert_eq!((finding.split, finding.epoch), (Some(SplitName::Test), Some(0)));
}

/// Changes the metrics of the test, and gives the findings and what was not checked.
fn with_metrics(change: impl FnOnce(&mut BTreeMap<String, f64>)) -> (Vec<Finding>, Vec<String>) {
    let mut journal = Story::eventful().journal;
    let position = find(&journal, 2, |event| {
        matches!(event, JobEvent::EvaluationCompleted { .. })
    });
    if let Some(JobEvent::EvaluationCompleted { metrics, .. }) = event_mut(&mut journal[position]) {
        change(&mut metrics.values);
    }
    let audit = audit(&journal);
    let mut passes = audit.receipt.passes.into_iter();
    let test = passes.find(|receipt| {
        matches!(
            receipt.pass,
            Pass::Evaluate {
                split: SplitName::Test,
                ..
            }
        )
    });
    (audit.findings, test.unwrap().unchecked_metrics)
}

#[test]
fn a_record_from_before_a_metric_was_added_is_no_flaw() {
    let (findings, unchecked) = with_metrics(|values| {
        values.remove("balanced_accuracy");
    });
    assert_eq!((findings, unchecked), (Vec::new(), vec!["roc_auc".to_owned()]));
}

#[test]
fn a_metric_that_does_not_follow_from_the_counts_is_said_to_be_unchecked() {
    let (findings, unchecked) = with_metrics(|values| {
        values.insert("area_under_tomorrow".to_owned(), 0.25);
    });
    assert_eq!(findings, Vec::new());
    assert_eq!(unchecked, ["area_under_tomorrow", "roc_auc"]);
}

#[test]
fn test_is_scored_with_the_best_epoch_alone() {
    let findings = tampered(|journal| {
        let position = find(
            journal,
            0,
            is_shard_of(Pass::Evaluate {
                split: SplitName::Test,
                epoch: 0,
            }),
        );
        if let Some(JobEvent::ShardCompleted { pass, .. }) = event_mut(&mut journal[position]) {
            *pass = Pass::Evaluate {
                split: SplitName::Test,
                epoch: 1,
            };
        }
    });
    assert_has(&findings, Flaw::Epoch, "test was scored after epoch 1");
}

#[test]
fn another_best_epoch_is_found() {
    let findings = tampered(|journal| {
        let position = find(journal, 1, |event| matches!(event, JobEvent::EpochConcluded { .. }));
        if let Some(JobEvent::EpochConcluded { best_epoch, .. }) = event_mut(&mut journal[position]) {
            *best_epoch = 1;
        }
    });
    assert_has(
        &findings,
        Flaw::Epoch,
        "expected epoch 0 to be the best by its metric, found 1",
    );
    assert_has(&findings, Flaw::End, "the job succeeded without the test of epoch 1");
}

#[test]
fn checkpoints_that_hold_uncommitted_steps_or_do_not_exist_are_found() {
    let is_checkpoint = |event: &JobEvent| matches!(event, JobEvent::CheckpointCommitted { .. });
    let findings = remove(0, is_checkpoint);
    assert_has(&findings, Flaw::Epoch, "it was concluded without a checkpoint");
    assert_has(&findings, Flaw::Origin, "although the newest was no checkpoint");
    let findings = tampered(|journal| {
        let position = find(journal, 0, is_checkpoint);
        if let Some(JobEvent::CheckpointCommitted { checkpoint, .. }) = event_mut(&mut journal[position]) {
            checkpoint.steps_done = 4;
        }
    });
    assert_has(
        &findings,
        Flaw::Checkpoint,
        "expected steps up to 3, the committed ones, found 4",
    );
    assert_has(
        &repeat(0, is_checkpoint),
        Flaw::Checkpoint,
        "expected one after step 3, the newest, found 3",
    );
    let findings = tampered(|journal| {
        let mut dropped = journal[find(journal, 1, is_checkpoint)].clone();
        if let Some(event) = event_mut(&mut dropped) {
            *event = JobEvent::CheckpointsDropped {
                sha256: vec![sha256(77)],
            };
        }
        let position = find(journal, 1, is_checkpoint);
        journal.insert(position, dropped);
    });
    assert_has(
        &findings,
        Flaw::Checkpoint,
        "was dropped or refused, but does not exist",
    );
}

#[test]
fn a_result_whose_checkpoint_is_gone_is_found() {
    let findings = tampered(|journal| {
        let position = find(journal, 0, |event| matches!(event, JobEvent::ArtifactStored { .. }));
        let mut dropped = journal[position].clone();
        if let Some(event) = event_mut(&mut dropped) {
            let all = [checkpoint(3), checkpoint(6)].map(|checkpoint| checkpoint.sha256);
            *event = JobEvent::CheckpointsDropped { sha256: all.to_vec() };
        }
        journal.insert(position, dropped);
    });
    assert_has(
        &findings,
        Flaw::Checkpoint,
        "the job succeeded without a checkpoint of its result",
    );
}

#[test]
fn a_job_that_ends_early_or_goes_on_after_its_end_is_found() {
    let findings = remove(0, |event| matches!(event, JobEvent::TrainingEnded { .. }));
    assert_has(&findings, Flaw::End, "the job succeeded before training had ended");
    assert_has(
        &remove(0, |event| matches!(event, JobEvent::ArtifactStored { .. })),
        Flaw::Artifact,
        "the job succeeded and has not left head.safetensors",
    );
    let findings = tampered(|journal| {
        let position = find(journal, 0, |event| matches!(event, JobEvent::ArtifactStored { .. }));
        if let Some(JobEvent::ArtifactStored { artifact, .. }) = event_mut(&mut journal[position]) {
            artifact.name = "metrics.json".to_owned();
        }
    });
    assert_has(
        &findings,
        Flaw::Artifact,
        "the job succeeded and has not left head.safetensors",
    );
    let findings = tampered(|journal| {
        let commit = journal[find(journal, 0, is_commit)].clone();
        journal.push(commit);
    });
    assert_has(
        &findings,
        Flaw::End,
        "expected nothing after the end of the job, found committed steps",
    );
    let findings = tampered(|journal| {
        let from = find(journal, 5, is_commit);
        let position = find(journal, 0, |event| matches!(event, JobEvent::TrainingEnded { .. }));
        let end = journal.remove(position);
        journal.insert(from, end);
    });
    assert_has(
        &findings,
        Flaw::End,
        "expected 2 epochs before the end of training, found 1",
    );
}

/// The eventful story with the spec changed, and the end of its training.
fn ended(change: impl FnOnce(&mut TrainingSpec), found: TrainingEnd) -> Vec<Finding> {
    tampered(|journal| {
        let position = find(journal, 0, |event| matches!(event, JobEvent::Submitted { .. }));
        if let Some(JobEvent::Submitted { spec, .. }) = event_mut(&mut journal[position]) {
            change(&mut Arc::make_mut(spec).training);
        }
        let position = find(journal, 0, |event| matches!(event, JobEvent::TrainingEnded { .. }));
        if let Some(JobEvent::TrainingEnded { end }) = event_mut(&mut journal[position]) {
            *end = found;
        }
    })
}

#[test]
fn training_that_was_stopped_early_against_the_rule_is_found() {
    let stopped = |patience, best| TrainingEnd::EarlyStopped {
        metric: MetricName::named("accuracy"),
        patience,
        best: Some(best),
    };
    let ten_epochs = |rule: Option<(u32, f64)>| {
        move |training: &mut TrainingSpec| {
            training.epochs = 10;
            training.early_stopping = rule.map(|(patience, min_delta)| EarlyStopping {
                metric: MetricName::named("accuracy"),
                patience,
                min_delta,
            });
        }
    };
    // Accuracy is 0.75 after epoch 0 and 0.65 after epoch 1.
    assert_eq!(ended(ten_epochs(Some((1, 0.0))), stopped(1, 0.75)), []);
    let against = [
        ended(ten_epochs(None), stopped(1, 0.75)),
        ended(ten_epochs(Some((2, 0.0))), stopped(1, 0.75)),
        ended(ten_epochs(Some((2, 0.0))), stopped(2, 0.75)),
    ];
    for findings in against {
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_has(
            &findings,
            Flaw::End,
            "expected 10 epochs before the end of training, found 2",
        );
    }
    for (rule, found) in [
        (Some((1, 0.0)), stopped(1, 0.9)),
        (Some((1, 0.0)), TrainingEnd::AllEpochs),
    ] {
        assert_has(
            &ended(ten_epochs(rule), found),
            Flaw::End,
            "expected training to end early, after 1 epochs that did not improve accuracy on 0.75, found",
        );
    }
    let all = |training: &mut TrainingSpec| training.epochs = 2;
    assert_has(
        &ended(all, stopped(1, 0.75)),
        Flaw::End,
        "expected training to end after all epochs, found early",
    );
}

#[test]
fn a_job_without_its_submission_proves_nothing() {
    let is_submission = |event: &JobEvent| matches!(event, JobEvent::Submitted { .. });
    let findings = remove(0, is_submission);
    assert_eq!(findings.len(), 1);
    assert_has(
        &findings,
        Flaw::Submission,
        "expected the submission of the job as its first record, found none",
    );
    assert_has(&repeat(0, is_submission), Flaw::Submission, "a second time");
}

#[test]
fn a_dataset_that_is_missing_or_registered_again_is_found() {
    let is_dataset = |event: &JobEvent| matches!(event, JobEvent::DatasetRegistered { .. });
    assert_has(
        &remove(0, is_dataset),
        Flaw::Dataset,
        "before the training split was registered",
    );
    assert_has(
        &repeat(0, is_dataset),
        Flaw::Dataset,
        "the dataset was registered a second time",
    );
}

#[test]
fn a_coordinator_that_is_not_newer_is_found() {
    let findings = tampered(|journal| {
        for record in journal.iter_mut() {
            if let Event::CoordinatorStarted { epoch } = &mut record.event {
                *epoch = 1;
            }
        }
    });
    assert_eq!(findings.len(), 1);
    assert_has(
        &findings,
        Flaw::CoordinatorEpoch,
        "expected a coordinator epoch above 1, found 1",
    );
}

#[test]
fn every_record_without_which_the_job_would_be_another_one_is_missed() {
    let journal = Story::eventful().journal;
    // A loss, a model and a start of a coordinator explain; a lone end and the exits of processes only follow.
    let says_nothing = |record: &Record| match event(record) {
        None => true,
        Some(event) => matches!(
            event,
            JobEvent::RanksLost { .. }
                | JobEvent::ModelRegistered { .. }
                | JobEvent::RankExited { .. }
                | JobEvent::RestartScheduled { .. }
                | JobEvent::Ended { .. }
        ),
    };
    for position in 0..journal.len() {
        // A rank that joins with nothing is as one that was formed with nothing, and a last step that is taken back as one never done.
        let is_idle = match event(&journal[position]) {
            Some(JobEvent::RankJoined { steps_done: 0, .. }) => true,
            Some(JobEvent::StepsCommitted { generation, steps, .. }) => {
                *generation == Generation(2) && steps[0].step == 4
            }
            _ => false,
        };
        if says_nothing(&journal[position]) || is_idle {
            continue;
        }
        let mut rest = journal.clone();
        rest.remove(position);
        assert_ne!(
            audit(&rest).findings,
            [],
            "without record {position}: {:?}",
            journal[position]
        );
    }
    assert_eq!(
        table(SplitName::Validation).count(),
        2,
        "the story has a pass of several shards"
    );
}

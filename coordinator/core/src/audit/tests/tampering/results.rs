//! Passes, epochs, checkpoints, and what is left.

use std::collections::BTreeMap;

use super::*;
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

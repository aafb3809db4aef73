//! What a job went through: its submission, data, checkpoints and end.

use super::*;
use crate::spec::{EarlyStopping, MetricName, TrainingSpec};
use std::sync::Arc;

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
                class: None,
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

//! Who commits, and what steps used.

use super::*;

#[test]
fn a_removed_step_is_named_with_the_samples_that_nobody_used() {
    let findings = remove(1, is_commit);
    let gap = assert_has(&findings, Flaw::StepOrder, "expected step 1, found step 2");
    assert_eq!((gap.epoch, gap.step), (Some(0), Some(2)));
    let missing = assert_has(&findings, Flaw::Coverage, "4 training samples were not used in epoch 0");
    assert_eq!((missing.split, missing.samples.len()), (Some(SplitName::Train), 4));
    assert!(missing.to_string().starts_with("Coverage (record "), "{missing}");
}

#[test]
fn a_removed_last_step_of_an_epoch_is_missed_when_it_is_concluded() {
    let findings = remove(2, is_commit);
    assert_has(
        &findings,
        Flaw::Checkpoint,
        "expected steps up to 2, the committed ones, found 3",
    );
    assert_has(&findings, Flaw::Epoch, "expected 3 committed steps at its end, found 2");
    assert_has(&findings, Flaw::Coverage, "2 training samples were not used in epoch 0");
}

#[test]
fn a_step_that_counts_twice_is_found() {
    let findings = repeat(1, is_commit);
    let twice = assert_has(
        &findings,
        Flaw::StepOrder,
        "expected step 2, found step 1, which was committed before",
    );
    assert_eq!(twice.step, Some(1));
    assert_eq!(findings.len(), 1, "{findings:#?}");
}

#[test]
fn another_number_of_samples_is_found() {
    let findings = change_step(0, |step| step.samples -= 1);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = assert_has(&findings, Flaw::StepSamples, "expected ");
    assert_eq!((finding.epoch, finding.step), (Some(0), Some(0)));
}

#[test]
fn a_step_at_another_learning_rate_than_the_schedules_is_found() {
    let findings = change_step(1, |step| step.learning_rate *= 0.5);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = assert_has(
        &findings,
        Flaw::LearningRate,
        "expected the learning rate 0.1, found 0.05",
    );
    assert_eq!((finding.epoch, finding.step), (Some(0), Some(1)));
}

#[test]
fn a_rate_that_the_coordinator_reduced_is_proven_and_another_one_is_found() {
    // The second epoch brings no improvement by more than 1, so the third has half the rate, until the checkpoint before is gone back to.
    let honest = Story::on_a_plateau();
    assert_eq!(audit(&honest.journal).findings, []);
    for (step, wrong) in [(0, 0.05), (3, 0.05), (6, 0.1), (7, 0.025)] {
        let mut journal = Story::on_a_plateau().journal;
        let is_meant =
            |event: &JobEvent| matches!(event, JobEvent::StepsCommitted { steps, .. } if steps[0].step == step);
        let position = find(&journal, 0, is_meant);
        if let Some(JobEvent::StepsCommitted { steps, .. }) = event_mut(&mut journal[position]) {
            assert_ne!(steps[0].learning_rate, wrong);
            steps[0].learning_rate = wrong;
        }
        let findings = audit(&journal).findings;
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!((findings[0].flaw, findings[0].step), (Flaw::LearningRate, Some(step)));
    }
}

#[test]
fn a_step_with_the_positions_of_another_is_found_with_the_samples_that_it_repeats() {
    let findings = change_step(1, |step| (step.first_position, step.end_position) = (0, 4));
    assert_has(
        &findings,
        Flaw::StepPositions,
        "expected positions [4, 8) of the permutation, found [0, 4)",
    );
    assert_has(&findings, Flaw::Coverage, "4 training samples were not used in epoch 0");
    assert_has(
        &findings,
        Flaw::Coverage,
        "4 training samples were used more than once in epoch 0",
    );
}

#[test]
fn a_step_of_another_epoch_is_found() {
    let findings = change_step(1, |step| step.epoch = 1);
    assert_has(&findings, Flaw::StepOrder, "expected epoch 0 of step 1");
}

#[test]
fn a_quarantine_that_was_removed_leaves_samples_missing() {
    let findings = remove(0, |event| matches!(event, JobEvent::SampleQuarantined(_)));
    let finding = assert_has(&findings, Flaw::StepSamples, "with 0 set aside");
    assert!(finding.step.is_some());
    assert_eq!(
        findings
            .iter()
            .filter(|finding| finding.flaw == Flaw::StepSamples)
            .count(),
        3,
        "in each computed epoch"
    );
}

#[test]
fn samples_that_are_set_aside_twice_or_do_not_exist_or_are_too_many_are_found() {
    let is_quarantine = |event: &JobEvent| matches!(event, JobEvent::SampleQuarantined(_));
    assert_has(&repeat(0, is_quarantine), Flaw::Quarantine, "a second time");
    let findings = tampered(|journal| {
        let position = find(journal, 0, is_quarantine);
        for index in [50, 60] {
            let mut another = journal[position].clone();
            if let Some(JobEvent::SampleQuarantined(sample)) = event_mut(&mut another) {
                sample.index = index;
            }
            journal.insert(position, another);
        }
    });
    assert_has(&findings, Flaw::Quarantine, "expected a sample below 10, found 50");
    assert_has(
        &findings,
        Flaw::Quarantine,
        "expected at most 2 samples to be set aside, found 3",
    );
}

#[test]
fn what_a_stale_generation_commits_is_found() {
    let findings = tampered(|journal| {
        let position = find(journal, 1, is_commit);
        if let Some(JobEvent::StepsCommitted { generation, .. }) = event_mut(&mut journal[position]) {
            *generation = Generation(1);
        }
    });
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_has(
        &findings,
        Flaw::StaleGeneration,
        "a commit of steps was taken from generation 1, although generation 2 was formed",
    );
}

#[test]
fn what_another_rank_than_the_first_commits_is_found() {
    let findings = tampered(|journal| {
        let position = find(journal, 0, is_commit);
        if let Some(JobEvent::StepsCommitted { process, .. }) = event_mut(&mut journal[position]) {
            *process = Some("b".into());
        }
    });
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_has(
        &findings,
        Flaw::StaleGeneration,
        "expected a commit of steps by a, rank 0 of generation 1, found b",
    );
}

/// Changes who the checkpoint after epoch 1 and the file were taken from, in generation 3 of ranks c and d.
fn taken_from(changed: impl Fn() -> Option<Source>) -> [Vec<Finding>; 2] {
    let change = |nth: usize, is_meant: fn(&JobEvent) -> bool| {
        tampered(|journal| {
            let position = find(journal, nth, is_meant);
            if let Some(JobEvent::CheckpointCommitted { source, .. } | JobEvent::ArtifactStored { source, .. }) =
                event_mut(&mut journal[position])
            {
                *source = changed();
            }
        })
    };
    [
        change(1, |event| matches!(event, JobEvent::CheckpointCommitted { .. })),
        change(0, |event| matches!(event, JobEvent::ArtifactStored { .. })),
    ]
}

#[test]
fn what_another_rank_or_generation_stores_is_found() {
    let from = |generation, process: &str| {
        let process = process.into();
        let generation = Generation(generation);
        move || {
            Some(Source {
                generation,
                process: ProcessId::clone(&process),
            })
        }
    };
    for findings in taken_from(from(2, "b")) {
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_has(
            &findings,
            Flaw::StaleGeneration,
            "was taken from generation 2, although generation 3 was formed",
        );
    }
    for findings in taken_from(from(3, "b")) {
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_has(&findings, Flaw::StaleGeneration, "of generation 3, found b");
    }
    let [checkpoint, file] = taken_from(from(3, "d"));
    assert_has(
        &checkpoint,
        Flaw::StaleGeneration,
        "expected the checkpoint after step 6 by c, rank 0 of generation 3, found d",
    );
    assert_eq!(file, [], "any rank may leave a file");
}

#[test]
fn a_record_that_does_not_name_its_process_where_others_do_is_found() {
    for findings in taken_from(|| None) {
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_has(
            &findings,
            Flaw::StaleGeneration,
            "as earlier records name it, found none",
        );
    }
    let findings = tampered(|journal| {
        let position = find(journal, 1, is_commit);
        if let Some(JobEvent::StepsCommitted { process, .. }) = event_mut(&mut journal[position]) {
            *process = None;
        }
    });
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_has(
        &findings,
        Flaw::StaleGeneration,
        "expected the process that a commit of steps was taken from",
    );
    // A journal of an earlier program names none.
    let findings = tampered(|journal| {
        for event in journal.iter_mut().filter_map(event_mut) {
            match event {
                JobEvent::StepsCommitted { process, .. } => *process = None,
                JobEvent::CheckpointCommitted { source, .. } | JobEvent::ArtifactStored { source, .. } => {
                    *source = None
                }
                _ => {}
            }
        }
    });
    assert_eq!(findings, []);
}

#[test]
fn what_is_committed_before_a_generation_is_complete_is_found() {
    let findings = tampered(|journal| {
        let position = find(journal, 1, |event| matches!(event, JobEvent::GangCompleted { .. }));
        journal.swap(position, position + 1);
    });
    assert_has(
        &findings,
        Flaw::StaleGeneration,
        "a commit of steps was taken before generation 2 was complete",
    );
    let findings = remove(2, |event| matches!(event, JobEvent::GangCompleted { .. }));
    assert_has(&findings, Flaw::StaleGeneration, "before generation 3 was complete");
}

#[test]
fn what_is_committed_after_the_gang_was_lost_is_found() {
    let findings = remove(2, |event| matches!(event, JobEvent::GangFormed { .. }));
    assert_has(
        &findings,
        Flaw::Generation,
        "generation 2 was completed without having been formed",
    );
    assert_has(
        &findings,
        Flaw::StaleGeneration,
        "from generation 3, although generation 2 was formed",
    );
}

#[test]
fn a_generation_that_was_left_out_or_repeated_is_found() {
    let is_formed = |event: &JobEvent| matches!(event, JobEvent::GangFormed { .. });
    assert_has(
        &remove(0, is_formed),
        Flaw::Generation,
        "expected generation 1 to be formed, found 2",
    );
    assert_has(
        &repeat(0, is_formed),
        Flaw::Generation,
        "expected generation 2 to be formed, found 1",
    );
}

#[test]
fn a_silent_start_at_step_0_is_found() {
    let findings = tampered(|journal| {
        let position = find(journal, 2, |event| matches!(event, JobEvent::GangCompleted { .. }));
        if let Some(JobEvent::GangCompleted { origin, steps_done, .. }) = event_mut(&mut journal[position]) {
            (*origin, *steps_done) = (Origin::Initial, 0);
        }
    });
    assert_has(
        &findings,
        Flaw::Origin,
        "began at step 0 with untrained weights, although there was checkpoint",
    );
}

#[test]
fn a_state_that_no_rank_held_is_found() {
    let findings = tampered(|journal| {
        let position = find(journal, 2, |event| matches!(event, JobEvent::RankJoined { .. }));
        if let Some(JobEvent::RankJoined { steps_done, .. }) = event_mut(&mut journal[position]) {
            *steps_done = 1;
        }
    });
    assert_has(
        &findings,
        Flaw::Origin,
        "generation 2 went on at step 2 from rank 0, which held step 1",
    );
}

#[test]
fn steps_that_are_not_computed_again_are_found() {
    let findings = tampered(|journal| {
        for step in (4..6).rev() {
            let is_last = |event: &JobEvent| matches!(event, JobEvent::StepsCommitted { generation, steps, .. } if steps[0].step == step && generation.0 == 3);
            let position = find(journal, 0, is_last);
            journal.remove(position);
        }
    });
    let finding = assert_has(
        &findings,
        Flaw::NotRecomputed,
        "steps [3, 5) were taken back for generation 3",
    );
    assert!(finding.record.is_some());
}

#[test]
fn more_steps_taken_back_than_said_are_found() {
    let findings = tampered(|journal| {
        let position = find(journal, 1, |event| matches!(event, JobEvent::GangCompleted { .. }));
        if let Some(JobEvent::GangCompleted { steps_kept, .. }) = event_mut(&mut journal[position]) {
            *steps_kept = 0;
        }
    });
    assert_has(&findings, Flaw::Origin, "expected 1 steps and 0 epochs to be kept");
    assert_has(&findings, Flaw::StepOrder, "expected step 0, found step 1");
}

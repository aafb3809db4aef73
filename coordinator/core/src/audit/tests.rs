//! Honest journals pass, and every kind of tampering is found and named.

mod story;
mod tampering;

use crate::audit::Fate;
use crate::identifiers::Generation;
use crate::record::JobEvent;
use crate::state::{Origin, Outcome, Pass, SplitName, Step};
use story::{Story, TRAIN, audit};

#[test]
fn an_honest_journal_gives_a_receipt_and_no_finding() {
    let audit = audit(&Story::eventful().journal);
    assert_eq!(audit.findings, []);
    let receipt = audit.receipt;
    assert_eq!(receipt.outcome, Some(Outcome::Succeeded));
    assert_eq!(
        (receipt.coordinator_epoch, receipt.train_samples, receipt.best_epoch),
        (2, 10, Some(0))
    );
    let epochs: Vec<_> = receipt
        .epochs
        .iter()
        .map(|epoch| {
            (
                epoch.first_step..epoch.end_step,
                epoch.positions,
                epoch.samples,
                epoch.set_aside,
                epoch.is_complete,
            )
        })
        .collect();
    assert_eq!(epochs, [(0..3, 10, 9, 1, true), (3..6, 10, 9, 1, true)]);
    let by_generation: Vec<_> = receipt.epochs[0]
        .generations
        .iter()
        .map(|(of, steps)| (of.0, *steps))
        .collect();
    assert_eq!(by_generation, [(1, 1), (2, 2)]);
    let passes: Vec<_> = receipt
        .passes
        .iter()
        .map(|pass| (pass.pass.to_string(), pass.samples, pass.set_aside, pass.is_complete))
        .collect();
    let expected = [
        ("scan/train", 9, 1),
        ("scan/validation", 20, 0),
        ("scan/test", 10, 0),
        ("evaluate/validation/0", 20, 0),
        ("evaluate/validation/1", 20, 0),
        ("evaluate/test/0", 10, 0),
    ];
    assert_eq!(
        passes,
        expected.map(|(pass, samples, aside)| (pass.to_owned(), samples, aside, true))
    );
    assert_eq!(receipt.result, Some(story::checkpoint(3)));
    assert_eq!(receipt.artifacts[0].name, "head.safetensors");
    assert!(receipt.checkpoints.iter().all(|known| known.fate == Fate::Kept));
    assert_eq!(receipt.losses.len(), 2);
}

#[test]
fn what_was_taken_back_is_told_and_was_computed_again() {
    let receipt = audit(&Story::eventful().journal).receipt;
    let ranges: Vec<_> = receipt
        .rollbacks
        .iter()
        .map(|range| (range.from..range.to, range.generation, range.recomputed))
        .collect();
    assert_eq!(ranges, [(3..5, Generation(3), true)]);
    let committed: Vec<u64> = receipt.generations.iter().map(|gang| gang.steps_committed).collect();
    assert_eq!(committed, [1, 4, 3]);
    assert_eq!(receipt.generations[1].origin, Some(Origin::Rank(0)));
}

#[test]
fn every_prefix_of_an_honest_journal_is_honest() {
    let journal = Story::eventful().journal;
    for length in 2..=journal.len() {
        assert_eq!(audit(&journal[..length]).findings, [], "after {length} records");
    }
    let running = audit(&journal[..30]).receipt;
    assert_eq!(running.outcome, None);
    assert!(
        !running.epochs.iter().all(|epoch| epoch.is_complete),
        "{:?}",
        running.epochs
    );
}

#[test]
fn a_sample_that_is_set_aside_late_counts_before_and_not_after() {
    let mut story = Story::new();
    story.form(1, &[("a", 0)], Origin::Initial, (0, 0));
    story.register();
    story.scan(1);
    story.commit(1, 0..3);
    story.store(3);
    // Found when it is read in epoch 1; epoch 0 had it.
    story.quarantine(SplitName::Train, 2);
    story.evaluate(SplitName::Validation, 0, 1, 8);
    story.conclude(0, 0);
    story.commit(1, 3..6);
    let audit = audit(&story.journal);
    assert_eq!(audit.findings, []);
    let samples: Vec<_> = audit
        .receipt
        .epochs
        .iter()
        .map(|epoch| (epoch.samples, epoch.set_aside))
        .collect();
    assert_eq!(samples, [(9, 1), (8, 2)]);
}

#[test]
fn of_samples_that_are_drawn_the_places_are_proven() {
    let honest = Story::drawn().journal;
    let receipt = audit(&honest);
    assert_eq!(receipt.findings, []);
    let places = receipt.receipt.epochs.iter();
    let places: Vec<_> = places
        .map(|epoch| (epoch.positions, epoch.samples + epoch.set_aside))
        .collect();
    assert_eq!(places, [(TRAIN, TRAIN); 2]);
    let tampered = |change: fn(&mut Step)| {
        let mut journal = Story::drawn().journal;
        let steps = journal.iter_mut().find_map(|record| match &mut record.event {
            crate::Event::Job {
                event: JobEvent::StepsCommitted { steps, .. },
                ..
            } => Some(steps),
            _ => None,
        });
        change(&mut steps.unwrap()[0]);
        audit(&journal).findings
    };
    // There is a sample that is set aside, which may have been drawn.
    assert_eq!(tampered(|step| step.samples -= 1), []);
    let messages = [
        tampered(|step| step.samples += 2),
        tampered(|step| step.end_position -= 1),
    ];
    let messages = messages.map(|findings| findings[0].message.clone());
    assert!(
        messages[0].contains("samples that were drawn for as many positions"),
        "{messages:?}"
    );
    assert!(
        messages[1].contains("expected positions [0, 4) of the permutation"),
        "{messages:?}"
    );
}

#[test]
fn records_of_other_jobs_say_nothing() {
    let mut journal = Story::eventful().journal;
    let mut other = journal.clone();
    for record in &mut other {
        if let crate::Event::Job { job, .. } = &mut record.event {
            *job = "bees".into();
        }
    }
    other.retain(|record| record.job().is_some());
    journal.extend(other);
    assert_eq!(audit(&journal).findings, []);
}

#[test]
fn a_scored_sample_that_was_set_aside_meanwhile_still_counts_once() {
    let mut story = Story::new();
    story.form(1, &[("a", 0)], Origin::Initial, (0, 0));
    story.register();
    story.scan(1);
    story.commit(1, 0..3);
    story.store(3);
    story.evaluate(SplitName::Validation, 0, 1, 8);
    let position = story.journal.len() - 3;
    story.quarantine(SplitName::Validation, 2);
    let late = story.journal.pop().unwrap();
    story.journal.insert(position, late);
    let audit = audit(&story.journal);
    assert_eq!(audit.findings, []);
    let pass = audit
        .receipt
        .passes
        .iter()
        .find(|pass| pass.pass == Pass::validation(0))
        .unwrap();
    assert_eq!((pass.samples, pass.set_aside), (20, 1));
}

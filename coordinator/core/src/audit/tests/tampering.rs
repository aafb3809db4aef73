//! Each test changes one thing in an honest journal.

mod life;
mod results;
mod steps;

use super::story::{Story, audit, checkpoint, sha256, table};
use crate::audit::{Finding, Flaw};
use crate::identifiers::{Generation, ProcessId};
use crate::record::{Event, JobEvent, Record, Source};
use crate::state::*;

/// Changes the events of the job and gives what is found then.
fn tampered(change: impl FnOnce(&mut Vec<Record>)) -> Vec<Finding> {
    let mut journal = Story::eventful().journal;
    change(&mut journal);
    audit(&journal).findings
}

fn event(record: &Record) -> Option<&JobEvent> {
    match &record.event {
        Event::Job { event, .. } => Some(event),
        _ => None,
    }
}

fn event_mut(record: &mut Record) -> Option<&mut JobEvent> {
    match &mut record.event {
        Event::Job { event, .. } => Some(event),
        _ => None,
    }
}

/// Position of the `nth` record, from 0, that is meant.
fn find(journal: &[Record], nth: usize, is_meant: impl Fn(&JobEvent) -> bool) -> usize {
    let positions = journal
        .iter()
        .enumerate()
        .filter(|(_, record)| event(record).is_some_and(&is_meant));
    positions
        .map(|(position, _)| position)
        .nth(nth)
        .expect("the story has such a record")
}

fn remove(nth: usize, is_meant: impl Fn(&JobEvent) -> bool) -> Vec<Finding> {
    tampered(|journal| {
        let position = find(journal, nth, is_meant);
        journal.remove(position);
    })
}

fn repeat(nth: usize, is_meant: impl Fn(&JobEvent) -> bool) -> Vec<Finding> {
    tampered(|journal| {
        let position = find(journal, nth, is_meant);
        journal.insert(position + 1, journal[position].clone());
    })
}

fn is_commit(event: &JobEvent) -> bool {
    matches!(event, JobEvent::StepsCommitted { .. })
}

fn is_shard_of(pass: Pass) -> impl Fn(&JobEvent) -> bool {
    move |event| matches!(event, JobEvent::ShardCompleted { pass: found, .. } if *found == pass)
}

/// Changes the `nth` committed step.
fn change_step(nth: usize, change: impl FnOnce(&mut Step)) -> Vec<Finding> {
    tampered(|journal| {
        let position = find(journal, nth, is_commit);
        if let Some(JobEvent::StepsCommitted { steps, .. }) = event_mut(&mut journal[position]) {
            change(&mut steps[0]);
        }
    })
}

#[track_caller]
fn assert_has(findings: &[Finding], flaw: Flaw, message: &str) -> Finding {
    let found = findings
        .iter()
        .find(|finding| finding.flaw == flaw && finding.message.contains(message));
    found
        .unwrap_or_else(|| panic!("expected {flaw:?} with `{message}`, found {findings:#?}"))
        .clone()
}

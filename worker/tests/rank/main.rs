//! Ranks as processes, held against a coordinator that the test plays: what they do when others are lost, come, or are told to go.
#![allow(clippy::unwrap_used, reason = "a test that finds something else has failed")]

mod coordinator;
mod process;

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt as _};

use firn_proto::v1alpha1::{self as wire, directive::Next};
use nix::sys::signal::Signal;

use self::{
    coordinator::{Coordinator, State, directive},
    process::{Rank, SAMPLES, image_job},
};

/// Steps of one epoch: four samples each.
const STEPS: u64 = SAMPLES / 4;

fn training(epoch: u32) -> wire::World {
    wire::World {
        next: directive(Next::TrainEpoch(epoch)),
        ..wire::World::default()
    }
}

/// Everybody goes on from the state of one of them.
fn from_root(root: u32, steps_done: u64) -> wire::World {
    wire::World {
        state_root: Some(root),
        steps_done,
        ..training((steps_done / STEPS) as u32)
    }
}

fn steps_of(state: &State, process: &str) -> u64 {
    state.pulses.get(process).map_or(0, |pulse| pulse.steps_done)
}

/// The ledger has no gap, and its steps cover the permutation of each epoch that it has begun.
fn assert_covered(state: &State) {
    for (number, step) in (0..).zip(&state.steps) {
        let begin = number % STEPS * 4;
        assert_eq!((step.step, u64::from(step.epoch)), (number, number / STEPS));
        assert_eq!(
            (step.first_position, step.end_position, step.samples),
            (begin, begin + 4, 4)
        );
    }
}

#[test]
fn a_rank_that_loses_its_peer_goes_on_in_the_same_process_and_fills_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(image_job(folder.path(), 0));
    // The first rank 0 commits nothing, so that only the other one knows what was trained.
    coordinator.change(|state| state.commits_wait = true);
    coordinator.change(|state| state.passes_end = true);
    let mut first = Rank::start(folder.path(), &coordinator, "first");
    let mut second = Rank::start(folder.path(), &coordinator, "second");
    let joins = vec![coordinator.join("first"), coordinator.join("second")];
    assert!(
        joins
            .iter()
            .all(|join| join.generation() == 0 && join.request.steps_done == 0)
    );
    coordinator.form(joins, &training(0));
    coordinator.wait_until("the second rank has taken steps", |state| steps_of(state, "second") > 0);
    first.signal(Signal::SIGKILL);
    assert_eq!(first.wait().signal(), Some(9));

    let join = coordinator.join("second");
    let steps_done = join.request.steps_done;
    assert!(steps_done > 0 && join.generation() == 1);
    assert!(
        join.request.reason.contains("rank 1 lost rank 0"),
        "{}",
        join.request.reason
    );
    assert_eq!(coordinator.state().steps.len(), 0);
    coordinator.change(|state| state.commits_wait = false);
    coordinator.form(vec![join], &from_root(0, steps_done));
    let state = coordinator.wait_until("the epoch after the loss is trained", |state| {
        state.steps.len() as u64 >= steps_done + STEPS
    });
    assert_covered(&state);

    coordinator.change(|state| state.stop = [("second".to_owned(), "the test is over".to_owned())].into());
    assert_eq!(second.wait().code(), Some(12));
    let log = second.log();
    assert_eq!(log.matches("the model is loaded").count(), 1, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_newcomer_takes_the_state_over_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(image_job(folder.path(), 0));
    coordinator.change(|state| state.passes_end = true);
    let _first = Rank::start(folder.path(), &coordinator, "first");
    let _second = Rank::start(folder.path(), &coordinator, "second");
    let joins = vec![coordinator.join("first"), coordinator.join("second")];
    coordinator.form(joins, &training(0));
    let _third = Rank::start(folder.path(), &coordinator, "third");
    // It prepares while the others train, and is taken in at a step boundary.
    let newcomer = coordinator.join("third");
    coordinator.change(|state| (state.generation, state.at_step_boundary) = (2, true));
    let survivors = [coordinator.join("first"), coordinator.join("second")];
    let steps_done = survivors.iter().map(|join| join.request.steps_done).max().unwrap();
    let [first, second] = survivors;
    let root = u32::from(second.request.steps_done == steps_done) + 1;
    // The newcomer becomes rank 0, and with it the writer of the ledger.
    coordinator.form(vec![newcomer, first, second], &from_root(root, steps_done));

    let names = ["first", "second", "third"];
    let hash = |state: &State, name: &str| state.hashes.get(&(name.to_owned(), 3, steps_done)).cloned();
    let state = coordinator.wait_until("all have told the hash of what they took over", |state| {
        names.iter().all(|name| hash(state, name).is_some())
    });
    let hashes: BTreeSet<_> = names.iter().map(|name| hash(&state, name)).collect();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
    let beginning = state.hashes[&("first".to_owned(), 1, 0)].clone();
    assert!(!hashes.contains(&Some(beginning)));
    let state = coordinator.wait_until("the newcomer commits steps", |state| {
        state.steps.len() as u64 > steps_done + 1
    });
    assert_covered(&state);
}

#[test]
fn a_loss_that_cannot_wait_wakes_a_rank_whose_peer_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(image_job(folder.path(), 0));
    coordinator.change(|state| state.passes_end = true);
    let first = Rank::start(folder.path(), &coordinator, "first");
    let _second = Rank::start(folder.path(), &coordinator, "second");
    let joins = vec![coordinator.join("first"), coordinator.join("second")];
    coordinator.form(joins, &training(0));
    coordinator.wait_until("steps are taken", |state| steps_of(state, "second") > 0);
    first.signal(Signal::SIGSTOP);
    let state = coordinator.wait_until("the second rank says in what it waits", |state| {
        let pulse = &state.pulses["second"];
        pulse.operation == "all-reduce" && state.pulses.values().all(|other| other.sequence <= pulse.sequence)
    });
    let pulse = state.pulses["second"].clone();
    assert_eq!(pulse.activity, "training");
    let later = coordinator.wait_until("another pulse comes", |state| {
        state.pulses["second"] != pulse || steps_of(state, "second") > 0
    });
    assert!(later.pulses["second"].sequence >= pulse.sequence);

    coordinator.change(|state| state.generation += 1);
    let join = coordinator.join("second");
    // Woken inside the collective, or between two of them.
    let reason = &join.request.reason;
    assert!(
        reason.contains("aborted") || reason.contains("generation 2 takes over"),
        "{reason}"
    );
    let steps_done = join.request.steps_done;
    coordinator.form(vec![join], &from_root(0, steps_done));
    coordinator.wait_until("it goes on", |state| state.steps.len() as u64 > steps_done);
}

#[test]
fn a_damaged_checkpoint_is_rejected_and_the_one_before_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(image_job(folder.path(), 1));
    let mut first = Rank::start(folder.path(), &coordinator, "first");
    let join = coordinator.join("first");
    coordinator.form(vec![join], &training(0));
    // Within the epoch, too: the interval is a millisecond.
    let state = coordinator.wait_until("two checkpoints are stored", |state| state.checkpoints.len() >= 2);
    for (reference, _) in &state.checkpoints {
        assert_eq!(u64::from(reference.epochs_done), reference.steps_done / STEPS);
        assert!(reference.steps_done <= state.steps.len() as u64);
    }
    assert!(
        state.checkpoints[0].0.steps_done < STEPS,
        "the first one is of a step within the epoch"
    );
    first.signal(Signal::SIGKILL);
    first.wait();

    coordinator.change(|state| {
        state.checkpoints.truncate(2);
        let damaged = &mut state.checkpoints[1].1;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
    });
    let [sound, damaged] = [0, 1].map(|place| coordinator.state().checkpoints[place].0.clone());
    let resume = |reference: &wire::CheckpointRef| wire::World {
        resume: Some(reference.clone()),
        steps_done: reference.steps_done,
        ..training(0)
    };
    let _second = Rank::start(folder.path(), &coordinator, "second");
    coordinator.form(vec![coordinator.join("second")], &resume(&damaged));
    let again = coordinator.join("second");
    let rejected = coordinator.state().rejected;
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].sha256, damaged.sha256);
    assert!(
        rejected[0].reason.contains("is damaged: its SHA-256 is"),
        "{}",
        rejected[0].reason
    );
    assert_eq!(again.generation(), 2);
    coordinator.form(vec![again], &resume(&sound));
    let state = coordinator.wait_until("it goes on from the one before", |state| {
        state.steps.len() as u64 > sound.steps_done
    });
    assert_covered(&state);
}

#[test]
fn a_rank_that_is_told_to_leave_stores_its_state_first() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(image_job(folder.path(), 0));
    coordinator.change(|state| state.passes_end = true);
    let mut rank = Rank::start(folder.path(), &coordinator, "only");
    coordinator.form(vec![coordinator.join("only")], &training(0));
    coordinator.wait_until("steps are taken", |state| !state.steps.is_empty());
    let leave = wire::Leave { store_checkpoint: true };
    coordinator.change(|state| state.leave = [("only".to_owned(), leave)].into());
    assert_eq!(rank.wait().code(), Some(13));
    let state = coordinator.state();
    let (reference, _) = state.checkpoints.last().expect("one is stored");
    assert_eq!(reference.steps_done, state.steps.len() as u64);
    assert_covered(&state);
    assert!(state.failures.is_empty(), "{:?}", state.failures);
}

#[test]
fn a_rank_that_is_told_to_leave_while_it_waits_in_a_pass_stores_its_state_first() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(image_job(folder.path(), 0));
    coordinator.change(|state| state.uploads_wait = true);
    let mut rank = Rank::start(folder.path(), &coordinator, "only");
    coordinator.form(vec![coordinator.join("only")], &training(0));
    // The epoch ends in a pass that is never complete, while its checkpoint is on the way.
    coordinator.wait_until("it is in the pass", |state| state.shard_asked);
    coordinator.change(|state| state.pulses.clear());
    coordinator.wait_until("it waits", |state| {
        state
            .pulses
            .get("only")
            .is_some_and(|pulse| pulse.activity == "storing")
    });
    let leave = wire::Leave { store_checkpoint: true };
    coordinator.change(|state| state.leave = [("only".to_owned(), leave)].into());
    // It has heard of it, and stays.
    coordinator.wait_until("it lives on", |state| state.pulses_of_leaving >= 3);
    coordinator.change(|state| state.uploads_wait = false);
    assert_eq!(rank.wait().code(), Some(13));
    let state = coordinator.state();
    let (reference, _) = state.checkpoints.last().expect("one is stored");
    assert_eq!(reference.steps_done, STEPS);
    assert!(state.failures.is_empty(), "{:?}", state.failures);
}

#[test]
fn sigterm_is_told_to_the_coordinator_which_says_how_to_leave() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(image_job(folder.path(), 0));
    let mut rank = Rank::start(folder.path(), &coordinator, "only");
    coordinator.form(vec![coordinator.join("only")], &training(0));
    coordinator.wait_until("steps are taken", |state| !state.steps.is_empty());
    // The epoch ends in a pass that is never complete: the rank waits for its shard, and leaves all the same.
    rank.signal(Signal::SIGTERM);
    coordinator.wait_until("the rank says that it leaves", |state| state.pulses["only"].leaving);
    let leave = wire::Leave {
        store_checkpoint: false,
    };
    coordinator.change(|state| state.leave = [("only".to_owned(), leave)].into());
    assert_eq!(rank.wait().code(), Some(13));
}

#[test]
fn sigterm_ends_a_rank_whose_coordinator_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(image_job(folder.path(), 0));
    coordinator.change(|state| state.passes_end = true);
    let mut rank = Rank::start(folder.path(), &coordinator, "only");
    coordinator.form(vec![coordinator.join("only")], &training(0));
    coordinator.wait_until("steps are taken", |state| !state.steps.is_empty());
    coordinator.change(|state| state.deaf = true);
    rank.signal(Signal::SIGTERM);
    assert_eq!(rank.wait().code(), Some(13));
}

#[test]
fn a_rank_that_waits_for_its_gang_stops_when_it_is_no_longer_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(image_job(folder.path(), 0));
    let mut rank = Rank::start(folder.path(), &coordinator, "only");
    let _never_answered = coordinator.join("only");
    coordinator.change(|state| state.stop = [("only".to_owned(), "jobs/images has succeeded".to_owned())].into());
    assert_eq!(rank.wait().code(), Some(12));
    let log = rank.log();
    assert!(
        log.contains("jobs/images has succeeded") && !log.contains("ERROR"),
        "{log}"
    );
}

#[test]
fn a_gang_without_a_state_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(image_job(folder.path(), 0));
    coordinator.change(|state| state.passes_end = true);
    let _rank = Rank::start(folder.path(), &coordinator, "only");
    coordinator.form(vec![coordinator.join("only")], &training(0));
    let before = coordinator.wait_until("steps are taken", |state| state.steps.len() > 3);
    coordinator.change(|state| (state.generation, state.at_step_boundary) = (2, true));
    let join = coordinator.join("only");
    assert!(join.request.steps_done > 3);
    coordinator.form(vec![join], &training(0));
    let after = coordinator.wait_until("the steps are taken again", |state| state.steps.len() > 3);
    let hash = |state: &State, generation| state.hashes[&("only".to_owned(), generation, 0)].clone();
    assert_eq!(hash(&after, 1), hash(&after, 3));
    let losses = |state: &State| state.steps[..4].iter().map(|step| step.loss).collect::<Vec<_>>();
    assert_eq!(losses(&before), losses(&after));
}

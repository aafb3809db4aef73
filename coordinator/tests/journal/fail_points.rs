//! The coordinator is killed at each place where it matters.

use std::{os::unix::process::ExitStatusExt as _, path::Path};

use firn::{
    fail_point::{FailPoint, VARIABLE},
    journal::Journal,
};

use crate::process::{Served, command, names, submit};

/// Jobs that are tried before the coordinator must have come to its end.
const TRIES: usize = 8;

/// Starts on a new folder, submits until it dies, and gives the jobs that were acknowledged and those that were tried.
async fn run_until_killed(folder: &Path, point: FailPoint, pass: u64) -> (Vec<String>, Vec<String>) {
    let mut served = Served::spawn(command(folder).env(VARIABLE, format!("{point}:{pass}")));
    let (mut acknowledged, mut tried) = (Vec::new(), Vec::new());
    if let Some(channel) = served.ready() {
        for number in 0..TRIES {
            let name = format!("job-{number}");
            tried.push(name.clone());
            match submit(&channel, &name).await {
                Ok(()) => acknowledged.push(name),
                Err(_) => break,
            }
        }
    }
    let left = served.left();
    assert_eq!(left.status.signal(), Some(9), "{point}:{pass}: {}", left.talk);
    (acknowledged, tried)
}

/// Kills coordinators at their first passes of a place: at some of those during the start, and at the first few while they serve.
async fn nothing_acknowledged_is_lost(point: FailPoint, while_serving: usize) {
    let (mut pass, mut killed_while_serving) = (1, 0);
    while killed_while_serving < while_serving {
        let folder = tempfile::tempdir().unwrap();
        let (acknowledged, tried) = run_until_killed(folder.path(), point, pass).await;
        let mut served = Served::spawn(&mut command(folder.path()));
        let channel = served.ready().expect("it starts again");
        let found = names(&channel).await;
        let missing: Vec<_> = acknowledged.iter().filter(|name| !found.contains(name)).collect();
        assert!(
            missing.is_empty(),
            "{point}:{pass}: {missing:?} were acknowledged and are missing"
        );
        let unknown: Vec<_> = found.iter().filter(|name| !tried.contains(name)).collect();
        assert!(unknown.is_empty(), "{point}:{pass}: {unknown:?} were never submitted");
        submit(&channel, "after").await.unwrap();
        assert_eq!(served.stop().status.code(), Some(0));
        Journal::open(folder.path()).unwrap().reader().verify_chain().unwrap();
        if tried.is_empty() {
            pass += 3;
        } else {
            killed_while_serving += 1;
            pass += 1;
        }
        assert!(pass < 100, "{point}: the coordinator is never killed while it serves");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_before_it_writes() {
    nothing_acknowledged_is_lost(FailPoint::JournalBeforeWrite, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_before_a_sync() {
    nothing_acknowledged_is_lost(FailPoint::JournalBeforeSync, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_after_a_sync() {
    nothing_acknowledged_is_lost(FailPoint::JournalAfterSync, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_between_the_disk_and_the_answer() {
    nothing_acknowledged_is_lost(FailPoint::CommitBeforeEffects, 2).await;
    nothing_acknowledged_is_lost(FailPoint::CommitBeforeReply, 2).await;
    nothing_acknowledged_is_lost(FailPoint::CommitAfterReply, 2).await;
}

#[test]
fn a_fail_point_that_does_not_exist_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let left = Served::spawn(command(folder.path()).env(VARIABLE, "journal-before-sink")).left();
    assert_eq!(left.status.code(), Some(2), "{}", left.talk);
    assert!(left.talk.contains("journal-before-sync"), "{}", left.talk);
}

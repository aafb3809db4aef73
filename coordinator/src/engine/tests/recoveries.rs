//! What a start makes of a journal and its snapshots.

use firn_core::{Record, State};
use tokio::sync::watch;

use super::{
    workload::{Workload, durable},
    *,
};
use crate::{
    engine::upkeep::{Image, Pace},
    journal::{Encoded, Position, SnapshotStore},
};

fn recovered(journal: &Journal) -> (State, Origins, bool) {
    let store = ArtifactStore::new(journal.folder().join("jobs"));
    let origins = Origins::default();
    let recovered = recover(journal, &store, Settings::default(), &origins).unwrap();
    (durable(&recovered.state), origins, recovered.is_from_snapshot)
}

/// A snapshot of a prefix of the workload.
fn snapshot(folder: &Path, records: &[Record], state: &State, count: usize) {
    let other = tempfile::tempdir().unwrap();
    let mut prefix = Journal::open(other.path()).unwrap();
    let origins = Origins::default();
    let prefix_records = &records[..count];
    prefix_records.iter().for_each(|record| origins.learn(record));
    let encoded: Vec<_> = prefix_records
        .iter()
        .map(|record| Journal::encode(record).unwrap())
        .collect();
    prefix.append(&encoded).unwrap();
    let image = Image {
        state: state.clone(),
        processes: origins.all(),
    };
    SnapshotStore::new(folder).write(prefix.end(), &image).unwrap();
}

#[test]
fn every_prefix_of_the_journal_replays_to_the_live_state() {
    let mut workload = Workload::new();
    workload.day("first");
    workload.day("second");
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    workload.write(&mut journal);
    let mut records: Vec<Record> = Vec::new();
    journal.replay(|record| records.push(record)).unwrap();
    assert_eq!(records, workload.records);

    let mut state = State::default();
    let mut folded = 0;
    let states = workload.states.unwrap();
    assert!(states.len() > 100);
    for (count, live) in states {
        for record in &records[folded..count] {
            firn_core::apply(&mut state, record);
        }
        folded = count;
        assert_eq!(durable(&state), live, "after {count} records");
    }
}

#[test]
fn a_snapshot_and_the_records_after_it_give_what_all_records_give() {
    let mut workload = Workload::new();
    workload.day("first");
    workload.day("second");
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    workload.write(&mut journal);
    let (all, all_origins, is_from_snapshot) = recovered(&journal);
    assert!(!is_from_snapshot);
    assert_eq!(all, durable(&workload.state));
    let states = workload.states.as_ref().unwrap();
    for (count, live) in states.iter().step_by(17).chain(states.last()) {
        let _ = std::fs::remove_dir_all(folder.path().join("snapshots"));
        snapshot(folder.path(), &workload.records, live, *count);
        let (state, origins, is_from_snapshot) = recovered(&journal);
        assert!(is_from_snapshot);
        assert_eq!(state, all, "from a snapshot after {count} records");
        assert_eq!(origins.all(), all_origins.all());
    }
}

/// A tick before that would find that everybody has been silent since the last start.
#[test]
fn nothing_is_due_before_the_new_coordinator_has_begun() {
    let mut workload = Workload::new();
    workload.day("first");
    let states = workload.states.as_ref().unwrap();
    let is_running = |(_, state): &&(usize, State)| {
        let mut jobs = state.jobs.values();
        jobs.any(|job| matches!(job.phase, firn_core::state::Phase::Running(_)))
    };
    let (count, live) = states.iter().find(is_running).expect("a day has a job that runs");
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    let encoded: Vec<_> = workload.records[..*count]
        .iter()
        .map(|record| Journal::encode(record).unwrap())
        .collect();
    journal.append(&encoded).unwrap();
    for is_from_snapshot in [false, true] {
        if is_from_snapshot {
            snapshot(folder.path(), &workload.records, live, *count);
        }
        let store = ArtifactStore::new(folder.path().join("jobs"));
        let recovered = recover(&journal, &store, Settings::default(), &Origins::default()).unwrap();
        assert_eq!(recovered.is_from_snapshot, is_from_snapshot);
        assert_eq!(firn_core::deadline(&recovered.state), None);
    }
}

#[test]
fn a_damaged_snapshot_gives_way_to_an_older_one_and_that_to_the_whole_journal() {
    let mut workload = Workload::new();
    workload.day("first");
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    workload.write(&mut journal);
    let states = workload.states.as_ref().unwrap();
    // The older one is told by a job that no record knows.
    let (older, mut live) = states[states.len() / 2].clone();
    live.jobs_submitted += 100;
    snapshot(folder.path(), &workload.records, &live, older);
    let (newer, live) = states.last().unwrap();
    snapshot(folder.path(), &workload.records, live, *newer);
    let store = SnapshotStore::new(folder.path());
    let damage = || {
        let path = store.newest_path().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        path
    };

    let path = damage();
    let (state, _, is_from_snapshot) = recovered(&journal);
    assert!(is_from_snapshot);
    assert_eq!(state.jobs_submitted, workload.state.jobs_submitted + 100);
    std::fs::remove_file(path).unwrap();
    damage();
    let (state, _, is_from_snapshot) = recovered(&journal);
    assert!(!is_from_snapshot);
    assert_eq!(state, durable(&workload.state));
}

#[test]
fn a_snapshot_of_another_history_is_not_used() {
    let (mut workload, mut other) = (Workload::new(), Workload::new());
    workload.day("ours");
    other.day("theirs");
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    workload.write(&mut journal);
    snapshot(folder.path(), &other.records, &other.state, other.records.len());
    let image = Image {
        state: other.state.clone(),
        processes: Default::default(),
    };
    let beyond = Position {
        sequence: journal.len() + 1,
        ..journal.end()
    };
    SnapshotStore::new(folder.path()).write(beyond, &image).unwrap();
    let (state, _, is_from_snapshot) = recovered(&journal);
    assert!(!is_from_snapshot);
    assert_eq!(state, durable(&workload.state));
}

#[test]
fn damage_after_a_snapshot_stops_the_start_and_names_the_record() {
    let mut workload = Workload::new();
    workload.day("first");
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    workload.write(&mut journal);
    let states = workload.states.as_ref().unwrap();
    let (count, live) = &states[states.len() / 2];
    snapshot(folder.path(), &workload.records, live, *count);
    // What no record is.
    journal.append(&[Encoded::raw(b"{\"at\": 1}")]).unwrap();
    let store = ArtifactStore::new(folder.path().join("jobs"));
    let Err(error) = recover(&journal, &store, Settings::default(), &Origins::default()) else {
        panic!("expected an error");
    };
    let expected = format!("record {} cannot be understood", workload.records.len());
    assert!(error.to_string().contains(&expected), "{error}");
}

/// Lets the engine take snapshots often, and waits until one of at least so many records is there.
async fn snapshot_after(handle: &EngineHandle, mut written: watch::Receiver<u64>, records: u64) {
    let mut number = 0;
    while *written.borrow_and_update() < records {
        submitted(handle, &format!("more-{number}")).await;
        number += 1;
    }
}

#[tokio::test]
async fn the_engine_takes_snapshots_and_the_next_start_begins_with_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let (mut engine, handle) = engine_over(Journal::open(folder.path()).unwrap());
    engine.upkeep.pace = Pace {
        snapshot: 10,
        compaction: u64::MAX,
    };
    let written = engine.upkeep.written();
    let running = tokio::spawn(engine.run());
    handle.tell(Input::CoordinatorStarted).await.unwrap();
    snapshot_after(&handle, written, 50).await;
    let live = handle.ask(State::clone).await.unwrap();
    handle.close().await;
    running.await.unwrap().unwrap();

    let journal = Journal::open(folder.path()).unwrap();
    let (state, _, is_from_snapshot) = recovered(&journal);
    assert!(is_from_snapshot);
    assert_eq!(state, durable(&live));
    let kept = std::fs::read_dir(folder.path().join("snapshots")).unwrap().count();
    assert!(kept <= 2, "{kept} snapshots are kept");
}

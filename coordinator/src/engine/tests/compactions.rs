//! Records that need not be kept.

use std::collections::BTreeSet;

use firn_core::{Event, Record, State};

use super::{
    workload::{Workload, durable},
    *,
};
use crate::engine::{
    compaction::{Prunable, find},
    upkeep::Pace,
};

fn fold(journal: &Journal) -> State {
    let mut state = State::default();
    journal
        .replay(|record: Record| firn_core::apply(&mut state, &record))
        .unwrap();
    durable(&state)
}

#[test]
fn comings_and_goings_that_concern_no_job_are_dropped_and_nothing_else() {
    let mut workload = Workload::new();
    for round in 0..20 {
        workload.attach("comes-and-goes");
        workload.leave("comes-and-goes");
        if round == 10 {
            workload.day("a");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    workload.write(&mut journal);
    let found = find(&journal.reader(), journal.end(), &workload.state).unwrap().0;
    // All but the last stay of the worker, but the one in which it was given a job if that was so, and the stay that was idle in the day.
    assert!(found.len() >= 36, "{found:?}");
    for sequence in &found {
        assert!(
            workload.records[*sequence as usize].job().is_none(),
            "records of jobs stay"
        );
    }
    let head = journal.head();
    for part in Prunable(found.clone()).parts() {
        journal.compact(&part).unwrap();
    }
    assert_eq!(fold(&journal), durable(&workload.state));
    let chain = journal.reader().verify_chain().unwrap();
    assert_eq!((chain.records, chain.head), (journal.len(), head));
    assert_eq!(chain.compacted, found.len() as u64);

    // Whoever proves something of a job finds all of its records.
    for id in workload.state.jobs.keys() {
        let kept = journal.reader().records_of(id).unwrap();
        let expected = (0..)
            .zip(&workload.records)
            .filter(|(_, record)| record.job() == Some(id));
        let expected: Vec<(u64, &Record)> = expected.collect();
        let kept: Vec<(u64, &Record)> = kept.records.iter().map(|kept| (kept.sequence, &kept.record)).collect();
        assert_eq!(kept, expected);
    }
    // A second look finds nothing more.
    assert_eq!(
        find(&journal.reader(), journal.end(), &workload.state).unwrap(),
        Prunable::default()
    );
}

#[test]
fn a_loss_that_took_a_rank_along_is_kept() {
    let mut workload = Workload::new();
    workload.attach("a");
    let job = workload.submit("job", 1);
    workload.prepare(&job);
    workload.leave("a");
    let lost = workload
        .records
        .iter()
        .position(|record| matches!(record.event, Event::WorkerLost { .. }));
    workload.attach("a");
    workload.give(Input::Cancel { job });
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    workload.write(&mut journal);
    let found = find(&journal.reader(), journal.end(), &workload.state).unwrap().0;
    assert!(!found.contains(&(lost.unwrap() as u64)), "{found:?}");
}

#[test]
fn nothing_is_dropped_if_the_fold_is_not_the_live_state() {
    let mut workload = Workload::new();
    for _ in 0..5 {
        workload.attach("a");
        workload.leave("a");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    workload.write(&mut journal);
    workload.state.jobs_submitted += 1;
    assert_eq!(
        find(&journal.reader(), journal.end(), &workload.state).unwrap(),
        Prunable::default()
    );
}

#[test]
fn a_compaction_is_done_in_parts_that_lose_nothing() {
    let all: BTreeSet<u64> = (0..2_500).map(|number| 3 * number).collect();
    let parts: Vec<_> = Prunable(all.clone()).parts().collect();
    assert_eq!(parts.iter().map(BTreeSet::len).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    assert_eq!(parts.into_iter().flatten().collect::<BTreeSet<_>>(), all);
}

#[tokio::test]
async fn the_engine_compacts_by_itself_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut workload = Workload::new();
    for _ in 0..200 {
        workload.attach("a");
        workload.leave("a");
    }
    let mut journal = Journal::open(folder.path()).unwrap();
    workload.write(&mut journal);
    let (mut engine, handle) = engine_over(journal);
    engine.upkeep.pace = Pace {
        snapshot: 10,
        compaction: 100,
    };
    let reader = engine.journal.as_ref().unwrap().reader();
    let mut written = engine.upkeep.written();
    let running = tokio::spawn(engine.run());
    handle.tell(Input::CoordinatorStarted).await.unwrap();
    written.changed().await.unwrap();
    // The snapshot is noted before the records are dropped; both are done once another message is answered.
    let job = submitted(&handle, "after").await;
    let chain = reader.verify_chain().unwrap();
    assert!(chain.compacted >= 398, "{chain:?}");
    assert!(chain.anchor > 390, "the beginning is one anchor: {chain:?}");
    assert_eq!(reader.records_of(&job).unwrap().records.len(), 1);
    let live = handle.ask(State::clone).await.unwrap();
    handle.close().await;
    running.await.unwrap().unwrap();
    drop(reader);
    assert_eq!(fold(&Journal::open(folder.path()).unwrap()), durable(&live));
}

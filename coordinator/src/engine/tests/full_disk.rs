//! A disk that is full, or fails.

use std::sync::atomic::{AtomicU64, Ordering};

use firn_core::{Sender, identifiers::StreamId};

use super::*;

fn not_written(outcome: Result<Reply, Refusal>) -> NotWritten {
    match outcome {
        Err(Refusal::NotWritten(refusal)) => refusal,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[tokio::test]
async fn after_a_failed_commit_only_what_is_on_disk_is_shown_and_nothing_is_taken_in() {
    for mood in [Mood::Full, Mood::SyncFails, Mood::FullAtSync] {
        let folder = tempfile::tempdir().unwrap();
        let (engine, handle, disk) = engine(folder.path());
        let running = tokio::spawn(engine.run());
        handle.tell(Input::CoordinatorStarted).await.unwrap();
        let first = submitted(&handle, "first").await;
        let durable = handle.ask(firn_core::State::clone).await.unwrap();
        let mut changes = handle.changes(&first);

        disk.set(mood);
        let refusal = not_written(handle.tell(submit("second")).await);
        assert_eq!(refusal.is_full, mood != Mood::SyncFails, "{refusal}");
        assert_eq!(refusal.sender, Sender::Person);
        assert!(refusal.message.contains("restart"), "{refusal}");
        let mut standing = handle.standing();
        standing.wait_for(Standing::is_read_only).await.unwrap();
        changes.changed().await.expect("who waits asks again");

        // Also when there is room again: what is on disk is unknown.
        disk.set(Mood::Well);
        not_written(handle.tell(submit("third")).await);
        not_written(handle.tell(Input::Cancel { job: first.clone() }).await);
        let heartbeat = Input::AgentHeartbeat {
            worker: "w".into(),
            stream: StreamId(1),
        };
        assert_eq!(not_written(handle.tell(heartbeat).await).sender, Sender::Machine);
        let shown = handle.ask(firn_core::State::clone).await.unwrap();
        assert_eq!(shown, durable, "not a trace of what was not written");

        handle.close().await;
        let error = running.await.unwrap().unwrap_err();
        assert!(
            matches!(error, EngineError::Journal(JournalError::Storage { .. })),
            "{error}"
        );
        assert_eq!(handle.ask(|state| state.jobs.len()).await, Err(Stopped));
    }
}

#[tokio::test]
async fn everyone_in_a_batch_that_failed_is_refused_and_questions_in_it_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, handle, disk) = engine(folder.path());
    disk.set(Mood::SyncFails);
    let (first, jobs, second, (), ended) = tokio::join!(
        handle.tell(submit("first")),
        handle.ask(|state| state.jobs.len()),
        handle.tell(submit("second")),
        handle.close(),
        engine.run(),
    );
    not_written(first);
    not_written(second);
    assert_eq!(jobs, Ok(0));
    ended.unwrap_err();
}

#[tokio::test]
async fn on_a_nearly_full_disk_only_ends_are_recorded_until_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::on_failing_disk(folder.path());
    let free = Arc::new(AtomicU64::new(1 << 30));
    let seen = Arc::clone(&free);
    let (engine, handle) = engine_over(journal.with_room(move || seen.load(Ordering::SeqCst)));
    let running = tokio::spawn(engine.run());
    handle.tell(Input::CoordinatorStarted).await.unwrap();
    let first = submitted(&handle, "first").await;

    free.store(0, Ordering::SeqCst);
    let refusal = not_written(handle.tell(submit("second")).await);
    assert!(refusal.is_full);
    assert!(refusal.message.contains("nearly full: 0.0 MiB are free"), "{refusal}");
    assert!(matches!(*handle.standing().borrow(), Standing::Sparing { free: 0, .. }));
    assert_eq!(handle.tell(Input::Cancel { job: first.clone() }).await, Ok(Reply::Done));
    let ended = handle.ask(move |state| state.job(&first).unwrap().outcome().is_some());
    assert_eq!(ended.await, Ok(true));

    free.store(1 << 30, Ordering::SeqCst);
    submitted(&handle, "third").await;
    assert_eq!(*handle.standing().borrow(), Standing::Writing);
    handle.close().await;
    running.await.unwrap().unwrap();
}

//! What the engine promises to those who wait.

use super::*;

#[tokio::test]
async fn what_is_in_the_mailbox_is_answered_before_the_engine_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, handle, _) = engine(folder.path());
    let (first, second, closed) = (
        handle.tell(submit("first")),
        handle.tell(submit("second")),
        handle.close(),
    );
    // All three lie in the mailbox before the engine looks into it.
    let (first, second, (), ended) = tokio::join!(first, second, closed, engine.run());
    assert!(matches!(first, Ok(Reply::Submitted(_))));
    assert!(matches!(second, Ok(Reply::Submitted(_))));
    ended.unwrap();
    assert_eq!(handle.tell(submit("third")).await, Err(Refusal::Stopped(Stopped)));
}

#[tokio::test]
async fn letters_that_wait_together_are_committed_together() {
    let folder = tempfile::tempdir().unwrap();
    let (mut engine, handle, _) = engine(folder.path());
    let messages: Vec<_> = (0..5)
        .map(|number| handle.tell(submit(&format!("job-{number}"))))
        .collect();
    let question = handle.ask(|state| state.jobs.len());
    let mut answers = std::pin::pin!(futures::future::join(futures::future::join_all(messages), question));
    assert!(futures::poll!(&mut answers).is_pending());
    let mut waiting = Vec::new();
    engine.mailbox.recv_many(&mut waiting, BATCH).await;
    assert_eq!(waiting.len(), 6);
    let batch = engine.decide_all(waiting.into_iter());
    assert!(batch.records.len() >= 5, "one commit holds the records of all five");
    assert!(
        futures::poll!(&mut answers).is_pending(),
        "nobody is answered before the commit"
    );
    engine.commit(batch).await;
    let (told, jobs) = answers.await;
    assert!(told.iter().all(Result::is_ok));
    assert_eq!(jobs, Ok(5), "a question sees what was asked for before it");
}

#[tokio::test]
async fn who_waits_for_a_job_is_woken_by_its_changes_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, handle, _) = engine(folder.path());
    let running = tokio::spawn(engine.run());
    handle.tell(Input::CoordinatorStarted).await.unwrap();
    let watched = submitted(&handle, "watched").await;
    let mut changes = handle.changes(&watched);

    let other = submitted(&handle, "other").await;
    handle.tell(Input::Cancel { job: other }).await.unwrap();
    assert!(!changes.has_changed().unwrap());

    handle.tell(Input::Cancel { job: watched.clone() }).await.unwrap();
    changes.changed().await.unwrap();
    let ended = handle
        .ask(move |state| state.job(&watched).unwrap().outcome().is_some())
        .await
        .unwrap();
    assert!(ended);
    handle.close().await;
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_input_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, handle, _) = engine(folder.path());
    let running = tokio::spawn(engine.run());
    let refused = handle.tell(Input::Cancel { job: "nowhere".into() }).await;
    assert!(
        matches!(refused, Err(Refusal::Reject(firn_core::Reject::JobNotFound { .. }))),
        "{refused:?}"
    );
    handle.close().await;
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_record_that_could_not_be_read_back_is_refused_and_disturbs_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, handle, _) = engine(folder.path());
    let mut broken = spec("broken");
    broken.training.max_gradient_norm = Some(f64::NAN);
    let broken = handle.tell(Input::Submit { spec: Arc::new(broken) });
    let (before, broken, after, (), ended) = tokio::join!(
        handle.tell(submit("before")),
        broken,
        handle.tell(submit("after")),
        handle.close(),
        engine.run(),
    );
    assert!(matches!(before, Ok(Reply::Submitted(_))));
    assert!(matches!(broken, Err(Refusal::Unrecordable { .. })), "{broken:?}");
    assert!(matches!(after, Ok(Reply::Submitted(_))));
    ended.unwrap();
}

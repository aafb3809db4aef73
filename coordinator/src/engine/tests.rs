//! The engine against a failing disk, and what it promises to those who wait.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use firn_core::{Input, Reply, Settings, spec::JobSpec};
use firn_proto::v1alpha1 as proto;

use super::*;
use crate::{api::wire, artifacts::ArtifactStore, logs::Origins};

fn spec(name: &str) -> Arc<JobSpec> {
    let split = |uri: &str| {
        Some(proto::SplitSpec {
            uri: uri.to_owned(),
            split: None,
        })
    };
    let job = proto::FineTuneJob {
        api_version: wire::API_VERSION.to_owned(),
        kind: wire::KIND.to_owned(),
        metadata: Some(proto::Metadata {
            name: name.to_owned(),
            ..Default::default()
        }),
        spec: Some(proto::JobSpec {
            task: Some(proto::TaskSpec {
                r#type: "classification".to_owned(),
            }),
            model: Some(proto::ModelSpec {
                architecture: "resnet18".to_owned(),
                ..Default::default()
            }),
            data: Some(proto::DataSpec {
                format: "imagefolder".to_owned(),
                train: split("/data/train"),
                validation: split("/data/val"),
                ..Default::default()
            }),
            ..Default::default()
        }),
        status: None,
    };
    Arc::new(wire::job_spec(&job).unwrap())
}

fn submit(name: &str) -> Input {
    Input::Submit { spec: spec(name) }
}

/// An engine on a disk in memory, and the switch that fills the disk.
fn engine(folder: &std::path::Path) -> (Engine, EngineHandle, Arc<AtomicBool>) {
    let (journal, full) = Journal::on_failing_disk();
    let store = ArtifactStore::new(folder.to_owned());
    let state = recover(&journal, &store, Settings::default(), |_| {}).unwrap();
    let hands = |handle: &EngineHandle| Hands::new(handle.clone(), Outboxes::default(), store, Origins::default());
    let (engine, handle) = Engine::new(state, journal, Clock::start(), hands);
    (engine, handle, full)
}

#[tokio::test]
async fn a_full_disk_stops_the_engine_and_nothing_is_acknowledged_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, handle, full) = engine(folder.path());
    let running = tokio::spawn(engine.run());
    handle.tell(Input::CoordinatorStarted).await.unwrap();
    assert!(matches!(handle.tell(submit("first")).await, Ok(Reply::Submitted(_))));

    full.store(true, Ordering::SeqCst);
    assert_eq!(handle.tell(submit("second")).await, Err(Refusal::Stopped(Stopped)));
    let error = running.await.unwrap().unwrap_err();
    assert!(
        matches!(error, EngineError::Journal(JournalError::Storage { .. })),
        "{error}"
    );
    // Also when there is room again: what is on disk is unknown.
    full.store(false, Ordering::SeqCst);
    assert_eq!(handle.ask(|state| state.jobs.len()).await, Err(Stopped));
}

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
    let letters: Vec<_> = (0..5)
        .map(|number| handle.tell(submit(&format!("job-{number}"))))
        .collect();
    let mut answers = std::pin::pin!(futures::future::join_all(letters));
    assert!(futures::poll!(&mut answers).is_pending());
    let mut waiting = Vec::new();
    engine.mailbox.recv_many(&mut waiting, BATCH).await;
    assert_eq!(waiting.len(), 5);
    let batch = engine.decide_all(waiting.into_iter());
    assert!(batch.records.len() >= 5, "one commit holds the records of all five");
    assert!(
        futures::poll!(&mut answers).is_pending(),
        "nobody is answered before the commit"
    );
    engine.commit(batch).await.unwrap();
    assert!(answers.await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn who_waits_for_a_job_is_woken_by_its_changes_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, handle, _) = engine(folder.path());
    let running = tokio::spawn(engine.run());
    handle.tell(Input::CoordinatorStarted).await.unwrap();
    let Ok(Reply::Submitted(watched)) = handle.tell(submit("watched")).await else {
        panic!()
    };
    let mut changes = handle.changes(&watched);

    let Ok(Reply::Submitted(other)) = handle.tell(submit("other")).await else {
        panic!()
    };
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

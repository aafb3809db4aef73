//! The engine against a failing disk, and what it promises to those who wait.

mod compactions;
mod figures;
mod full_disk;
mod queue_figures;
mod recoveries;
mod waiting;
mod workload;

use std::{path::Path, sync::Arc};

use firn_core::{Input, Reply, Settings, identifiers::JobId, spec::JobSpec};
use firn_proto::v1alpha1 as proto;

use super::*;
use crate::{
    api::wire,
    artifacts::ArtifactStore,
    journal::tests::disk::{Mood, MoodSwitch},
    logs::{LogStore, Origins},
};

fn spec(name: &str) -> JobSpec {
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
                ..Default::default()
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
    wire::job_spec(&job).unwrap()
}

fn submit(name: &str) -> Input {
    Input::Submit {
        spec: Arc::new(spec(name)),
    }
}

async fn submitted(handle: &EngineHandle, name: &str) -> JobId {
    match handle.tell(submit(name)).await {
        Ok(Reply::Submitted(job)) => job,
        other => panic!("expected a job, found {other:?}"),
    }
}

/// An engine over a journal that may hold something already.
fn engine_over(journal: Journal) -> (Engine, EngineHandle) {
    let store = ArtifactStore::new(journal.folder().join("jobs"));
    let origins = Origins::default();
    let recovered = recover(&journal, &store, Settings::default(), &origins).unwrap();
    let logs = Arc::new(LogStore::new(journal.folder().join("jobs")));
    let executor = |handle: &EngineHandle| {
        EffectExecutor::new(handle.clone(), Outboxes::default(), (store, logs), origins.clone())
    };
    Engine::new(recovered, journal, Clock::start(), executor)
}

/// An engine on a disk in memory, and the switch of that disk.
fn engine(folder: &Path) -> (Engine, EngineHandle, MoodSwitch) {
    let (journal, mood) = Journal::on_failing_disk(folder);
    let (engine, handle) = engine_over(journal);
    (engine, handle, mood)
}

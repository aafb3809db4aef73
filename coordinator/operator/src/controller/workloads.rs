//! What Kueue says of a Job that stands in one of its queues.
//!
//! Kueue keeps a Workload for each such Job, whose conditions say in words what it waits for. A cluster need not have Kueue: whether it does is
//! asked when a Job changes that names a queue, or that somebody holds back, since Kueue does this at once.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, channel::mpsc::UnboundedSender, future::BoxFuture};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource, api::batch::v1::Job};
use kube::{
    Client, ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::info;

use super::pods::{api, followed, of_workers};
use crate::resource::FineTuneJob;
use crate::workers::QUEUE_LABEL;

/// Before the API server is asked again that did not answer.
const RETRY: Duration = Duration::from_secs(5);

/// A Workload, as far as it is read here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Name, owners, and what the API server keeps.
    pub metadata: ObjectMeta,
    /// What has become of it.
    #[serde(default)]
    pub status: WorkloadStatus,
}

/// What has become of a Workload.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// `QuotaReserved`, `Admitted`, `Evicted`, …
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

impl Resource for Workload {
    type Scope = NamespaceResourceScope;

    const API_VERSION: &'static str = "kueue.x-k8s.io/v1beta2";
    const GROUP: &'static str = "kueue.x-k8s.io";
    const KIND: &'static str = "Workload";
    const URL_PATH_SEGMENT: &'static str = "workloads";
    const VERSION: &'static str = "v1beta2";
}

impl Metadata for Workload {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Workload {
    /// Why the Job has no pods, to be read after the name of its queue; `None`: nothing is said yet.
    pub(super) fn hindrance(&self) -> Option<String> {
        let condition = |kind: &str| self.status.conditions.iter().find(|condition| condition.type_ == kind);
        let reserved = condition("QuotaReserved")?;
        let (what, said) = match reserved.status.as_str() {
            "False" => ("has not let the pods in", reserved),
            _ => match condition("Evicted").filter(|evicted| evicted.status == "True") {
                Some(evicted) => ("takes the pods back", evicted),
                // Its room is there, and somebody else has to agree.
                None => (
                    "has not let the pods in",
                    condition("Admitted").filter(|admitted| admitted.status == "False")?,
                ),
            },
        };
        Some(format!("{what}: {}", said.message.trim_end_matches('.')))
    }
}

/// Wakes up who waits for a Job that a queue may govern.
#[derive(Debug, Default)]
pub(super) struct Queued(Notify);

impl Queued {
    /// A Job has changed.
    pub(super) fn note(&self, job: &Job) {
        let is_held = job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
        if is_held || job.labels().contains_key(QUEUE_LABEL) {
            self.0.notify_one();
        }
    }
}

/// A store of the Workloads of a namespace, or of all, and the stream that fills it once there is Kueue.
pub(super) fn of_namespace(
    client: &Client,
    namespace: Option<&str>,
    changed: &UnboundedSender<ObjectRef<FineTuneJob>>,
    queued: Arc<Queued>,
) -> (Store<Workload>, BoxFuture<'static, ()>) {
    let (store, stream) = followed(
        api(client, namespace),
        watcher::Config::default(),
        changed,
        |workload: &Workload| {
            let mut owners = workload.owner_references().iter();
            let job = owners.find(|owner| owner.kind == "Job")?;
            of_workers(&job.name, &workload.namespace()?)
        },
        |_| {},
    );
    let client = client.clone();
    let when_there = async move {
        while !is_there(&client).await {
            queued.0.notified().await;
        }
        info!("Kueue is there: following its Workloads");
        stream.await;
    };
    (store, when_there.boxed())
}

/// Whether the cluster knows Workloads.
async fn is_there(client: &Client) -> bool {
    loop {
        match client.list_api_group_resources(Workload::API_VERSION).await {
            Ok(known) => {
                let mut resources = known.resources.iter();
                return resources.any(|resource| resource.name == Workload::URL_PATH_SEGMENT);
            }
            Err(kube::Error::Api(answer)) if answer.code == 404 => return false,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

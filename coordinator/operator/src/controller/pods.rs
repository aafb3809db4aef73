//! What the API server tells of the pods of all resources, of the Jobs that hold them, of what hinders both, and of the queues they stand in.

use std::{fmt::Debug, sync::Arc};

use futures::{Stream, StreamExt as _, channel::mpsc::UnboundedSender, future::BoxFuture};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, Pod, PodSpec},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{ObjectRef, Store, reflector, store},
        watcher,
    },
};
use serde::de::DeserializeOwned;

use super::reconcile::owns;
use super::workloads::{self, Queued, Workload};
use crate::resource::FineTuneJob;
use crate::workers::{JOB_LABEL, workers_name};

/// Label of the Jobs and Secrets that the operator makes.
const OURS: &str = "app.kubernetes.io/managed-by=firn-operator";

/// Kept up to date by streams; nobody asks again and again.
#[derive(Clone)]
pub(super) struct Pods {
    jobs: Store<Job>,
    pods: Store<Pod>,
    /// A Job that got no pods, and why: a quota, a policy.
    refused: Store<Event>,
    /// A pod whose volumes are not there.
    unmounted: Store<Event>,
    /// What Kueue keeps of Jobs, where there is Kueue.
    workloads: Store<Workload>,
}

/// What is seen of the pods of one resource.
#[derive(Debug, Clone, Default)]
pub struct PodsSeen {
    /// All that there are, also those that have ended.
    pub pods: Vec<Arc<Pod>>,
    /// Events about them, and about their Job, that tell what hinders them.
    pub hindrances: Vec<Arc<Event>>,
    /// What the queue says in which their Job stands.
    pub workload: Option<Arc<Workload>>,
}

/// Streams that must be run for the stores to know anything.
pub(super) type Streams = Vec<BoxFuture<'static, ()>>;

impl Pods {
    /// Of one namespace, or of all. What changes is sent to `changed`.
    pub(super) fn of_namespace(
        client: &Client,
        namespace: Option<&str>,
        changed: &UnboundedSender<ObjectRef<FineTuneJob>>,
    ) -> (Self, Streams) {
        let events = |kind: &str, reason: &str| {
            watcher::Config::default().fields(&format!("involvedObject.kind={kind},reason={reason}"))
        };
        let queued = Arc::new(Queued::default());
        let (workloads, of_workloads) = workloads::of_namespace(client, namespace, changed, queued.clone());
        let (jobs, of_jobs) = followed(
            api(client, namespace),
            watcher::Config::default().labels(OURS),
            changed,
            move |job: &Job| {
                queued.note(job);
                labelled(job)
            },
            |_| {},
        );
        let (pods, of_pods) = followed(
            api(client, namespace),
            watcher::Config::default().labels(JOB_LABEL),
            changed,
            |pod: &Pod| labelled(pod),
            // Thousands are kept, and only what became of them is asked for.
            |pod| pod.spec = Some(PodSpec::default()),
        );
        let (refused, of_refused) = followed(
            api(client, namespace),
            events("Job", "FailedCreate"),
            changed,
            |event: &Event| about_job(event),
            |_| {},
        );
        let (unmounted, of_unmounted) = followed(
            api(client, namespace),
            events("Pod", "FailedMount"),
            changed,
            |event: &Event| about_pod(event),
            |_| {},
        );
        let known = Self {
            jobs,
            pods,
            refused,
            unmounted,
            workloads,
        };
        (known, vec![of_jobs, of_pods, of_refused, of_unmounted, of_workloads])
    }

    /// Returns when everything that there is has been told; what queues say may come later.
    pub(super) async fn ready(&self) {
        // A stream that ends takes the process with it: there is nothing to be said of it here.
        let _ = self.jobs.wait_until_ready().await;
        let _ = self.pods.wait_until_ready().await;
        let _ = self.refused.wait_until_ready().await;
        let _ = self.unmounted.wait_until_ready().await;
    }

    /// The Job that was made for a resource.
    pub(super) fn workers_of(&self, resource: &FineTuneJob) -> Option<Arc<Job>> {
        let name = ObjectRef::new(&workers_name(resource)).within(&resource.namespace().unwrap_or_default());
        self.jobs.get(&name).filter(|job| owns(resource, job))
    }

    /// The pods of a Job, and what is said of it and of them.
    pub(super) fn of(&self, workers: Option<&Job>) -> PodsSeen {
        let Some(own) = workers.and_then(|job| job.uid()) else {
            return PodsSeen::default();
        };
        let is_own = |pod: &Arc<Pod>| pod.owner_references().iter().any(|owner| owner.uid == own);
        let mut pods: Vec<Arc<Pod>> = self.pods.state().into_iter().filter(is_own).collect();
        pods.sort_by_key(|pod| pod.name_any());
        let is_about = |event: &Arc<Event>| {
            let involved = event.involved_object.uid.as_ref();
            involved.is_some_and(|uid| *uid == own || pods.iter().any(|pod| pod.uid().as_ref() == Some(uid)))
        };
        let mut hindrances = self.refused.state();
        hindrances.extend(self.unmounted.state());
        hindrances.retain(|event| is_about(event));
        let mut workloads = self.workloads.state().into_iter();
        let workload = workloads.find(|workload| workload.owner_references().iter().any(|owner| owner.uid == own));
        PodsSeen {
            pods,
            hindrances,
            workload,
        }
    }
}

pub(super) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

/// A store, and the stream that fills it and says which resource is to be looked at.
pub(super) fn followed<K>(
    api: Api<K>,
    config: watcher::Config,
    changed: &UnboundedSender<ObjectRef<FineTuneJob>>,
    resource_of: impl Fn(&K) -> Option<ObjectRef<FineTuneJob>> + Send + 'static,
    strip: impl Fn(&mut K) + Send + 'static,
) -> (Store<K>, BoxFuture<'static, ()>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let events = watcher(api, config).default_backoff().modify(move |object| {
        object.managed_fields_mut().clear();
        strip(object);
    });
    let (known, changed) = (reader.clone(), changed.clone());
    let told = told(reflector(writer, events), known, move |object| {
        if let Some(resource) = resource_of(object) {
            // The operator ends where nobody listens.
            let _ = changed.unbounded_send(resource);
        }
    });
    (reader, Box::pin(told))
}

async fn told<K>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
    known: Store<K>,
    tell: impl Fn(&K),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => news(event, &known).iter().for_each(|object| tell(object)),
            Err(error) => tracing::warn!(%error, "a stream of the API server broke, opening it again"),
        }
    }
}

/// What an event tells that the store holds by then. A list that is read anew is in the store as a whole only when it has come to its end: who
/// looks for its objects before finds what was there before the stream broke.
pub(super) fn news<K>(event: watcher::Event<K>, known: &Store<K>) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    match event {
        watcher::Event::Apply(object) | watcher::Event::Delete(object) => vec![Arc::new(object)],
        watcher::Event::InitDone => known.state(),
        watcher::Event::Init | watcher::Event::InitApply(_) => Vec::new(),
    }
}

fn labelled<K: Resource>(object: &K) -> Option<ObjectRef<FineTuneJob>> {
    let name = object.labels().get(JOB_LABEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

fn about_job(event: &Event) -> Option<ObjectRef<FineTuneJob>> {
    let involved = &event.involved_object;
    of_workers(involved.name.as_deref()?, involved.namespace.as_deref()?)
}

/// The resource for which a Job of this name was made.
pub(super) fn of_workers(job: &str, namespace: &str) -> Option<ObjectRef<FineTuneJob>> {
    Some(ObjectRef::new(job.strip_suffix("-workers")?).within(namespace))
}

/// `NAME-workers-INDEX-SUFFIX`, as the Job controller names pods.
fn about_pod(event: &Event) -> Option<ObjectRef<FineTuneJob>> {
    let involved = &event.involved_object;
    let (name, _) = involved.name.as_deref()?.rsplit_once("-workers-")?;
    Some(ObjectRef::new(name).within(involved.namespace.as_deref()?))
}

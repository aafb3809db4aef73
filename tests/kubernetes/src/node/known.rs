//! What a node knows of its cluster: kept up to date by watching, so that nothing asks again and again.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt as _;
use k8s_openapi::api::{
    core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// All that is watched.
pub(super) struct Known {
    pub(super) secrets: Objects<Secret>,
    pub(super) config_maps: Objects<ConfigMap>,
    pub(super) claims: Objects<PersistentVolumeClaim>,
    pub(super) volumes: Objects<PersistentVolume>,
    pub(super) services: Objects<Service>,
    pub(super) slices: Objects<EndpointSlice>,
    changes: watch::Receiver<Changes>,
}

/// How many changes were seen, and how many kinds have been listed.
#[derive(Clone, Copy, Default)]
pub(super) struct Changes {
    seen: u64,
    listed: usize,
}

/// How many kinds there are.
const KINDS: usize = 6;

impl Known {
    pub(super) fn of_cluster(client: &Client) -> Self {
        let (changed, changes) = watch::channel(Changes::default());
        let changed = Arc::new(changed);
        Self {
            secrets: Objects::watch(client, &changed),
            config_maps: Objects::watch(client, &changed),
            claims: Objects::watch(client, &changed),
            volumes: Objects::watch(client, &changed),
            services: Objects::watch(client, &changed),
            slices: Objects::watch(client, &changed),
            changes,
        }
    }

    /// Waits until everything that was there at the start is known.
    pub(super) async fn is_complete(&self) {
        // The watchers live as long as the process.
        let _ = self.changes().wait_for(|changes| changes.listed == KINDS).await;
    }

    /// Tells of each change.
    pub(super) fn changes(&self) -> watch::Receiver<Changes> {
        self.changes.clone()
    }
}

/// The objects of one kind, by namespace and name.
pub(super) struct Objects<K>(Arc<Mutex<ByName<K>>>);

type ByName<K> = BTreeMap<(String, String), K>;

impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static> Objects<K> {
    fn watch(client: &Client, changed: &Arc<watch::Sender<Changes>>) -> Self {
        let objects = Arc::new(Mutex::new(BTreeMap::new()));
        let stream = watcher(Api::<K>::all(client.clone()), watcher::Config::default()).default_backoff();
        let (kept, changed) = (objects.clone(), changed.clone());
        tokio::spawn(async move {
            let mut stream = stream.boxed();
            let mut listed = BTreeMap::new();
            let mut is_first = true;
            while let Some(event) = stream.next().await {
                let mut was_listed = false;
                match event {
                    Ok(watcher::Event::Apply(object)) => {
                        lock(&kept).insert(key(&object), object);
                    }
                    Ok(watcher::Event::Delete(object)) => {
                        lock(&kept).remove(&key(&object));
                    }
                    Ok(watcher::Event::Init) => listed.clear(),
                    Ok(watcher::Event::InitApply(object)) => {
                        listed.insert(key(&object), object);
                        continue;
                    }
                    Ok(watcher::Event::InitDone) => {
                        *lock(&kept) = std::mem::take(&mut listed);
                        was_listed = std::mem::take(&mut is_first);
                    }
                    Err(error) => eprintln!("watch of {}: {error}", K::plural(&())),
                }
                changed.send_modify(|changes| {
                    changes.seen += 1;
                    changes.listed += usize::from(was_listed);
                });
            }
        });
        Self(objects)
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<K> {
        lock(&self.0).get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    pub(super) fn all(&self) -> Vec<K> {
        lock(&self.0).values().cloned().collect()
    }
}

fn key<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn lock<K>(objects: &Mutex<ByName<K>>) -> MutexGuard<'_, ByName<K>> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}

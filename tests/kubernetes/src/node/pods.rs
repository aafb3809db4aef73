//! The pods that are bound to a node: each begins to live when it is seen, and is told when it has to go.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::sync::watch;

use super::{Node, pod};

/// Seconds for a pod that was deleted at once.
const LEAST_GRACE_SECONDS: i64 = 1;

/// Those that live, by their uids.
type Living = Arc<Mutex<BTreeMap<String, Told>>>;

/// Numbers of addresses are given out in turn: what belongs to one that is free again may not be cleared away yet.
static NEXT: AtomicU8 = AtomicU8::new(0);

struct Told {
    /// Seconds that the pod may take to end; none: it stays.
    stop: watch::Sender<Option<i64>>,
    address: u8,
}

/// Follows them for ever.
pub(super) async fn serve(node: Arc<Node>) -> anyhow::Result<()> {
    let here = format!("spec.nodeName={}", node.settings.name);
    let pods = watcher(
        Api::<Pod>::all(node.client.clone()),
        watcher::Config::default().fields(&here),
    );
    let mut events = pods.default_backoff().boxed();
    let living = Living::default();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(pod)) => seen(&node, &living, pod),
            Ok(watcher::Event::Delete(pod)) => gone(&living, &pod.uid().unwrap_or_default()),
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(pod)) => {
                listed.insert(pod.uid().unwrap_or_default());
                seen(&node, &living, pod);
            }
            // What is not there any more went while nobody looked.
            Ok(watcher::Event::InitDone) => {
                let known: Vec<String> = lock(&living).keys().cloned().collect();
                known
                    .iter()
                    .filter(|uid| !listed.contains(*uid))
                    .for_each(|uid| gone(&living, uid));
            }
            Err(error) => eprintln!("pods: {error}"),
        }
    }
    anyhow::bail!("the watch of the pods has ended")
}

fn seen(node: &Arc<Node>, living: &Living, pod: Pod) {
    let uid = pod.uid().unwrap_or_default();
    let is_to_go = pod.metadata.deletion_timestamp.is_some();
    let grace = is_to_go.then(|| {
        pod.metadata
            .deletion_grace_period_seconds
            .unwrap_or(30)
            .max(LEAST_GRACE_SECONDS)
    });
    let mut pods = lock(living);
    if let Some(told) = pods.get(&uid) {
        told.stop.send_if_modified(|known| shorten(known, grace));
        return;
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_over = matches!(phase, Some("Succeeded" | "Failed"));
    if is_over && !is_to_go {
        return;
    }
    let used: BTreeSet<u8> = pods.values().map(|told| told.address).collect();
    let next = || NEXT.fetch_add(1, Ordering::Relaxed);
    let Some(address) = (0..512)
        .map(|_| next())
        .find(|number| (1..255).contains(number) && !used.contains(number))
    else {
        eprintln!("no address is left for pod {}", pod.name_any());
        return;
    };
    let (stop, stopped) = watch::channel(grace);
    pods.insert(uid.clone(), Told { stop, address });
    drop(pods);
    let first = u32::from(node.settings.pods);
    let life = pod::life(node.clone(), pod, (Ipv4Addr::from(first + u32::from(address)), stopped));
    let living = living.clone();
    tokio::spawn(async move {
        if let Err(error) = life.await {
            eprintln!("pod {uid}: {error:#}");
        }
        lock(&living).remove(&uid);
    });
}

/// Its object is gone: so is the time that it had.
fn gone(living: &Living, uid: &str) {
    if let Some(told) = lock(living).get(uid) {
        told.stop
            .send_if_modified(|known| shorten(known, Some(LEAST_GRACE_SECONDS)));
    }
}

/// A grace can become shorter, and not longer. Returns whether it changed.
fn shorten(known: &mut Option<i64>, grace: Option<i64>) -> bool {
    let new = match (*known, grace) {
        (Some(known), Some(grace)) => Some(known.min(grace)),
        (known, grace) => known.or(grace),
    };
    std::mem::replace(known, new) != new
}

fn lock(living: &Living) -> std::sync::MutexGuard<'_, BTreeMap<String, Told>> {
    living.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The life of one pod: its volumes, its init containers one after the other, its containers beside one another, and its end.

mod container;
mod environment;
mod files;
mod identity;
mod probes;
mod quantity;
mod run;
mod status;
mod volumes;

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodSpec};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    runtime::events::EventType,
};
use serde_json::json;
use tokio::sync::watch;

use super::{
    Node, hosts,
    sandbox::{self, Sandbox},
};
use container::ContainerLife;
use status::States;
use volumes::Volumes;

/// Between two looks at what nobody tells of: a folder that is to appear, a token that grows old.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// Seconds until the end; none while the pod stays.
type Stop = watch::Receiver<Option<i64>>;

/// Waits until the pod is to go.
async fn told_to_go(stop: &mut Stop) {
    // The sender lives as long as the pod.
    let _ = stop.wait_for(Option::is_some).await;
}

/// What a pod's containers stand on.
#[derive(Clone)]
struct Ground {
    volumes: Arc<Volumes>,
    /// Process that holds the network.
    network: u32,
}

/// What all of a pod's containers share.
struct Life {
    node: Arc<Node>,
    pod: Pod,
    spec: PodSpec,
    folder: PathBuf,
    address: Ipv4Addr,
    states: watch::Sender<States>,
    stop: Stop,
}

/// Lives until the pod is gone, or until it has ended and nobody has deleted it yet.
pub(super) async fn life(node: Arc<Node>, pod: Pod, (address, stop): (Ipv4Addr, Stop)) -> anyhow::Result<()> {
    let spec = pod.spec.clone().unwrap_or_default();
    let life = Arc::new(Life {
        folder: node.settings.folder.join("pods").join(pod.uid().unwrap_or_default()),
        states: watch::channel(States::new(&spec)).0,
        node,
        pod,
        spec,
        address,
        stop,
    });
    std::fs::create_dir_all(&life.folder)?;
    let is_over = life
        .pod
        .status
        .as_ref()
        .is_some_and(|status| matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")));
    if !is_over {
        let reporting = tokio::spawn(life.clone().report());
        life.live().await;
        life.states.send_modify(|states| states.is_terminal = true);
        reporting.await?;
    }
    life.be_gone().await
}

impl Life {
    /// Until all containers have ended for good.
    async fn live(self: &Arc<Self>) {
        let Some((volumes, sandbox)) = self.until_stopped(self.ground()).await else {
            return;
        };
        let volumes = Arc::new(volumes);
        let keeping = tokio::spawn(self.clone().keep(volumes.clone()));
        let ground = Ground {
            volumes,
            network: sandbox.process(),
        };
        self.states.send_modify(|states| states.has_volumes = true);
        let mut is_initialized = true;
        for (index, container) in self
            .spec
            .init_containers
            .clone()
            .unwrap_or_default()
            .into_iter()
            .enumerate()
        {
            let place = (true, index);
            let code = ContainerLife::new(self.clone(), ground.clone(), container, place)
                .run()
                .await;
            if code != Some(0) {
                is_initialized = false;
                break;
            }
        }
        if is_initialized && self.stop.borrow().is_none() {
            self.states.send_modify(|states| states.is_initialized = true);
            let containers = self
                .spec
                .containers
                .iter()
                .cloned()
                .enumerate()
                .map(|(index, container)| {
                    ContainerLife::new(self.clone(), ground.clone(), container, (false, index)).run()
                });
            join_all(containers).await;
        }
        keeping.abort();
    }

    /// What all containers stand on.
    async fn ground(&self) -> (Volumes, Sandbox) {
        let volumes = self.volumes().await;
        let settings = &self.node.settings;
        let place = sandbox::Place {
            bridge: &settings.bridge,
            gateway: settings.gateway,
            address: self.address,
        };
        loop {
            match Sandbox::create(&place).await {
                Ok(sandbox) => return (volumes, sandbox),
                Err(error) => {
                    self.tell(EventType::Warning, "FailedCreatePodSandBox", &format!("{error:#}"))
                        .await
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// The volumes, as soon as all of them can be had.
    async fn volumes(&self) -> Volumes {
        let mut changes = self.node.known.changes();
        let mut told = None;
        loop {
            changes.borrow_and_update();
            match Volumes::prepare(self).await {
                Ok(volumes) => return volumes,
                Err(error) => {
                    let note = format!("MountVolume.SetUp failed: {error:#}");
                    if told.as_ref() != Some(&note) {
                        self.tell(EventType::Warning, "FailedMount", &note).await;
                        told = Some(note);
                    }
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(BETWEEN_LOOKS) => {}
            }
        }
    }

    /// Keeps what is mounted as it is in the cluster: Secrets, ConfigMaps, tokens, names of Services.
    async fn keep(self: Arc<Self>, volumes: Arc<Volumes>) {
        let mut changes = self.node.known.changes();
        loop {
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(BETWEEN_LOOKS * 30) => {}
            }
            changes.borrow_and_update();
            if let Err(error) = self.write_hosts() {
                eprintln!("pod {}: its hosts: {error}", self.pod.name_any());
            }
            if let Err(error) = volumes.refresh(&self).await {
                // What was mounted stays.
                eprintln!("pod {}: {error:#}", self.pod.name_any());
            }
        }
    }

    /// The file that is mounted as `/etc/hosts`.
    fn write_hosts(&self) -> std::io::Result<PathBuf> {
        let path = self.folder.join("hosts");
        let text = hosts::lines(&self.node.known, (&self.hostname(), &self.address.to_string()));
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            // Into the same file: it is mounted.
            std::fs::write(&path, text)?;
        }
        Ok(path)
    }

    fn hostname(&self) -> String {
        let name = self.spec.hostname.clone().unwrap_or_else(|| self.pod.name_any());
        name.chars().take(63).collect()
    }

    /// Tells the control plane of each change, until the pod has ended.
    async fn report(self: Arc<Self>) {
        let mut changes = self.states.subscribe();
        let mut sent = None;
        loop {
            let states = changes.borrow_and_update().clone();
            let status = status::of_pod(&self, &states, sent.as_ref());
            if sent.as_ref() != Some(&status) {
                let body = json!({"metadata": {"uid": self.pod.uid()}, "status": &status});
                match self
                    .api()
                    .patch_status(&self.pod.name_any(), &PatchParams::default(), &Patch::Strategic(body))
                    .await
                {
                    Ok(_) => sent = Some(status),
                    // It is gone, or another one has its name.
                    Err(kube::Error::Api(answer)) if [404, 409, 422].contains(&answer.code) => sent = Some(status),
                    Err(error) => {
                        eprintln!("status of {}: {error}", self.pod.name_any());
                        tokio::time::sleep(BETWEEN_LOOKS / 4).await;
                        changes.mark_changed();
                    }
                }
            }
            if states.is_terminal && sent.is_some() && !changes.has_changed().unwrap_or(false) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the pod is to go, and lets the control plane know that it is gone.
    async fn be_gone(&self) -> anyhow::Result<()> {
        let mut stop = self.stop.clone();
        told_to_go(&mut stop).await;
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: self.pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api().delete(&self.pod.name_any(), &parameters).await {
            Err(kube::Error::Api(answer)) if [404, 409].contains(&answer.code) => {}
            other => drop(other?),
        }
        // Logs stay beside it, for whoever looks why a test failed.
        self.unmount();
        std::fs::remove_dir_all(&self.folder)?;
        Ok(())
    }

    /// What a future gives, if the pod is not told to go before.
    async fn until_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut stop = self.stop.clone();
        tokio::select! {
            value = future => Some(value),
            () = told_to_go(&mut stop) => None,
        }
    }

    async fn tell(&self, type_: EventType, reason: &str, note: &str) {
        self.node.tell(&self.reference(), type_, (reason, note)).await;
    }

    fn reference(&self) -> ObjectReference {
        self.pod.object_ref(&())
    }

    fn namespace(&self) -> String {
        self.pod.namespace().unwrap_or_default()
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.node.client.clone(), &self.namespace())
    }
}

//! A node for tests: it does what a kubelet and a Service proxy do, but its pods are processes of this machine.
//!
//! A container has namespaces of its own for mounts, processes, names and IPC, an overlay of its image's root file system, its volumes, its
//! user and groups, its capabilities and its memory limit; a pod has a network of its own, with a cable to the cluster's bridge. What the
//! control plane is told (phases, conditions, states, reasons,
//! exit codes, events) is what a kubelet tells, because the controllers act on it. Waiting between restarts is shorter than a kubelet's.
//!
//! Not here: network policies, seccomp profiles, sidecars, lifecycle hooks, `kubectl exec` and `logs` (logs are files under the node's folder).

mod backends;
pub mod confinement;
mod heartbeat;
mod hosts;
mod images;
mod known;
mod pod;
mod pods;
mod provisioner;
mod proxy;
pub mod sandbox;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use tokio::signal::unix::{SignalKind, signal};

pub use images::{Image, Images};
use known::Known;
pub(crate) use provisioner::{CLASS, PROVISIONER};

/// What a node is started with. The cluster is the one of `KUBECONFIG`.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Its name.
    #[arg(long)]
    name: String,
    /// Folder for what its pods keep, and for their logs.
    #[arg(long)]
    folder: PathBuf,
    /// First address of its pods; it has the 254 after it.
    #[arg(long)]
    pods: Ipv4Addr,
    /// Bridge that joins all pods.
    #[arg(long)]
    bridge: String,
    /// This machine's address there.
    #[arg(long)]
    gateway: Ipv4Addr,
    /// File with the images that can be pulled: JSON, names to images.
    #[arg(long)]
    images: PathBuf,
    /// Folder with the claims of all nodes.
    #[arg(long)]
    claims: PathBuf,
    /// First address of the Services.
    #[arg(long)]
    services: Ipv4Addr,
    /// Also listens for all Services, and provisions volumes: one node of a cluster does. Where the API server is.
    #[arg(long)]
    serves: Option<SocketAddr>,
    /// What it has: `cpu=4`; repeatable.
    #[arg(long = "capacity", value_parser = pair)]
    capacity: Vec<(String, String)>,
    /// Labels: `zone=a`; repeatable.
    #[arg(long = "label", value_parser = pair)]
    labels: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

/// A running node.
pub(crate) struct Node {
    client: Client,
    settings: Settings,
    known: Known,
    recorder: Recorder,
}

impl Node {
    /// Tells the cluster of something that befell an object. Events are news, not state: one that is lost is not told again.
    async fn tell(&self, about: &ObjectReference, type_: EventType, (reason, note): (&str, &str)) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(1000).collect()),
            action: reason.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            eprintln!("event {reason}: {error}");
        }
    }

    /// The variables with which a pod finds the API server.
    fn cluster_variables(&self) -> BTreeMap<String, String> {
        let address = Ipv4Addr::from(u32::from(self.settings.services) + 1);
        BTreeMap::from([
            ("KUBERNETES_SERVICE_HOST".to_owned(), address.to_string()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
        ])
    }
}

/// Serves until SIGTERM.
///
/// # Errors
/// If the cluster cannot be reached, or this is not root.
pub fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    // What it mounts goes with it. Before there are threads: each would have a namespace of its own.
    unshare(CloneFlags::CLONE_NEWNS).context("a node needs root")?;
    confinement::keep_mounts_private()?;
    let layers = settings.folder.join("layers");
    std::fs::create_dir_all(&layers)?;
    // An overlay does not take layers that lie below one another.
    mount(Some("tmpfs"), &layers, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    // One thread: a container is killed when the thread that started it is gone.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(settings))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("KUBECONFIG has to name a cluster")?;
    let reporter = Reporter {
        controller: "kubelet".to_owned(),
        instance: Some(settings.name.clone()),
    };
    let known = Known::of_cluster(&client);
    let node = Arc::new(Node {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        settings,
        known,
    });
    node.known.is_complete().await;
    heartbeat::register(&node).await?;
    if let Some(api_server) = node.settings.serves {
        tokio::spawn(proxy::serve(node.clone(), api_server));
        tokio::spawn(provisioner::serve(node.clone()));
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        never = pods::serve(node.clone()) => never,
        never = heartbeat::beat(node.clone()) => never,
        _ = terminate.recv() => Ok(()),
    }
}

//! A whole cluster: the control plane with its controllers, and nodes that run pods.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;
use firn_tests::{binaries::binary, skip::skipped};
use nix::{sys::signal::Signal, unistd::Uid};
use serde_json::json;

use crate::{
    api_server::ControlPlane,
    controllers::{Controllers, SHORT_TOLERATIONS},
    kubectl::Kubectl,
    node::{CLASS, Image, Images, PROVISIONER},
    process::Process,
    programs::Programs,
    subnet::{self, Subnet},
};

/// A cluster that runs until it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // In this order: the pods before those who would replace them, and these before the store.
    nodes: Vec<(String, Process)>,
    _controllers: Controllers,
    control: ControlPlane,
    subnet: Subnet,
    images: Mutex<Images>,
}

impl Cluster {
    /// Starts one with so many nodes, called `node-0` and so on. `None`, said aloud, where this cannot be.
    ///
    /// # Panics
    /// If a program does not start.
    pub fn start(nodes: u8) -> Option<Self> {
        let programs = Programs::of_cluster()?;
        if !Uid::effective().is_root() {
            skipped("only root can run the pods of a cluster");
            return None;
        }
        if let Err(error) = subnet::try_one() {
            skipped(&format!(
                "this machine has no networks for the pods of a cluster: {error:#}"
            ));
            return None;
        }
        let started = Self::try_start(&programs, nodes);
        Some(started.unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn try_start(programs: &Programs, nodes: u8) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let subnet = Subnet::take(folder.path())?;
        let control = ControlPlane::start_in(folder, programs, subnet.services(), &SHORT_TOLERATIONS)?;
        let controllers = Controllers::start(programs, &control)?;
        let mut cluster = Self {
            nodes: Vec::new(),
            _controllers: controllers,
            control,
            subnet,
            images: Mutex::default(),
        };
        std::fs::create_dir(cluster.claims())?;
        cluster.write_images(&Images::new())?;
        let class = json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": PROVISIONER,
        });
        cluster.kubectl().must(&["create", "-f", "-"], &class.to_string());
        for _ in 0..nodes {
            cluster.add_node(&[], &[])?;
        }
        cluster.wait_for_account("default");
        cluster.wait_for_nodes();
        Ok(cluster)
    }

    /// Adds a node with labels, and with more of something than others have: `("nvidia.com/gpu", "2")`. Returns its name.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn add_node(&mut self, labels: &[(&str, &str)], capacity: &[(&str, &str)]) -> anyhow::Result<String> {
        let number = u8::try_from(self.nodes.len())?;
        let name = format!("node-{number}");
        let folder = self.folder().join(&name);
        std::fs::create_dir(&folder)?;
        let mut arguments = vec!["run".to_owned()];
        let mut flag = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        flag("name", name.clone());
        flag("folder", folder.display().to_string());
        flag("pods", self.subnet.pods(number)?.to_string());
        flag("bridge", self.subnet.bridge());
        flag("gateway", self.subnet.gateway().to_string());
        flag("services", self.subnet.services().to_string());
        flag("images", self.image_file().display().to_string());
        flag("claims", self.claims().display().to_string());
        if number == 0 {
            let server = SocketAddr::from((Ipv4Addr::LOCALHOST, self.control.port()));
            flag("serves", server.to_string());
        }
        labels
            .iter()
            .for_each(|(label, value)| flag("label", format!("{label}={value}")));
        capacity
            .iter()
            .for_each(|(resource, amount)| flag("capacity", format!("{resource}={amount}")));
        let variables = [("KUBECONFIG", self.kubectl().kubeconfig())];
        let program = binary("firn-test-node");
        let process = Process::start_tidy(&name, (&program, &arguments), self.folder(), &variables)?;
        self.nodes.push((name.clone(), process));
        Ok(name)
    }

    /// Waits until all nodes are ready.
    ///
    /// # Panics
    /// If one is not.
    pub fn wait_for_nodes(&self) {
        for (name, _) in &self.nodes {
            for condition in ["--for=create", "--for=condition=Ready"] {
                let node = format!("node/{name}");
                self.kubectl().must(&["wait", condition, &node, "--timeout=120s"], "");
            }
        }
    }

    /// An image that can be pulled from now on.
    ///
    /// # Errors
    /// If the list of images cannot be written.
    pub fn add_image(&self, name: &str, image: Image) -> anyhow::Result<()> {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.insert(name.to_owned(), image);
        self.write_images(&images)
    }

    fn write_images(&self, images: &Images) -> anyhow::Result<()> {
        // Whole or not at all: nodes read it at any time.
        let new = self.folder().join("images.new");
        std::fs::write(&new, serde_json::to_vec(images)?)?;
        Ok(std::fs::rename(new, self.image_file())?)
    }

    /// A namespace in which pods can be made; labels as `kubectl` takes them.
    ///
    /// # Panics
    /// If it is there already.
    pub fn create_namespace(&self, name: &str, labels: &[&str]) {
        self.kubectl().must(&["create", "namespace", name], "");
        if !labels.is_empty() {
            self.kubectl()
                .must(&[&["label", "namespace", name], labels].concat(), "");
        }
        self.wait_for_account(name);
    }

    fn wait_for_account(&self, namespace: &str) {
        for what in ["serviceaccount/default", "configmap/kube-root-ca.crt"] {
            let wait = ["wait", "--for=create", what, "--namespace", namespace, "--timeout=120s"];
            self.kubectl().must(&wait, "");
        }
    }

    /// `kubectl` as an administrator.
    pub fn kubectl(&self) -> &Kubectl {
        self.control.kubectl()
    }

    /// Where the cluster keeps its files; logs of its programs and nodes are there.
    pub fn folder(&self) -> &Path {
        self.control.folder()
    }

    /// A node falls silent, as if its machine had hung; its containers run on.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn silence(&self, node: &str) -> anyhow::Result<()> {
        self.node(node)?.signal(Signal::SIGSTOP)
    }

    /// A node that was silent goes on.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn wake(&self, node: &str) -> anyhow::Result<()> {
        self.node(node)?.signal(Signal::SIGCONT)
    }

    fn node(&self, name: &str) -> anyhow::Result<&Process> {
        let mut nodes = self.nodes.iter();
        let (_, process) = nodes
            .find(|(known, _)| known == name)
            .with_context(|| format!("no node {name}"))?;
        Ok(process)
    }

    /// What the containers of a pod have said, wherever it ran, with the names of the files.
    pub fn logs(&self, namespace: &str, pod: &str) -> String {
        let mut all = String::new();
        for (node, _) in &self.nodes {
            let folder = self.folder().join(node).join("logs");
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with(&format!("{namespace}_{pod}")) {
                    let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                    all.push_str(&format!("--- {node}/{name}\n{text}"));
                }
            }
        }
        all
    }

    fn claims(&self) -> PathBuf {
        self.folder().join("claims")
    }

    fn image_file(&self) -> PathBuf {
        self.folder().join("images.json")
    }
}

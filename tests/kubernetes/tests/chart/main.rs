//! The chart: what linters say of it, what a real API server says of it, and what becomes of a release.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod life;
mod linters;
mod manifests;
mod rights;
mod schemas;
mod secrets;
mod server;

use std::{fs, path::PathBuf, sync::LazyLock};

use firn_kubernetes_tests::{ControlPlane, Kubectl, Programs};
use firn_tests::binaries::repository;
use serde_json::{Value, json};

/// Where the chart is installed.
const HOME: &str = "firn-system";

/// A file of values, and what the cluster has that it is for.
struct Values {
    name: &'static str,
    file: PathBuf,
    has_cert_manager: bool,
}

/// All files of values, the older ones included.
fn all_values() -> Vec<Values> {
    let folder = repository().join("tests/kubernetes/values");
    let of = |name: &'static str| Values {
        name,
        file: folder.join(format!("{name}.yaml")),
        has_cert_manager: ["cert-manager", "own-issuer"].contains(&name),
    };
    let known = [
        "least",
        "everything",
        "all-namespaces",
        "cert-manager",
        "own-issuer",
        "given-secrets",
        "older/0.1.0",
    ];
    let files = |folder: PathBuf| {
        fs::read_dir(folder)
            .unwrap()
            .filter(|file| file.as_ref().unwrap().path().is_file())
            .count()
    };
    assert_eq!(files(folder.clone()) + files(folder.join("older")), known.len());
    known.map(of).into()
}

impl Values {
    /// Arguments of `helm template` for the cluster that they are for.
    fn cluster(&self) -> &'static [&'static str] {
        match self.has_cert_manager {
            true => &["--api-versions", "cert-manager.io/v1"],
            false => &[],
        }
    }
}

/// An API server with the definitions of others, and with namespaces of which that of the release enforces the strictest policy.
static CLUSTER: LazyLock<Option<(Programs, ControlPlane)>> = LazyLock::new(|| {
    let programs = Programs::find(&[
        "control-plane",
        "helm",
        "kube-score",
        "kubeconform",
        "definitions",
        "certificates.yaml",
        "issuers.yaml",
    ])?;
    let cluster = ControlPlane::start(&programs).unwrap_or_else(|error| panic!("{error:#}"));
    let kubectl = cluster.kubectl();
    for name in [HOME, "team-a", "team-b"] {
        let policy = json!({"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": policy}});
        kubectl.must(&["create", "-f", "-"], &namespace.to_string());
    }
    for name in ["certificates.yaml", "issuers.yaml", "servicemonitors.yaml"] {
        let text = fs::read_to_string(programs.path(name)).unwrap();
        for mut definition in firn_kubernetes_tests::documents(&text) {
            // Of another chart, with what that would fill in.
            definition["metadata"]["labels"] = Value::Null;
            kubectl.define(&definition);
        }
    }
    Some((programs, cluster))
});

/// `None`, said aloud, where the programs are not there.
fn cluster() -> Option<(&'static Programs, &'static Kubectl)> {
    CLUSTER
        .as_ref()
        .map(|(programs, cluster)| (programs, cluster.kubectl()))
}

/// The template of the pods of a document, if it makes any.
fn pod_template(document: &Value) -> Option<&Value> {
    document
        .pointer("/spec/template")
        .filter(|template| template["spec"]["containers"].is_array())
}

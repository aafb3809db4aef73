//! cert-manager, with the definitions and the rights that its own chart brings: its real controllers for certificates, requests of them, and
//! authorities of its own (`modules/cert-manager/main.go`), in a pod of the cluster. Its webhooks are left out: what they check is checked
//! by the definitions for the most part.

use serde_json::{Value, json};

use crate::{
    Cluster, Programs,
    neighbour::{Neighbour, TAG},
};

/// Parts of the chart, by their label: the controller, what it may approve, and the definitions.
const PARTS: [&str; 3] = ["controller", "cert-manager", "crds"];

/// It is in the cluster until this is dropped, and leaves nothing behind but the Secrets that it made.
#[derive(Debug)]
pub struct CertManager<'a> {
    cluster: &'a Cluster,
    objects: String,
}

impl<'a> CertManager<'a> {
    /// Where Secrets of ClusterIssuers are.
    pub const HOME: &'static str = "cert-manager";

    /// Installs it on a node with such a label, and waits until it runs.
    ///
    /// # Panics
    /// If it does not.
    pub fn install(cluster: &'a Cluster, programs: &Programs, (label, value): (&str, &str)) -> Self {
        let neighbour = Neighbour {
            name: "cert-manager",
            namespace: Self::HOME,
            deployment: "cert-manager",
            entrypoint: "/controller",
            values: json!({
                "crds": {"enabled": true, "keep": false},
                "startupapicheck": {"enabled": false},
                "image": {"repository": "cert-manager", "tag": TAG},
                "livenessProbe": {"enabled": false},
                "nodeSelector": {label: value},
            }),
        };
        let objects = neighbour.install(cluster, programs, wanted);
        for name in ["certificates", "certificaterequests", "issuers", "clusterissuers"] {
            let definition = format!("crd/{name}.cert-manager.io");
            let arguments = ["wait", "--for=condition=Established", &definition, "--timeout=60s"];
            cluster.kubectl().must(&arguments, "");
        }
        Self { cluster, objects }
    }
}

impl Drop for CertManager<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "--ignore-not-found", "--timeout=120s", "-f", "-"];
        let deleted = self.cluster.kubectl().run(&delete, &self.objects);
        let namespace = ["delete", "namespace", Self::HOME, "--timeout=120s"];
        let gone = self.cluster.kubectl().run(&namespace, "");
        for answer in [deleted, gone].iter().filter(|answer| !answer.succeeded) {
            eprintln!("cert-manager is not gone: {}", answer.talk);
        }
    }
}

/// What of the chart is wanted; of the flags, that which the program here knows.
fn wanted(mut object: Value) -> Option<Value> {
    let part = object
        .pointer("/metadata/labels/app.kubernetes.io~1component")?
        .as_str()?;
    if !PARTS.contains(&part) {
        return None;
    }
    if let Some(arguments) = object.pointer_mut("/spec/template/spec/containers/0/args") {
        let is_known = |argument: &Value| {
            argument
                .as_str()
                .is_some_and(|text| text.starts_with("--cluster-resource-namespace="))
        };
        arguments.as_array_mut()?.retain(is_known);
    }
    Some(object)
}

//! How the chart gets into the cluster, and the administrator to the coordinator.

use std::{fs, path::Path};

use firn_kubernetes_tests::{Answer, Cluster, Helm, Kubectl, node::Image};
use firn_tests::{binaries::binary, proxy::link::LinkProxy};
use serde_json::{Value, json};

use crate::release::{HOME, TEAMS};

/// Both images are this machine with the programs under test.
pub(crate) fn add_images(cluster: &Cluster) {
    let programs = binary("firn").parent().unwrap().to_owned();
    for (name, program) in [("firn:0.1.0", "firn"), ("firn-worker:0.1.0", "firn-worker")] {
        let mut image = Image::of_this_machine();
        image.entrypoint = vec![program.to_owned()];
        image.shared = vec![programs.clone()];
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display());
        image.environment.insert("PATH".to_owned(), path);
        cluster.add_image(name, image).unwrap();
    }
}

pub(crate) fn values_of_the_tests() -> Value {
    let placed = json!({"role": "control"});
    json!({
        "namespaces": TEAMS,
        "coordinator": {"leaseSeconds": 5, "nodeSelector": placed},
        "operator": {"nodeSelector": placed},
        "workers": {"graceSeconds": 20},
    })
}

/// The release, installed or upgraded.
pub(crate) fn charted(helm: &Helm, cluster: &Cluster, verb: &str, more: &[&str]) -> Answer {
    let (chart, values) = (Helm::chart(), cluster.folder().join("values.yaml"));
    let (chart, values) = (chart.display().to_string(), values.display().to_string());
    let place = ["--namespace", HOME, "--values", &values, "--wait", "--timeout", "5m"];
    helm.run(&[&[verb, "firn", &chart], place.as_slice(), more].concat())
}

/// As `kubectl port-forward` does.
pub(crate) fn forward(kubectl: &Kubectl) -> LinkProxy {
    let address = [
        "--namespace",
        HOME,
        "get",
        "service",
        "firn-coordinator",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ];
    let address = kubectl.must(&address, "");
    LinkProxy::start(format!("{address}:7070").parse().unwrap()).unwrap()
}

/// The files that the notes of the chart lead to.
pub(crate) fn administrator(kubectl: &Kubectl, folder: &Path) {
    for key in ["token", "ca.crt"] {
        let path = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        let text = kubectl.must(&["--namespace", HOME, "get", "secret", "firn-admin", "-o", &path], "");
        fs::write(folder.join(key), text).unwrap();
    }
}

/// What a story may have left that has failed goes: resources, policies, the release with all that it keeps, taints of nodes. What is not there, or
/// does not go, is nothing to fail for.
pub(crate) fn clear(helm: &Helm, kubectl: &Kubectl) {
    let try_to = |arguments: &[&str]| kubectl.run(arguments, "").succeeded;
    try_to(&[
        "delete",
        "validatingadmissionpolicybinding,validatingadmissionpolicy",
        "closed",
    ]);
    try_to(&["uncordon", "node-0", "node-1", "node-2"]);
    try_to(&["taint", "node", "--all", "node.kubernetes.io/out-of-service-"]);
    for team in TEAMS {
        let team = |arguments: &[&str]| try_to(&[&["--namespace", team], arguments].concat());
        team(&["delete", "ftj", "--all", "--timeout=120s"]);
        team(&["delete", "resourcequota", "--all"]);
    }
    helm.run(&["uninstall", "firn", "--namespace", HOME, "--wait", "--timeout", "2m"]);
    for kinds in ["statefulset,deployment,job", "secret,pvc"] {
        try_to(&["--namespace", HOME, "delete", kinds, "--all", "--timeout=120s"]);
    }
}

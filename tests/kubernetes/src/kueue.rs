//! Kueue, as its own chart brings it: the real controller, in a pod of the cluster, with its webhooks and the rights that it asks for.

use std::fs;

use serde_json::{Value, json};

use crate::{Cluster, Helm, Programs, documents, node::Image};

/// Where it lives; its own settings know no other place.
const KUEUE: &str = "kueue-system";
/// Name of the image; that is only known in the cluster.
const IMAGE: (&str, &str) = ("kueue", "built");
/// The user of an image that names none as a number.
const NOBODY: u32 = 65_532;

/// Installs it on a node with such a label, and waits until it serves.
///
/// # Panics
/// If it does not.
pub fn install_kueue(cluster: &Cluster, programs: &Programs, node: (&str, &str)) {
    let (name, tag) = IMAGE;
    let image = image(cluster, programs).and_then(|image| cluster.add_image(&format!("{name}:{tag}"), image));
    image.expect("an image can be made");
    cluster.create_namespace(KUEUE, &[]);
    let values = cluster.folder().join("kueue.yaml");
    fs::write(&values, chart_values(node).to_string()).expect("a file can be written");
    let (chart, values) = (programs.path("kueue-chart"), values.display().to_string());
    let chart = chart.display().to_string();
    let made = Helm::new(programs).must(&["template", "kueue", &chart, "--namespace", KUEUE, "--values", &values]);
    // The API server here leads to no servers of others' APIs; with this one people would look at queues.
    let objects = documents(&made)
        .into_iter()
        .filter(|object| object["kind"] != "APIService");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<Value>>()});
    let kubectl = cluster.kubectl();
    kubectl.must(&["apply", "--server-side", "-f", "-"], &list.to_string());
    let ready = [
        "--namespace",
        KUEUE,
        "wait",
        "--for=condition=Available",
        "deployment/kueue-controller-manager",
        "--timeout=300s",
    ];
    let ready = kubectl.run(&ready, "");
    assert!(ready.succeeded, "{}\n{}", ready.talk, cluster.logs(KUEUE, ""));
}

/// An image of nothing but the program, at its place.
fn image(cluster: &Cluster, programs: &Programs) -> anyhow::Result<Image> {
    let root = cluster.folder().join("kueue");
    fs::create_dir(&root)?;
    fs::copy(programs.path("kueue"), root.join("manager"))?;
    Ok(Image {
        root,
        user: NOBODY,
        ..Image::of_this_machine()
    })
}

/// It governs `batch/v1` Jobs alone.
fn chart_values((label, value): (&str, &str)) -> Value {
    let settings = json!({
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": ":8081"},
        "metrics": {"bindAddress": ":8443"},
        "webhook": {"port": 9443},
        "leaderElection": {"leaderElect": false},
        "integrations": {"frameworks": ["batch/job"]},
    });
    let (repository, tag) = IMAGE;
    json!({
        "controllerManager": {
            "featureGates": [{"name": "VisibilityOnDemand", "enabled": false}],
            "manager": {
                "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
                "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
            },
            "nodeSelector": {label: value},
        },
        "managerConfig": {"controllerManagerConfigYaml": settings.to_string()},
    })
}

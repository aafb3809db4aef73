//! Kueue, as its own chart brings it: the real controller, in a pod of the cluster, with its webhooks and the rights that it asks for.

use serde_json::{Value, json};

use crate::{
    Cluster, Programs,
    neighbour::{Neighbour, TAG},
};

/// Installs it on a node with such a label, and waits until it serves.
///
/// # Panics
/// If it does not.
pub fn install_kueue(cluster: &Cluster, programs: &Programs, node: (&str, &str)) {
    let kueue = Neighbour {
        name: "kueue",
        // Its own settings know no other place.
        namespace: "kueue-system",
        deployment: "kueue-controller-manager",
        entrypoint: "/manager",
        values: chart_values(node),
    };
    // The API server here leads to no servers of others' APIs; with this one people would look at queues.
    kueue.install(cluster, programs, |object| {
        Some(object).filter(|object| object["kind"] != "APIService")
    });
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
    json!({
        "controllerManager": {
            "featureGates": [{"name": "VisibilityOnDemand", "enabled": false}],
            "manager": {
                "image": {"repository": "kueue", "tag": TAG, "pullPolicy": "IfNotPresent"},
                "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
            },
            "nodeSelector": {label: value},
        },
        "managerConfig": {"controllerManagerConfigYaml": settings.to_string()},
    })
}

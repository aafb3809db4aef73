//! A node's place in the cluster: its object, its status and its lease.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Node as NodeObject},
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value, json};

use super::Node;

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// Writes the node and its lease.
const MANAGER: &str = "firn-test-node";

/// Makes the node, or takes it up again, and says that it is ready.
pub(super) async fn register(node: &Node) -> anyhow::Result<()> {
    let name = &node.settings.name;
    let mut labels = Map::new();
    for (label, value) in [
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
    ] {
        labels.insert(label.to_owned(), json!(value));
    }
    labels.extend(
        node.settings
            .labels
            .iter()
            .map(|(label, value)| (label.clone(), json!(value))),
    );
    let nodes: Api<NodeObject> = Api::all(node.client.clone());
    let parameters = PatchParams::apply(MANAGER).force();
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
    nodes.patch(name, &parameters, &Patch::Apply(object)).await?;
    renew(node).await?;
    let status = json!({"status": status(node)});
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(status))
        .await?;
    Ok(())
}

/// Says again and again that the node lives.
pub(super) async fn beat(node: Arc<Node>) -> anyhow::Result<()> {
    let nodes: Api<NodeObject> = Api::all(node.client.clone());
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = renew(&node).await {
            eprintln!("lease: {error}");
        }
        // The control plane writes `Unknown` into the conditions of a node that was silent.
        let is_ready = |object: &NodeObject| {
            let conditions = object
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten());
            conditions
                .clone()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        match nodes.get_opt(&node.settings.name).await {
            Ok(Some(object)) if is_ready(&object) => {}
            Ok(_) => {
                if let Err(error) = register(&node).await {
                    eprintln!("status: {error}");
                }
            }
            Err(error) => eprintln!("node: {error}"),
        }
    }
}

async fn renew(node: &Node) -> kube::Result<()> {
    let name = &node.settings.name;
    let leases: Api<Lease> = Api::namespaced(node.client.clone(), "kube-node-lease");
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now},
    });
    let parameters = PatchParams::apply(MANAGER).force();
    leases.patch(name, &parameters, &Patch::Apply(lease)).await?;
    Ok(())
}

fn status(node: &Node) -> Value {
    let mut capacity = json!({"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    for (resource, amount) in &node.settings.capacity {
        capacity[resource] = json!(amount);
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |type_: &str, status: &str, reason: &str| {
        json!({"type": type_, "status": status, "reason": reason, "message": reason,
               "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    json!({
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": node.settings.name}],
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        ],
        "nodeInfo": {
            "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "firn-test-node://1", "kernelVersion": "",
            "kubeProxyVersion": "", "kubeletVersion": "v1.37.2", "machineID": "", "operatingSystem": "linux",
            "osImage": "the machine of the test", "systemUUID": "",
        },
    })
}

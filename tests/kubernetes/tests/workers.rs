//! The pods of a resource, as an API server that enforces the strictest policy takes them.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use firn_kubernetes_tests::{ControlPlane, Programs};
use firn_operator::resource::{self, FineTuneJob};
use firn_operator::workers::identity::{SharedFiles, secret};
use firn_operator::workers::{WorkerSettings, workers_job};
use serde_json::{Value, json};

fn document(device: &str) -> Value {
    json!({
        "apiVersion": "firn.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": device, "namespace": "team-a"},
        "spec": {
            "task": {"type": "classification"},
            "model": {"architecture": "resnet18"},
            "data": {"format": "imagefolder", "train": {"uri": "/data/train"}},
            "resources": {"workers": {"min": 1, "max": 2}, "device": device},
            "worker": {
                "resources": {"limits": {"cpu": 2, "memory": "4Gi"}},
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "pictures"}}],
                "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}],
            },
        },
    })
}

#[test]
fn the_pods_are_admitted_where_the_restricted_policy_is_enforced() {
    let Some(programs) = Programs::of_api_server() else {
        return;
    };
    let cluster = ControlPlane::start(&programs).unwrap();
    let kubectl = cluster.kubectl();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    }}});
    kubectl.must(&["create", "-f", "-"], &namespace.to_string());
    // A controller makes it elsewhere.
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "team-a"}});
    kubectl.must(&["create", "-f", "-"], &account.to_string());
    kubectl.define(&resource::crd());
    let folder = tempfile::tempdir().unwrap();
    for name in ["tls.crt", "tls.key"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let settings: WorkerSettings = serde_json::from_value(json!({
        "image": "firn-worker:0.1.0",
        "coordinator": "https://firn-coordinator.firn-system.svc:7070",
        "authority": folder.path().join("tls.crt"),
        "certificate": folder.path(),
    }))
    .unwrap();
    for device in ["auto", "cpu", "gpu"] {
        kubectl.must(&["create", "-f", "-"], &document(device).to_string());
        let stored = kubectl.must(&["get", "ftj", device, "--namespace", "team-a", "-o", "json"], "");
        let resource: FineTuneJob = serde_json::from_str(&stored).unwrap();
        let files = SharedFiles::read(&settings).unwrap();
        let job = workers_job(&resource, (device, &resource.job().unwrap()), &settings, &files).unwrap();
        let secret = secret(&resource, "token", &files);
        kubectl.must(&["create", "--validate=strict", "-f", "-"], &json!(secret).to_string());
        // It warns of a policy that the pods would break, and refuses what is not a Job.
        let created = kubectl.must(&["create", "--validate=strict", "-f", "-"], &json!(job).to_string());
        assert_eq!(created, format!("job.batch/{device}-workers created"));
        let template = json!(job)["spec"]["template"].clone();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
                         "metadata": {"name": device, "namespace": "team-a", "labels": template["metadata"]["labels"]}});
        kubectl.must(&["create", "--dry-run=server", "-f", "-"], &pod.to_string());
    }
    // And the policy is there: a pod that may be root is refused.
    let root = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": "team-a"},
                      "spec": {"containers": [{"name": "worker", "image": "x"}]}});
    let refused = kubectl.run(&["create", "--dry-run=server", "-f", "-"], &root.to_string());
    assert!(
        refused.talk.contains("violates PodSecurity \"restricted:latest\""),
        "{}",
        refused.talk
    );
}

//! Nodes that are drained, and nodes that fall silent.

use std::sync::Arc;

use serde_json::json;

use crate::place::{Place, script, start};

#[test]
fn a_drained_node_gives_its_pods_to_others_and_a_silent_one_loses_them() {
    let Some(cluster) = start() else { return };
    let place = Place::on(Arc::new(cluster), "moved");
    let mut spec = script("x", "trap 'exit 0' TERM; while :; do sleep 0.1; done")["spec"].clone();
    spec["restartPolicy"] = json!("Always");
    place.create(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "one"}},
                 "template": {"metadata": {"labels": {"app": "one"}}, "spec": spec}},
    }));
    place.wait("deployment/one", ".status.readyReplicas", "1");
    let node_of = || {
        place.kubectl(
            &[
                "get",
                "pod",
                "-l",
                "app=one",
                "-o",
                "jsonpath={.items[0].spec.nodeName}",
            ],
            "",
        )
    };
    let first = node_of();
    // It says what it does, and that is no warning.
    let drained = place.cluster.kubectl().run(&["drain", &first, "--timeout=60s"], "");
    assert!(drained.succeeded, "{}", drained.talk);
    place.wait("deployment/one", ".status.readyReplicas", "1");
    let second = node_of();
    assert_ne!(first, second);
    place.cluster.kubectl().must(&["uncordon", &first], "");

    let pod = place.kubectl(&["get", "pod", "-l", "app=one", "-o", "name"], "");
    place.cluster.silence(&second).unwrap();
    place.wait_for(&format!("node/{second}"), "condition=Ready=Unknown");
    place.wait_for(&pod, "jsonpath={.metadata.deletionTimestamp}");
    place.wait("deployment/one", ".status.readyReplicas", "1");
    let nodes = place.kubectl(
        &[
            "get",
            "pod",
            "-l",
            "app=one",
            "-o",
            "jsonpath={.items[*].spec.nodeName}",
        ],
        "",
    );
    assert!(nodes.contains(&first), "{nodes}");
    // The pod stays where nobody can end it, until the node speaks again.
    place.get("pod", pod.trim_start_matches("pod/"));
    place.cluster.wake(&second).unwrap();
    place.wait_for(&format!("node/{second}"), "condition=Ready");
    place.wait_for(&pod, "delete");
}

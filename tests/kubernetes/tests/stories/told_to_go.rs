//! Pods that the cluster takes away on purpose: nothing is lost, and they come again.

use serde_json::json;

use crate::release::{Story, job, step};

/// At most one step is lost, no restart is counted.
fn nothing_was_lost(story: &Story, job: &str, what: &str) {
    let (status, receipt) = story.succeeds(job);
    let back = receipt.steps_taken_back();
    story.figure(&format!(
        "{what}: {back} steps lost, {} restarts counted",
        status["restarts"]
    ));
    assert!(back <= 1, "{}", receipt.0);
    assert_eq!(status["restarts"], 0, "{status}");
}

#[test]
fn a_drained_node_loses_no_step_and_the_gang_grows_back() {
    let Some(story) = Story::begin() else { return };
    story.apply(&job("drained", 150, (1, 2)));
    story.trains("drained", 2, 20);
    let before = story.pods("drained");
    let (gone, node) = before[1].clone();
    let drained = story
        .kubectl()
        .run(&["drain", &node, "--delete-emptydir-data", "--timeout=120s"], "");
    assert!(drained.succeeded, "{}\n{}", drained.talk, story.scene());
    story.figure("drained");
    let smaller = story.get("ftj", "drained")["status"].clone();
    story.trains("drained", 2, step(&smaller) + 5);
    story.figure("two workers train again");
    let after = story.pods("drained");
    assert_eq!(after.len(), 2, "{after:?}");
    assert!(
        after.iter().all(|(name, at)| *name != gone && *at != node),
        "{after:?} {node}"
    );
    story.kubectl().must(&["uncordon", &node], "");
    nothing_was_lost(&story, "drained", "drain");
    story.delete("drained");
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn a_pod_that_makes_room_for_a_more_urgent_one_loses_no_step() {
    let Some(story) = Story::begin() else { return };
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "urgent"}, "value": 1000});
    story.kubectl().must(&["create", "-f", "-"], &class.to_string());
    // The two nodes have room for sixteen each: one fills its own.
    let mut wide = job("preempted", 150, (1, 2));
    wide["spec"]["worker"]["resources"]["requests"]["cpu"] = json!("10");
    story.apply(&wide);
    story.trains("preempted", 2, 20);
    let before = story.pods("preempted");
    let urgent = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "urgent"},
        "spec": {
            "restartPolicy": "Never", "priorityClassName": "urgent", "terminationGracePeriodSeconds": 1, "nodeSelector": {"role": "work"},
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "main", "image": "firn-worker:0.1.0", "command": ["sleep", "1000"],
                            "resources": {"requests": {"cpu": "10"}},
                            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        },
    });
    story.team(&["create", "-f", "-"], &urgent.to_string());
    story.wait("pod/urgent", "condition=Ready");
    story.figure("the urgent pod runs");
    let alone = story.trains("preempted", 1, 0);
    story.trains("preempted", 1, step(&alone) + 5);
    story.team(&["delete", "pod", "urgent"], "");
    let smaller = story.get("ftj", "preempted")["status"].clone();
    story.trains("preempted", 2, step(&smaller) + 5);
    story.figure("two workers train again");
    let after = story.pods("preempted");
    assert!(after.len() == 2 && after != before, "{after:?}");
    nothing_was_lost(&story, "preempted", "preemption");
    story.delete("preempted");
    story.kubectl().must(&["delete", "priorityclass", "urgent"], "");
}

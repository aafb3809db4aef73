//! Pods that cannot start yet say why, and start when they can.

use serde_json::json;

use crate::place::{IMAGE, Place, script, script_with, start};

const REASON: &str = ".status.containerStatuses[0].state.waiting.reason";

#[test]
fn an_image_that_cannot_be_pulled_is_tried_again() {
    // Of its own: it gets a new image.
    let Some(cluster) = start() else { return };
    let image = firn_kubernetes_tests::node::Image::of_this_machine();
    cluster.create_namespace("images", &[]);
    let mut pod = script("early", "true");
    pod["spec"]["containers"][0]["image"] = json!("not-yet:1");
    cluster
        .kubectl()
        .must(&["--namespace", "images", "create", "-f", "-"], &pod.to_string());
    let wait = |condition: &str| {
        let arguments = [
            "--namespace",
            "images",
            "wait",
            condition,
            "pod/early",
            "--timeout=120s",
        ];
        cluster.kubectl().must(&arguments, "")
    };
    wait(&format!("--for=jsonpath={{{REASON}}}=ErrImagePull"));
    wait(&format!("--for=jsonpath={{{REASON}}}=ImagePullBackOff"));
    let phase = [
        "--namespace",
        "images",
        "get",
        "pod",
        "early",
        "-o",
        "jsonpath={.status.phase}",
    ];
    assert_eq!(cluster.kubectl().must(&phase, ""), "Pending");
    cluster.add_image("not-yet:1", image).unwrap();
    let arguments = [
        "--namespace",
        "images",
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        "pod/early",
        "--timeout=120s",
    ];
    cluster.kubectl().must(&arguments, "");
}

#[test]
fn a_missing_secret_keeps_a_pod_waiting_until_it_is_there() {
    let Some(place) = Place::new("missing") else { return };
    let variable = json!({"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "key"}}}]});
    place.create(&script_with("variable", "test $KEY = 1", (variable, json!({}))));
    let mount = json!({"volumeMounts": [{"name": "late", "mountPath": "/late"}]});
    let volume = json!({"volumes": [{"name": "late", "secret": {"secretName": "late"}}]});
    place.create(&script_with("volume", "test $(cat /late/key) = 1", (mount, volume)));
    place.wait("pod/variable", REASON, "CreateContainerConfigError");
    assert_eq!(
        place.state("variable")["waiting"]["message"],
        "secret \"late\" not found"
    );
    let told = place.wait_for_event("FailedMount", "volume");
    assert!(told.contains("secret \"late\" not found"), "{told}");
    assert_eq!(place.state("volume")["waiting"]["reason"], "ContainerCreating");
    place.kubectl(&["create", "secret", "generic", "late", "--from-literal=key=1"], "");
    place.wait("pod/variable", ".status.phase", "Succeeded");
    place.wait("pod/volume", ".status.phase", "Succeeded");
}

#[test]
fn init_containers_come_first_and_one_that_fails_ends_the_pod() {
    let Some(place) = Place::new("init") else { return };
    let volume = json!([{"name": "shared", "emptyDir": {}}]);
    let mounts = json!([{"name": "shared", "mountPath": "/shared"}]);
    let init = |name: &str, text: &str| json!({"name": name, "image": IMAGE, "command": ["bash", "-euc", text], "volumeMounts": mounts});
    let first = json!([
        init("one", "echo 1 >> /shared/order"),
        init("two", "echo 2 >> /shared/order")
    ]);
    let spec = json!({"initContainers": first, "volumes": volume});
    let container = json!({"volumeMounts": mounts});
    let told = place.outcome(&script_with(
        "ordered",
        "cat /shared/order > /dev/termination-log",
        (container.clone(), spec),
    ));
    assert_eq!(told, "1\n2\n");
    let spec = json!({"initContainers": [init("one", "exit 3")], "volumes": volume});
    place.create(&script_with("failed", "true", (container, spec)));
    place.wait("pod/failed", ".status.phase", "Failed");
    let status = place.get("pod", "failed")["status"].clone();
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    assert!(
        status["containerStatuses"][0]["state"]["waiting"].is_object(),
        "{status}"
    );
}

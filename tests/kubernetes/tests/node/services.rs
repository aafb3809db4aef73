//! Services lead to pods that are ready.

use firn_tests::binaries::binary;
use serde_json::{Value, json};

use crate::place::{IMAGE, Place, script, script_with};

fn coordinator() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "firn"},
        "spec": {
            "replicas": 1, "serviceName": "firn", "selector": {"matchLabels": {"app": "firn"}},
            "template": {
                "metadata": {"labels": {"app": "firn"}},
                "spec": {
                    "terminationGracePeriodSeconds": 10,
                    "containers": [{
                        "name": "coordinator", "image": IMAGE,
                        "command": [binary("firn"), "serve", "--listen", "127.0.0.1:7070", "--health-listen", "0.0.0.0:7071",
                                    "--data-dir", "/data/firn"],
                        "ports": [{"name": "health", "containerPort": 7071}],
                        "readinessProbe": {"grpc": {"port": 7071}, "periodSeconds": 1},
                        "livenessProbe": {"httpGet": {"path": "/livez", "port": "health"}, "periodSeconds": 1},
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }],
                },
            },
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "1Gi"}}}}],
        },
    })
}

#[test]
fn a_coordinator_is_reached_by_its_name_as_soon_as_it_says_that_it_serves() {
    let Some(place) = Place::new("names") else { return };
    place.create(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "firn"},
        "spec": {"selector": {"app": "firn"}, "ports": [{"name": "health", "port": 80, "targetPort": "health"}]},
    }));
    place.create(&coordinator());
    place.wait("statefulset/firn", ".status.readyReplicas", "1");
    let text = |name: &str| format!("curl -sf http://{name}/livez > /dev/termination-log");
    for (number, name) in ["firn", "firn.names.svc", "firn.names.svc.cluster.local"]
        .into_iter()
        .enumerate()
    {
        let told = place.outcome(&script(&format!("client-{number}"), &text(name)));
        assert!(!told.is_empty(), "{name}");
    }
    // The journal outlives the pod.
    place.kubectl(&["delete", "pod", "firn-0", "--timeout=60s"], "");
    place.wait_for("pod/firn-0", "create");
    place.wait_for("pod/firn-0", "condition=Ready");
}

#[test]
fn what_is_not_ready_is_not_reached_and_what_does_not_live_is_started_again() {
    let Some(place) = Place::new("probes") else { return };
    let exec = |text: &str, failures: u32| json!({"exec": {"command": ["bash", "-c", text]}, "periodSeconds": 1, "failureThreshold": failures});
    let container = json!({
        "startupProbe": exec("test -e /tmp/started", 60),
        "readinessProbe": exec("test -e /tmp/ready", 1),
        "livenessProbe": exec("test ! -e /tmp/dead", 1),
        "volumeMounts": [{"name": "kept", "mountPath": "/kept"}, {"name": "tmp", "mountPath": "/tmp"}],
    });
    let spec = json!({"restartPolicy": "Always", "volumes": [
        {"name": "kept", "hostPath": {"path": place.cluster.folder().join("probes"), "type": "DirectoryOrCreate"}},
        {"name": "tmp", "emptyDir": {}},
    ]});
    // It does what it finds in a file.
    let text =
        "trap 'exit 0' TERM; rm -f /tmp/dead; while :; do if [ -e /kept/do ]; then . /kept/do; fi; sleep 0.1; done";
    place.create(&script_with("probed", text, (container, spec)));
    let tell = |words: &str| {
        let folder = place.cluster.folder().join("probes");
        std::fs::write(folder.join("new"), words).unwrap();
        std::fs::rename(folder.join("new"), folder.join("do")).unwrap();
    };
    place.wait("pod/probed", ".status.phase", "Running");
    let status = place.get("pod", "probed")["status"]["containerStatuses"][0].clone();
    assert_eq!((&status["started"], &status["ready"]), (&json!(false), &json!(false)));
    tell("touch /tmp/started");
    place.wait("pod/probed", ".status.containerStatuses[0].started", "true");
    tell("touch /tmp/started /tmp/ready");
    place.wait_for("pod/probed", "condition=Ready");
    tell("rm -f /tmp/ready");
    place.wait_for("pod/probed", "condition=Ready=false");
    tell("touch /tmp/dead /tmp/started");
    place.wait_for_event("Unhealthy", "probed");
    tell("touch /tmp/started");
    place.wait("pod/probed", ".status.containerStatuses[0].restartCount", "1");
    place.kubectl(&["delete", "pod", "probed", "--timeout=60s"], "");
}

/// One that changed whenever a pod came would leave the pods before it without a network for half a minute.
#[test]
fn the_hardware_addresses_of_a_pod_and_of_its_gateway_go_with_their_addresses() {
    let Some(place) = Place::new("hardware") else { return };
    let text = r#"
        curl -sk "https://kubernetes.default.svc" >/tmp/answer
        own=$(ip -o -4 address show eth0 | sed 's|.*inet ||; s|/.*||')
        gateway=$(ip route show default | sed 's|.*via ||; s| .*||')
        hardware() { sed "s|.*$1 ||; s| .*||"; }
        echo "$own $(ip -o link show eth0 | hardware link/ether) $gateway $(ip neigh show | head -1 | hardware lladdr)" > /dev/termination-log"#;
    let told = place.outcome(&script("neighbours", text));
    let words: Vec<&str> = told.split_whitespace().collect();
    let [own, hardware, gateway, of_gateway] = words.as_slice() else {
        panic!("{told}");
    };
    let expected = |address: &str| {
        let [first, second, third, fourth] = address.parse::<std::net::Ipv4Addr>().unwrap().octets();
        format!("02:f1:{first:02x}:{second:02x}:{third:02x}:{fourth:02x}")
    };
    assert_eq!(
        (*hardware, *of_gateway),
        (expected(own).as_str(), expected(gateway).as_str())
    );
}
